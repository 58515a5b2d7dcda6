"""Intercom in process: the sandbox's rules behind a network that is ours to break.

What can happen to one call:

    crash_before      its process dies before anything is sent
    crash_in_flight   after sending, before the effect             dropped_and_crash the same, without effect
    crash_after       after the effect, before the answer
    freeze_in_flight  its process stands still
    dropped           never arrives                                unanswered        takes effect, no answer
    committed_late    takes effect after our time-out, within the tail
    error_before      5xx, nothing done                            error_after       5xx, done all the same
    throttled         429                                          not_sent          no connection
    slow              an answer just before the time-out
    page              a proxy answers, nothing is done             page_after        the same, it is done
    reply             the client answers `fault.reply` instead; nothing is sent
    freeze_at_socket  its process stands still between its last look at the clock and the first byte: the one
                      late write that nothing can prevent
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any, Literal
from urllib.parse import parse_qsl

from onelane_sandbox.rules import Request, Response, Sandbox
from onelane_worker.intercom.requests import Request as Wire
from onelane_worker.intercom.requests import to_request
from onelane_worker.intercom.responses import to_reply
from onelane_worker.planner import operations as op

from .faults import Fault, Strike
from .loop import Process, VirtualLoop

PAGE = b"<html>a proxy's words</html>"


@dataclass(frozen=True, slots=True)
class Network:
    """Seconds; a pair is the least and the most."""

    timeout_s: float = 15.0
    tail_s: float = 15.0
    """How long after our time-out Intercom may still commit."""
    way_s: tuple[float, float] = (0.005, 0.05)
    service_s: tuple[float, float] = (0.02, 0.4)


NETWORK = Network()


@dataclass(slots=True)
class Fate:
    """What becomes of one request, in seconds after it was sent; None: never."""

    arrives_s: float | None
    executes_s: float | None
    answers_s: float | None
    status: int | None = None
    """A status that the network answers in place of Intercom."""


@dataclass(slots=True)
class Log:
    """What a judge wants to know that the sandbox does not log."""

    calls: list[op.Operation] = field(default_factory=list)
    """Ours, as they were sent."""
    refused: list[op.Operation] = field(default_factory=list)
    """Ours that met an outage."""
    late_writes: list[tuple[float, float]] = field(default_factory=list)
    """Between which times a frozen process may have let a write go."""
    foreign: set[int] = field(default_factory=set)
    ours: dict[str, float] = field(default_factory=dict)
    """Contact → when we first wrote to it and had our answer."""


class Intercom:
    """The sandbox behind a network. `skew_s`: by how much its clock is ahead of the world's."""

    def __init__(
        self,
        loop: VirtualLoop,
        sandbox: Sandbox,
        strike: Strike,
        dice: Random,
        *,
        network: Network = NETWORK,
        skew_s: float = 0.0,
        kill: Callable[[Process], None],
        freeze: Callable[[Process, float], None],
        sends: Callable[[Process, op.Operation], None],
        before_effect: Callable[[Wire], None],
        note: Callable[..., None],
    ) -> None:
        self.log = Log()
        self.sandbox = sandbox
        self.network = network
        self.in_flight = 0
        """Requests that may still take effect."""
        self.outage: Literal["all", "writes"] | None = None
        """What fails just now."""
        self._performing = Counter[Process]()
        self._loop = loop
        self._strike = strike
        self._dice = dice
        self._skew_s = skew_s
        self._kill = kill
        self._freeze = freeze
        self._sends = sends
        self._before_effect = before_effect
        self._note = note

    @property
    def clock_s(self) -> float:
        """Intercom's own clock."""
        return self._loop.now + self._skew_s

    # ── others ──

    def foreign(self, method: str, path: str, body: Any = None) -> Any:
        """Somebody else's request, at once. The response."""
        now = self._loop.now
        exchange = self.sandbox.arrive(Request.of(method, path, body), now)
        self.log.foreign.add(exchange.entry.n)
        answer = self.sandbox.execute(exchange, self.clock_s)
        self.sandbox.depart(exchange, now, answer)
        self._note("somebody", method, path, body, answer.response)
        return answer.response

    # ── ours ──

    async def perform(
        self,
        process: Process,
        operation: op.Operation,
        now_ms: Callable[[], int],
        send_by: float,
        before_send: Callable[[], Awaitable[float]] | None,
    ) -> op.Reply:
        """What `IntercomClient.perform` promises."""
        self._performing[process] += 1
        try:
            return await self._perform(process, operation, now_ms, send_by, before_send)
        finally:
            self._performing[process] -= 1

    @property
    def is_busy(self) -> bool:
        """Is a call being made by somebody who lives?"""
        return any(count and process.alive for process, count in self._performing.items())

    async def _perform(
        self,
        process: Process,
        operation: op.Operation,
        now_ms: Callable[[], int],
        send_by: float,
        before_send: Callable[[], Awaitable[float]] | None,
    ) -> op.Reply:
        fault = self._strike("intercom", process, operation) or self._failing(operation)
        self._note(process.name, "→ intercom", operation, fault.kind)
        wire = to_request(operation)
        await asyncio.sleep(self._dice.uniform(0.0, 0.005))  # a connection
        if fault.kind == "not_sent":
            return op.NotSent(op.Problem("network", message="simulated"))
        if fault.kind == "reply":
            self.log.calls.append(operation)
            return fault.reply  # type: ignore[no-any-return]
        if fault.kind == "crash_before":
            await self._dies(process)
        if before_send is not None:
            send_by = await before_send()
        if self._loop.time() > send_by:
            return op.NotSent(op.Problem("late", message="simulated"))
        self._sends(process, operation)
        started_ms = now_ms()
        if fault.kind == "freeze_at_socket":
            self._freeze(process, fault.delay_s)
            self.log.late_writes.append((self._loop.now, self._loop.now + fault.delay_s))
            await asyncio.sleep(0)
        self.log.calls.append(operation)
        response = await self._exchange(process, wire, fault)
        if response is None:
            return op.Unknown(op.Problem("timeout", message="simulated"))
        if isinstance(response, int):
            return to_reply(operation, response, {}, PAGE, started_ms, self.clock_s)
        content = response.content
        return to_reply(
            operation, response.status, response.headers, content, started_ms, wall_s=self.clock_s
        )

    def _failing(self, operation: op.Operation) -> Fault:
        """What an outage makes of a call."""
        if self.outage == "all":
            self.log.refused.append(operation)
            return self._dice.choice((Fault("not_sent"), Fault("dropped", 0.5), Fault("error_before")))
        if self.outage == "writes" and op.is_write(operation):
            return Fault("error_before")
        return _NONE

    async def _dies(self, process: Process) -> None:
        self._kill(process)
        await self._loop.create_future()

    async def _exchange(self, process: Process, wire: Wire, fault: Fault) -> Any:
        """Send one request and wait: a response, a status of the network's, or None."""
        answer: asyncio.Future[Any] = self._loop.create_future()
        call = _Call(process, wire, self._fate(fault), self._loop.now, answer)
        fate = call.fate
        if fate.executes_s is not None:
            self.in_flight += 1
            self._loop.after(fate.arrives_s or 0.0, lambda: self._arrive(call))
        if fate.status is not None and fate.answers_s is not None:
            told = self._throttled(fault.delay_s) if fault.kind == "throttled" else fate.status
            self._loop.after(fate.answers_s, lambda: call.ring(told))
        gives_up_s = self.network.timeout_s
        if fault.kind in ("dropped", "unanswered") and 0 < fault.delay_s < 4:
            gives_up_s = fault.delay_s  # a reset, or a connection closed without an answer
        gives_up = self._loop.after(gives_up_s, lambda: call.ring(None))
        if fault.kind in ("crash_in_flight", "dropped_and_crash"):
            await self._dies(process)
        if fault.kind == "crash_after":
            self._loop.after((fate.executes_s or 0.0) + 0.0001, lambda: self._kill(process))
        if fault.kind == "freeze_in_flight":
            self._freeze(process, fault.delay_s)
        try:
            return await answer
        finally:
            gives_up.cancel()

    def _throttled(self, wait_s: float) -> Response:
        """Intercom's own 429."""
        reset = {"X-RateLimit-Reset": str(int(self.clock_s + max(2.0, min(wait_s, 10.0))))}
        error = {"code": "rate_limit_exceeded", "message": "Exceeded rate limit"}
        return Response(status=429, headers=reset, body={"type": "error.list", "errors": [error]})

    def _fate(self, fault: Fault) -> Fate:
        dice, network = self._dice, self.network
        arrives_s = dice.uniform(*network.way_s)
        executes_s = arrives_s + dice.uniform(*network.service_s)
        fate = Fate(arrives_s, executes_s, executes_s + dice.uniform(*network.way_s))
        match fault.kind:
            case "dropped" | "dropped_and_crash":
                return Fate(None, None, None)
            case "unanswered":
                fate.answers_s = None
            case "committed_late":
                fate.executes_s = network.timeout_s + dice.uniform(0.1, network.tail_s - 0.1)
                fate.answers_s = None
            case "page" | "error_before" | "throttled":
                status = fault.status or {"error_before": 503, "throttled": 429, "page": 403}[fault.kind]
                return Fate(None, None, fate.answers_s, status)
            case "error_after" | "page_after":
                fate.status = fault.status or 502
            case "slow":
                fate.executes_s = network.timeout_s - dice.uniform(0.1, 3.0)
                fate.answers_s = fate.executes_s + 0.05
        return fate

    def _arrive(self, call: _Call) -> None:
        path, _, query = call.wire.path.partition("?")
        request = Request.of(call.wire.method, path, call.wire.json, query=dict(parse_qsl(query)))
        exchange = self.sandbox.arrive(request, self._loop.now)
        self._loop.at(call.sent_s + (call.fate.executes_s or 0.0), lambda: self._execute(exchange, call))

    def _execute(self, exchange: Any, call: _Call) -> None:
        wire, fate, now = call.wire, call.fate, self._loop.now
        self.in_flight -= 1
        self._before_effect(wire)
        answer = self.sandbox.execute(exchange, self.clock_s)
        answers = fate.answers_s is not None and fate.status is None
        heard = answers and call.is_awaited(now)
        self.sandbox.depart(exchange, now, answer if heard else None)
        response = answer.response
        self._note("intercom", f"#{exchange.entry.n}", wire.method, wire.path, wire.json, response)
        if answers:
            self._loop.at(call.sent_s + (fate.answers_s or 0.0), lambda: call.ring(response))
        if heard and response is not None and response.status == 200 and wire.method in ("POST", "PUT"):
            self.log.ours.setdefault(str(response.body.get("id")), now)


_NONE = Fault("")


@dataclass(frozen=True, slots=True)
class _Call:
    """One request on its way, and who waits for its answer."""

    process: Process
    wire: Wire
    fate: Fate
    sent_s: float
    answer: asyncio.Future[Any]

    def ring(self, response: Any) -> None:
        if not self.answer.done():
            self.answer.set_result(response)

    def is_awaited(self, now_s: float) -> bool:
        """Is there still somebody who will act on the answer, and not only find it in a socket one day?"""
        return self.process.alive and self.process.frozen_until_s <= now_s and not self.answer.done()


class Door:
    """One process' way to Intercom: what an engine takes for its client."""

    def __init__(self, intercom: Intercom, process: Process) -> None:
        self._intercom = intercom
        self._process = process

    async def perform(
        self,
        operation: op.Operation,
        *,
        now_ms: Callable[[], int],
        send_by: float,
        before_send: Callable[[], Awaitable[float]] | None = None,
    ) -> op.Reply:
        """See onelane_worker.intercom.client."""
        return await self._intercom.perform(self._process, operation, now_ms, send_by, before_send)

    async def aclose(self) -> None: ...
