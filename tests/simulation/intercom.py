"""The gateway of a history: requests go into the sandbox's rules, and the network is ours to break.

What can happen to one call, in the words of the script:

    crash_before      its worker dies before anything is sent
    crash_in_flight   after sending, before the effect
    crash_after       after the effect, before the answer
    freeze_in_flight  its worker stands still
    dropped           never arrives                                unanswered        takes effect, no answer
    committed_late    takes effect after our time-out, within the tail
    error_before      5xx, nothing done                            error_after       5xx, done all the same
    throttled         429                                          not_sent          no connection
    slow              an answer just before the time-out
    freeze_at_socket  its worker stands still between its last look at the clock and the first byte: the one
                      late write that nothing can prevent. Only histories that ask for it have it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.checker.history import Span

from onelane_sandbox.rules import Request, Sandbox
from onelane_worker.intercom.wire import Request as Wire
from onelane_worker.intercom.wire import to_reply, to_request
from onelane_worker.planner import operations as op

from .network import Faults
from .scheduler import Alarm, Process, Scheduler, Unwind
from .script import Fault

HTTP_TIMEOUT_S = 15.0
WRITE_TAIL_S = 15.0
SEND_GRACE_S = 1.0
NEVER = float("inf")


@dataclass(slots=True)
class Fate:
    """What becomes of one request, all in seconds after it was sent; None: never."""

    arrives_s: float | None
    executes_s: float | None
    answers_s: float | None
    status: int | None = None
    """A status that the network answers in place of Intercom."""


@dataclass(frozen=True, slots=True)
class _Call:
    """One request on its way, and who waits for its answer."""

    process: Process
    wire: Wire
    fate: Fate
    sent_s: float
    alarm: Alarm

    def is_awaited(self, now_s: float) -> bool:
        """Is there still somebody who will act on the answer, and not only find it in a socket one day?"""
        return self.process.alive and self.process.frozen_until <= now_s and not self.alarm.rung


@dataclass(slots=True)
class Log:
    """What a judge wants to know that the sandbox does not log."""

    late_writes: list[Span] = field(default_factory=list)
    foreign: set[int] = field(default_factory=set)
    ours: dict[str, float] = field(default_factory=dict)
    """Contact → when we first wrote to it and had our answer (our clock)."""


class Intercom:
    """The sandbox behind a bad network. `skew_s`: by how much its clock is ahead of ours."""

    def __init__(
        self,
        scheduler: Scheduler,
        sandbox: Sandbox,
        faults: Faults,
        dice: Random,
        *,
        skew_s: float,
        slow: bool,
        crash: Callable[[Process], None],
        freeze: Callable[[Process, float], None],
        before_write: Callable[[str, op.Operation], None],
        before_effect: Callable[[Wire], None],
        note: Callable[..., None],
    ) -> None:
        self.log = Log()
        self.sandbox = sandbox
        self._scheduler = scheduler
        self._faults = faults
        self._dice = dice
        self._skew_s = skew_s
        self._service_s = (1.0, 12.0) if slow else (0.02, 0.4)
        self._crash = crash
        self._freeze = freeze
        self._before_write = before_write
        self._before_effect = before_effect
        self._note = note

    @property
    def clock_s(self) -> float:
        """Intercom's own clock."""
        return self._scheduler.now + self._skew_s

    # --- others

    def foreign(self, method: str, path: str, body: Any = None) -> Any:
        """Somebody else's request, at once. The response."""
        now = self._scheduler.now
        exchange = self.sandbox.arrive(Request.of(method, path, body), now)
        self.log.foreign.add(exchange.entry.n)
        answer = self.sandbox.execute(exchange, self.clock_s)
        self.sandbox.depart(exchange, now, answer)
        self._note("somebody", method, path, body, answer.response.status if answer.response else None)
        return answer.response

    # --- ours

    def exchange(self, process: Process, operation: op.Operation, wire: Wire, fault: Fault | None) -> Any:
        """Send one request and wait for what comes of it: a response, a status of the network's, or None."""
        alarm = Alarm(self._scheduler)
        fate = self._fate(fault)
        sent_s = self._scheduler.now
        call = _Call(process, wire, fate, sent_s, alarm)
        if fate.arrives_s is not None:
            self._scheduler.at(sent_s + fate.arrives_s, lambda: self._arrive(call))
        if fate.status is not None and fate.answers_s is not None:
            self._scheduler.at(sent_s + fate.answers_s, lambda: alarm.ring(fate.status))
        if fault is not None and fault.kind in ("crash_in_flight", "crash_after"):
            self._die(process, fault, fate)
        if fault is not None and fault.kind == "freeze_in_flight":
            self._freeze(process, fault.delay_s)
        gives_up_s = HTTP_TIMEOUT_S
        if fault is not None and fault.kind in ("dropped", "unanswered") and fault.delay_s < 4:
            gives_up_s = fault.delay_s  # a reset, or a connection closed without an answer
        self._scheduler.at(sent_s + gives_up_s, lambda: alarm.ring(None))
        return alarm.wait()

    def _die(self, process: Process, fault: Fault, fate: Fate) -> None:
        if fault.kind == "crash_after":
            self._scheduler.sleep((fate.executes_s or 0.0) + 0.0001)
        self._crash(process)
        raise Unwind

    def _fate(self, fault: Fault | None) -> Fate:
        arrives_s = self._dice.uniform(0.005, 0.05)
        executes_s = arrives_s + self._dice.uniform(*self._service_s)
        answers_s = executes_s + self._dice.uniform(0.005, 0.05)
        fate = Fate(arrives_s, executes_s, answers_s)
        match fault.kind if fault else "":
            case "dropped":
                return Fate(None, None, None)
            case "unanswered":
                fate.answers_s = None
            case "committed_late":
                fate.executes_s = HTTP_TIMEOUT_S + self._dice.uniform(0.1, WRITE_TAIL_S - 0.1)
                fate.answers_s = None
            case "error_before":
                return Fate(None, None, answers_s, status=503)
            case "error_after":
                fate.status = 502
            case "throttled":
                return Fate(None, None, answers_s, status=429)
            case "slow":
                fate.executes_s = HTTP_TIMEOUT_S - self._dice.uniform(0.1, 3.0)
                fate.answers_s = fate.executes_s + 0.05
        return fate

    def _arrive(self, call: _Call) -> None:
        wire = call.wire
        exchange = self.sandbox.arrive(Request.of(wire.method, wire.path, wire.json), self._scheduler.now)
        assert call.fate.executes_s is not None
        self._scheduler.at(call.sent_s + call.fate.executes_s, lambda: self._execute(exchange, call))

    def _execute(self, exchange: Any, call: _Call) -> None:
        wire, fate = call.wire, call.fate
        self._before_effect(wire)
        answer = self.sandbox.execute(exchange, self.clock_s)
        answers = fate.answers_s is not None and fate.status is None
        heard = answers and call.is_awaited(self._scheduler.now)
        self.sandbox.depart(exchange, self._scheduler.now, answer if heard else None)
        response = answer.response
        self._note("intercom", f"#{exchange.entry.n}", wire.method, wire.path, wire.json, response)
        if answers:
            self._scheduler.at(call.sent_s + (fate.answers_s or 0.0), lambda: call.alarm.ring(response))
        if heard and response is not None and response.status == 200 and wire.method in ("POST", "PUT"):
            self.log.ours.setdefault(str(response.body.get("id")), self._scheduler.now)


class Gateway:
    """One worker's way to Intercom: the part of the real gateway that its callers see."""

    def __init__(self, intercom: Intercom, process: Process) -> None:
        self._i = intercom
        self._process = process

    def perform(
        self,
        operation: op.Operation,
        *,
        now_ms: Callable[[], int],
        send_by: float | None = None,
        deadline: float | None = None,
        before_send: Callable[[], float] | None = None,
    ) -> op.Reply:
        """See onelane_worker.intercom.gateway."""
        i = self._i
        scheduler = i._scheduler
        fault = i._faults.strike("intercom", scheduler.now)
        kind = fault.kind if fault else ""
        i._note(self._process.name, "→ intercom", operation, kind)
        wire = to_request(operation)
        scheduler.sleep(i._dice.uniform(0.0, 0.005))  # a connection from the pool
        if kind == "not_sent":
            return op.NotSent(op.Problem("network", message="simulated"))
        if kind == "crash_before":
            i._crash(self._process)
            raise Unwind
        if before_send is not None:
            send_by = before_send()
        if scheduler.now > min(
            NEVER if send_by is None else send_by, NEVER if deadline is None else deadline
        ):
            return op.NotSent(op.Problem("late", message="simulated"))
        if before_send is not None:
            i._before_write(scheduler.current.label, operation)
        started_ms = now_ms()
        if kind == "freeze_at_socket" and fault is not None:
            start_s = scheduler.now
            i._freeze(self._process, fault.delay_s)
            scheduler.sleep(fault.delay_s)
            i.log.late_writes.append(Span(start_s, scheduler.now))
        response = i.exchange(self._process, operation, wire, fault)
        return self._sorted(operation, response, started_ms)

    def _sorted(self, operation: op.Operation, response: Any, started_ms: int) -> op.Reply:
        if response is None:
            return op.Unknown(op.Problem("timeout", message="simulated"))
        clock_s = self._i.clock_s
        if isinstance(response, int):
            return to_reply(operation, response, {}, b"<html>a proxy's words</html>", started_ms, clock_s)
        return to_reply(
            operation, response.status, response.headers, response.content, started_ms, wall_s=clock_s
        )
