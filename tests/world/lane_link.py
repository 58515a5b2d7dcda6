"""A process' way to its lanes: the real client, over a network of ours in place of a socket."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from onelane_worker.lanes.client import LaneClient
from onelane_worker.lanes.store import Script

from .link import Link
from .loop import Process
from .redis import SmallRedis


class LaneLink(LaneClient):
    """It sends again what was not answered, as the real one does. Each call travels by itself."""

    def __init__(self, link: Link, server: SmallRedis, process: Process) -> None:
        super().__init__(cast(Any, None))
        self._link = link
        self._server = server
        self._process = process

    async def _run_once(self, script: Script, key: str, args: Sequence[Any]) -> Any:
        given = list(args)
        effect = lambda: self._server.run(script.text, key, given, script.name)  # noqa: E731
        return await self._link.call(self._process, script.name, effect)

    async def _send_one(self, command: Sequence[Any]) -> Any:
        effect = lambda: self._server.execute(*command)  # noqa: E731
        return await self._link.call(self._process, str(command[0]), effect)

    def _send(self, commands: Sequence[Any]) -> Any:
        return self._link.call(self._process, "open", lambda: self._server.all(commands))


class AtOnce:
    """The small Redis without a network: no call waits."""

    def __init__(self, server: SmallRedis) -> None:
        self._server = server

    async def run(self, script: Script, key: str, args: Sequence[Any]) -> Any:
        return self._server.run(script.text, key, args, script.name)

    async def read(self, *command: Any) -> Any:
        return self._server.execute(*command)
