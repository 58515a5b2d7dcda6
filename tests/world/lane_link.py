"""A process' way to its lanes: what a `LaneStore` takes for its client."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from onelane_worker.lanes.store import Script

from .link import Link
from .loop import Process
from .redis import SmallRedis


class LaneLink:
    """The small Redis behind a network."""

    def __init__(self, link: Link, server: SmallRedis, process: Process) -> None:
        self._link = link
        self._server = server
        self._process = process

    async def run(self, script: Script, key: str, args: Sequence[Any]) -> Any:
        """What the script answers."""
        given = list(args)
        effect = lambda: self._server.run(script.text, [key], given, script.name)  # noqa: E731
        return await self._link.call(self._process, script.name, effect)

    async def read(self, *command: Any) -> Any:
        """What a command answers that changes nothing."""
        return await self._link.call(self._process, str(command[0]), lambda: self._server.execute(*command))
