"""Calls of the lanes without an event loop."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, TypeVar

from onelane import scripts
from onelane_worker.lanes.store import LaneStore, Script

T = TypeVar("T")


def finish(call: Coroutine[Any, Any, T]) -> T:
    """The result of a call whose client does not wait, such as a blocking one."""
    try:
        call.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    call.close()
    raise RuntimeError("the client of these lanes waits: await the call in an event loop")


def sdk_script(name: str, clock: str | None = None) -> Script:
    """A script of the SDK as the worker's are."""
    text = scripts.script(name, clock)
    return Script(name, text, scripts.sha1(text))


class AllScripts(LaneStore):
    """The lanes with the SDK's scripts, too."""

    def __init__(self, client: Any, workspace: Any, settings: Any, clock: str | None = None) -> None:
        super().__init__(client, workspace, settings, clock)
        self._scripts |= {name: sdk_script(name, clock) for name in ("submit", "withdraw")}

    async def clear(self, step: Any, journal: Any) -> Any:
        """A checkpoint without an open write."""
        return await self.checkpoint(step, open_write=None, journal=journal)

    async def submit(self, *args: Any) -> Any:
        """The words of the answer."""
        return await self._run("submit", *args)

    async def withdraw(self, intent_id: str, outcome: str) -> Any:
        """The word of the answer."""
        lives = (self.settings.status_ttl_ms, self.settings.dedupe_ttl_ms)
        return (await self._run("withdraw", intent_id, outcome, *lives))[0]
