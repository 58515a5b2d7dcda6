"""One request on its way, seen from two threads: the caller's, and the loop's that holds the connection.

When the first byte is about to leave is told by httpcore, in events whose names are its own and may change. A
mistake there must never make a sent request count as not sent, nor let a write out before it is on record.
Therefore the names that are known are those of the steps *before* the send (`_PREPARING`): any other event is
taken for the send. And if no send is ever told, what the library was given counts as sent (`may_have_left`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import Any

from onelane_worker.intercom.wire import Request

Clock = Callable[[], int]
"""Milliseconds of Redis' clock; must not block."""
BeforeSend = Callable[[], float]
"""Runs in the caller's thread while a connection is held; returns the new `send_by`."""


_PREPARING = (
    "connection.connect_tcp.",
    "connection.connect_unix_socket.",
    "connection.start_tls.",
    "connection.retry.",
    "proxy.start_tls.",
)
"""httpcore's steps that end before a request of ours leaves. A request to a proxy for a tunnel (CONNECT) is
one, too, but bears the names of a send."""


class TooLate(Exception):
    """The request was about to leave after its time."""


@dataclass(slots=True)
class Call:
    """What is asked, and how far it has come. `send_by` and `deadline` are times of `time.monotonic()`."""

    request: Request
    send_by: float
    deadline: float
    answer_within_s: float
    now_ms: Clock
    started_ms: int | None = None
    """Redis clock; None until the request begins to leave."""
    ready: Future[None] | None = None
    """Set when a connection is held; None if the caller has no word before the send."""
    permission: Future[float] = field(default_factory=Future)
    unseen: bool = False
    """The library has it, and it is not certain that we would have been told of its send."""
    _asked: bool = False
    tunnel: bool = False
    """What the library sends at the moment asks a proxy for a tunnel."""

    @property
    def may_have_left(self) -> bool:
        """Not false unless it is certain that no byte of the request has left."""
        return self.started_ms is not None or self.unseen

    def leaves_at(self, event: str, info: Mapping[str, Any]) -> bool:
        """Whether this event of httpcore says that the request leaves now; true once."""
        if "request" in info:
            self.tunnel = info["request"].method == b"CONNECT"
        if self._asked or self.tunnel or event.startswith(_PREPARING):
            return False
        self._asked = True
        return True

    def connect_by(self) -> float:
        """Until when a connection is waited for, counted from now."""
        return min(self.deadline, time.monotonic() + self.answer_within_s)

    def is_ready(self, finished: Future[Any]) -> bool:
        """Wait until a connection is held (true), or the call has `finished` without one."""
        futures: list[Future[Any]] = [finished] if self.ready is None else [self.ready, finished]
        wait(futures, return_when=FIRST_COMPLETED)
        return not finished.done()

    def permit(self, send_by: float) -> None:
        """The caller's word: the request may leave until `send_by`. No effect if the call has ended."""
        if self.permission.set_running_or_notify_cancel():
            self.permission.set_result(send_by)

    async def leave(self, limit: asyncio.Timeout) -> None:
        """A connection is held: the last moment to stay. Raises TooLate.

        From here on the request counts as sent, and the time for its answer begins.
        """
        if self.ready is not None:
            self.ready.set_result(None)
            self.send_by = await asyncio.wrap_future(self.permission)
        started_ms = self.now_ms()
        now = time.monotonic()
        if now > min(self.send_by, self.deadline):
            raise TooLate
        limit.reschedule(min(self.deadline, now + self.answer_within_s))
        self.started_ms = started_ms
