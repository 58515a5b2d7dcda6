"""Between a process and Redis: where calls are lost, doubled and delayed, and where processes die.

A call is two events: it takes effect, and its reply arrives. Whoever made it waits in between, so everybody
else may act before it took effect and before its reply.

    crash_before         its process dies                        crash_after     sent, and its process dies
    freeze_before        its process stands still, then sends    freeze_after    it sends, then stands still
    reply_lost           executed; the client sends it again     late_copy       executed again later
    delayed_and_resent   the client gives up and sends it again; the first copy arrives last
    down_before          no connection                           down_after      executed, connection lost
    hung                 executed, and never answered            oom, readonly … the server refuses
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any

from redis.exceptions import (
    BusyLoadingError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from .faults import Fault, Place, Strike
from .loop import Process, VirtualLoop

CLIENT_TIMEOUT_S = 5.0
Effect = Callable[[], Any]
REFUSALS: dict[str, Callable[[], RedisError]] = {
    "oom": lambda: OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
    "readonly": lambda: ReadOnlyError("You can't write against a read only replica."),
    "loading": lambda: BusyLoadingError("Redis is loading the dataset in memory"),
    "noreplicas": lambda: ResponseError("NOREPLICAS Not enough good replicas to write."),
    "misconf": lambda: ResponseError("MISCONF Redis is configured to save RDB snapshots, but it cannot."),
    "busy": lambda: ResponseError("BUSY Redis is busy running a script."),
}


class Link:
    """The way to Redis, for all processes and producers."""

    def __init__(
        self,
        loop: VirtualLoop,
        strike: Strike,
        dice: Random,
        *,
        kill: Callable[[Process], None],
        freeze: Callable[[Process, float], None],
        after_effect: Callable[[str], None],
        note: Callable[..., None],
    ) -> None:
        self.away_until_s = 0.0
        """Nobody reaches the server before this time."""
        self.refusal: str | None = None
        """A key of REFUSALS: what the server says to everything just now."""
        self._loop = loop
        self._strike = strike
        self._dice = dice
        self._kill = kill
        self._freeze = freeze
        self._after_effect = after_effect
        self._note = note

    async def call(self, process: Process, what: str, effect: Effect) -> Any:
        """One call from a process; what Redis answers. Raises redis-py's errors."""
        place: Place = "tick" if what == "tick" else "redis"
        fault = self._strike(place, process, what)
        self._note(process.name, "→ redis", what, fault.kind if fault else "")
        answer: asyncio.Future[Any] = self._loop.create_future()
        if fault is None:
            self._send(effect, what, answer)
        else:
            await self._meet(fault, process, effect, what, answer)
        return await answer

    def submit(self, what: str, effect: Effect, answered: Callable[[Any], None]) -> None:
        """One call of a producer, who only waits for the answer; `answered` gets it, unless he dies."""
        fault = self._strike("producer", None, what)
        kind, delay_s = (fault.kind, fault.delay_s) if fault else ("", 0.0)
        answer: asyncio.Future[Any] = self._loop.create_future()
        answer.add_done_callback(lambda done: None if done.exception() else answered(done.result()))
        resends = {"reply_lost": delay_s, "delayed_and_resent": min(CLIENT_TIMEOUT_S, delay_s / 2)}
        if kind:
            copies = {"late_copy": delay_s, "delayed_and_resent": delay_s}
            self._send(effect, what, None, copies.get(kind, 0.0))
        if kind != "crash_after":
            self._send(effect, what, answer, resends.get(kind, 0.0))

    # ── inside ──

    async def _meet(
        self, fault: Fault, process: Process, effect: Effect, what: str, answer: asyncio.Future[Any]
    ) -> None:
        match fault.kind:
            case "crash_before" | "crash_after":
                if fault.kind == "crash_after":
                    self._send(effect, what, None)
                self._kill(process)
            case "freeze_before":
                self._freeze(process, fault.delay_s)
                await asyncio.sleep(0)
                self._send(effect, what, answer)
            case "freeze_after":
                self._send(effect, what, answer)
                self._freeze(process, fault.delay_s)
            case "reply_lost":
                self._send(effect, what, None)
                self._send(effect, what, answer, fault.delay_s)
            case "delayed_and_resent":
                self._send(effect, what, None, fault.delay_s)
                self._send(effect, what, answer, min(CLIENT_TIMEOUT_S, fault.delay_s / 2))
            case "late_copy":
                self._send(effect, what, answer)
                self._send(effect, what, None, fault.delay_s)
            case "down_before" | "down_after":
                if fault.kind == "down_after":
                    self._send(effect, what, None)
                self._fail(answer, RedisConnectionError("simulated"), 0.2)
            case "hung":
                self._send(effect, what, None)
                self._fail(answer, RedisTimeoutError("simulated"), CLIENT_TIMEOUT_S)
            case refusal:
                self._fail(answer, REFUSALS[refusal](), 0.001)

    def _send(
        self, effect: Effect, what: str, answer: asyncio.Future[Any] | None, delay_s: float = 0.0
    ) -> None:
        """It takes effect a moment later; `answer` None: nobody listens."""
        self._loop.after(delay_s + self._latency_s(), lambda: self._execute(effect, what, answer))

    def _execute(self, effect: Effect, what: str, answer: asyncio.Future[Any] | None) -> None:
        if self._loop.now < self.away_until_s:
            self._fail(answer, RedisConnectionError("simulated"), 0.2)
            return
        if self.refusal is not None:
            self._fail(answer, REFUSALS[self.refusal](), 0.001)
            return
        try:
            found = effect()
        except RedisError as error:
            self._fail(answer, error, self._latency_s())
            return
        self._note("redis", what, found)
        if answer is not None:
            self._loop.after(self._latency_s(), lambda: _ring(answer, found))
        self._after_effect(what)

    def _fail(self, answer: asyncio.Future[Any] | None, error: Exception, delay_s: float) -> None:
        if answer is not None:
            self._loop.after(delay_s, lambda: _ring(answer, error))

    def _latency_s(self) -> float:
        return self._dice.uniform(0.0002, 0.002)


def _ring(answer: asyncio.Future[Any], found: Any) -> None:
    if answer.done():
        return
    if isinstance(found, Exception):
        answer.set_exception(found)
    else:
        answer.set_result(found)
