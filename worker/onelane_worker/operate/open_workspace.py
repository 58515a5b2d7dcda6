"""An open workspace, as operators' commands use it: its keys, its scripts, and commands in one round trip."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, TypeVar

from onelane.keys import Keys
from onelane.session import Exchange
from onelane.workspace import Command, Workspace, as_text, checked
from onelane_worker.lanes.store import LaneStore

T = TypeVar("T")
CHUNK: Final = 500
"""Lanes or letters that are read in one round trip."""


@dataclass(frozen=True, slots=True)
class OpenWorkspace:
    """What every function of `operate` works with."""

    workspace: Workspace
    store: LaneStore
    ask: Callable[[Sequence[Command]], Awaitable[Sequence[Any]]]
    """Runs commands in one round trip; an error reply stands among the replies. Raises redis-py's errors."""

    @property
    def keys(self) -> Keys:
        return self.workspace.keys

    async def read(self, *commands: Command) -> list[Any]:
        """The replies to the commands. Raises the first error reply."""
        return checked(await self.ask(commands)) if commands else []

    async def exchange(self, exchange: Exchange[T]) -> T:
        """The result of one of the SDK's exchanges. Raises redis-py's errors and `OnelaneError`."""
        try:
            commands = next(exchange)
            while True:
                commands = exchange.send(await self.ask(commands))
        except StopIteration as end:
            result: T = end.value
            return result

    async def now_ms(self) -> int:
        """The time of Redis' clock."""
        [moment] = await self.read(("TIME",))
        return ms_of(moment)


def ms_of(moment: Sequence[Any]) -> int:
    """The reply to TIME, in milliseconds."""
    seconds, micros = moment
    return int(seconds) * 1000 + int(micros) // 1000


def text_of(value: Any) -> str | None:
    """One value as text; None if there is none."""
    return None if value is None else as_text(value)


def texts(values: Sequence[Any]) -> list[str | None]:
    """The reply to HMGET or MGET."""
    return [text_of(value) for value in values]


def fields(reply: Mapping[Any, Any]) -> dict[str, str]:
    """The reply to HGETALL."""
    return {as_text(name): as_text(value) for name, value in reply.items()}


def scored(reply: Sequence[Any]) -> list[tuple[str, int]]:
    """The reply to ZRANGE … WITHSCORES: (member, score). Clients give it flat or in pairs."""
    if reply and not isinstance(reply[0], list | tuple):
        reply = list(zip(reply[::2], reply[1::2], strict=True))
    return [(as_text(member), int(float(score))) for member, score in reply]


def chunks(values: Sequence[T] | Iterator[T], size: int = CHUNK) -> Iterator[list[T]]:
    """The values in lists of at most `size`."""
    rest = iter(values)
    while chunk := list(islice(rest, size)):
        yield chunk
