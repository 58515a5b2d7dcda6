"""One history, from its script to its verdict."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from random import Random
from types import SimpleNamespace
from typing import Any

import onelane_worker.ending
import onelane_worker.lease
import onelane_worker.passage
import onelane_worker.timer
import onelane_worker.turn
from onelane.identity import lane_id

import onelane.submission
from onelane import keyspace
from onelane.errors import DedupeMismatch
from onelane.settings import QueueSettings
from onelane.submission import GATE_SCRIPT, SUBMIT_SCRIPT, Submission, prepare
from onelane_sandbox.rules import Sandbox
from onelane_worker.intercom.wire import Request as Wire
from onelane_worker.planner import operations as op

from .intercom import HTTP_TIMEOUT_S, WRITE_TAIL_S, Intercom
from .laws import Laws
from .meddlers import A_DAY_S, Meddlers
from .network import Faults, Network
from .scheduler import Process, Scheduler
from .script import ATTRIBUTE, PARTITION, START_S, Request, Script
from .servers import Server, SmallServer
from .watch import Watch
from .workers import TIMER_S, Broker, Worker, knobs_of

RESTART_S = (0.1, 8.0)
SETTINGS = QueueSettings()


@dataclass(slots=True)
class Told:
    """An accepted intent."""

    id: str
    rank: int
    at_s: float
    intent: dict[str, Any]
    lane: str


@dataclass(slots=True)
class Trace:
    """What happened, in words; empty unless asked for."""

    on: bool = False
    lines: list[str] = field(default_factory=list)

    def note(self, now_s: float, *words: Any) -> None:
        text = " ".join(_short(word) for word in words if word != "")
        self.lines.append(f"{now_s - START_S:10.4f}  {text}")


class World:
    """Everything that takes part in one history."""

    def __init__(self, script: Script, *, trace: bool = False, server: Any = SmallServer) -> None:
        self.script = script
        self.trace = Trace(trace)
        self.violations: list[str] = []
        self.accepted: dict[str, Told] = {}
        self.killed: set[str] = set()
        """Intents that became dead letters because their workers died; known at the end."""
        self.erased: set[str] = set()
        """Dead letters whose reason went with the person; known at the end."""
        dice = Random(f"world/{script.seed}")
        random.seed(f"product/{script.seed}")  # the product's own dice
        self.dice = dice
        self.scheduler = Scheduler(float(START_S - A_DAY_S))
        self.server: Server = server(lambda: self.scheduler.now)
        self.faults = Faults(script.faults)
        self.laws = Laws(self.server, self.violate)
        note = self._note if trace else _silent
        common: dict[str, Any] = {"crash": self.crash, "freeze": self.freeze, "note": note}
        self.network = Network(self.scheduler, self.faults, dice, after_effect=self._after_effect, **common)
        conditions = script.conditions
        self.sandbox = Sandbox(script.seed, index_lag=conditions.lag_s)
        self.intercom = Intercom(
            self.scheduler,
            self.sandbox,
            self.faults,
            dice,
            skew_s=conditions.skew_s,
            slow=conditions.slow_calls,
            before_write=self._before_write,
            before_effect=self._before_effect,
            **common,
        )
        self.broker = Broker(self.scheduler, self.faults, dice, self.dispatch, note)
        self.meddlers = Meddlers(script, self.intercom)
        policy = knobs_of(conditions).policy
        self._watch = Watch(
            self.intercom,
            self.meddlers,
            lag_s=conditions.lag_s[1],
            registry_ttl_s=policy.registry_ttl_ms / 1000,
            violate=self.violate,
        )
        self.workers = [self._hire(number) for number in range(conditions.workers)]
        self._looking = False
        self._ids = itertools.count(1)

    # --- the course of it

    def run(self) -> None:
        """Until nothing happens any more."""
        self._take_over()
        self.meddlers.prepare(ATTRIBUTE)
        self.scheduler.now = float(START_S)
        for request in self.script.requests:
            self.scheduler.at(START_S + request.at_s, partial(self._enqueue, request))
        for act in self.script.acts:
            self.scheduler.at(START_S + act.at_s, partial(self.meddlers.act, act))
        try:
            self.scheduler.run()
        finally:
            self.scheduler.close()

    def _take_over(self) -> None:
        """Put what the product draws from the operating system under the history's control."""
        tokens = itertools.count(1)
        for module in (onelane_worker.turn, onelane_worker.passage):
            module.uuid4 = lambda: SimpleNamespace(hex=f"t{next(tokens)}")  # type: ignore[attr-defined]
        for module in (onelane.submission, onelane_worker.ending):
            module.new_intent_id = lambda lane: f"{lane[0]}{next(self._ids):031x}"  # type: ignore[attr-defined]
        onelane_worker.turn.log = _Ears(self.violate)
        onelane_worker.lease.log = onelane_worker.timer.log = _Ears(_silent)
        keyspace.PARTITIONS = (PARTITION,)  # type: ignore[misc]

    def violate(self, text: str) -> None:
        """A law is broken."""
        self.violations.append(f"at {self.scheduler.now - START_S:.4f}: {text}")
        if self.trace.on:
            self._note("VIOLATION", text)

    def _note(self, *words: Any) -> None:
        self.trace.note(self.scheduler.now, *words)

    # --- producers

    def _enqueue(self, request: Request) -> None:
        submission = prepare(request.intent, SETTINGS)
        payload = submission.args[2]
        self.laws.watch(submission.lane)
        if submission.new_address is not None:
            self.laws.watch(lane_id(submission.new_address))

        def effect() -> list[str]:
            reply = self.server.run(SUBMIT_SCRIPT, submission.keys, submission.args)
            self._accept(reply, submission, str(payload))
            return reply

        def answered(reply: list[str]) -> None:
            gate = submission.gate(reply)
            if gate is None:
                self._publish(submission, reply)
                return
            place = partial(self.server.run, GATE_SCRIPT, gate.keys, gate.args)
            self.network.submit(place, lambda _: self._publish(submission, reply))

        if self.trace.on:
            self._note("producer", submission.intent_id, payload)
        self.network.submit(effect, answered)

    def _publish(self, submission: Submission, reply: list[str]) -> None:
        with suppress(DedupeMismatch):
            _, turn = submission.accepted(reply)
            if turn is not None:
                self.broker.publish(turn)

    def _accept(self, reply: list[str], submission: Submission, payload: str) -> None:
        if reply[0] == "accepted" and submission.intent_id not in self.accepted:
            intent = json.loads(payload)
            rank, now = len(self.accepted), self.scheduler.now
            self.accepted[submission.intent_id] = Told(
                submission.intent_id, rank, int(now * 1000) / 1000, intent, submission.lane
            )

    # --- workers

    def _hire(self, number: int) -> Worker:
        return Worker(
            number,
            self.script.conditions,
            self.scheduler,
            self.server,
            self.network,
            self.intercom,
            self.broker,
        )

    def dispatch(self) -> None:
        """Give waiting turns to workers that have room."""
        while self.broker.waiting:
            now = self.scheduler.now
            able = [w for w in self.workers if w.free and w.process.alive and w.process.frozen_until <= now]
            if not able:
                return
            chosen, turn = self.dice.choice(able), self.broker.take()
            chosen.free -= 1
            chosen.turns.append(turn)
            self.scheduler.spawn(chosen.process, partial(self._serve, chosen, turn), turn.lane)

    def _serve(self, chosen: Worker, turn: Any) -> None:
        chosen.serve(turn)
        self.dispatch()
        self._wake_timer()

    def crash(self, process: Process) -> None:
        """kill -9. A new process takes its place; its turns are lost, or come back."""
        if not process.alive:
            return
        self._note("CRASH", process.name) if self.trace.on else None
        process.alive = False
        dead = next(one for one in self.workers if one.process is process)
        for turn in dead.turns:
            if self.dice.random() < 0.5:
                self.scheduler.after(self.dice.uniform(0.1, 30), partial(self.broker.put, turn))
        self.scheduler.after(self.dice.uniform(*RESTART_S), lambda: self._restart(dead))

    def _restart(self, dead: Worker) -> None:
        self.workers[self.workers.index(dead)] = self._hire(dead.number)
        self.dispatch()
        self._wake_timer()

    def freeze(self, process: Process, delay_s: float) -> None:
        """SIGSTOP, and SIGCONT later."""
        self._note("FREEZE", process.name, delay_s) if self.trace.on else None
        process.frozen_until = max(process.frozen_until, self.scheduler.now + delay_s)
        self.scheduler.at(process.frozen_until, self.dispatch)

    # --- the due timer: looks while there is something to look for

    def _after_effect(self) -> None:
        self.laws.check(self.scheduler.now)
        self._wake_timer()

    def _wake_timer(self) -> None:
        if not self._looking:
            self._looking = True
            self.scheduler.after(TIMER_S, self._look)

    def _look(self) -> None:
        now = self.scheduler.now
        due = self.server.scores(keyspace.due(PARTITION))
        sent = any(self.server.scores(keyspace.sent(PARTITION, queue)) for queue in keyspace.QUEUES)
        if not due and not sent:
            self._looking = False
            return
        for one in self.workers[: self.script.conditions.timers]:
            if one.process.alive and (sent or min(due.values()) <= now * 1000):
                self.scheduler.spawn(one.process, one.look, "timer")
        next_s = now + TIMER_S if sent else max(now + TIMER_S, min(due.values()) / 1000)
        self.scheduler.at(next_s, self._look)

    # --- laws at the door to Intercom

    def _before_write(self, lane: str, operation: op.Operation) -> None:
        """Invariant 6: what is sent is on record, for as long as it may commit."""
        fields = self.server.hgetall(keyspace.lane(lane))
        until_s = float(fields.get("commit", 0)) / 1000
        if "open" not in fields or until_s < self.scheduler.now + HTTP_TIMEOUT_S + WRITE_TAIL_S - 0.01:
            self.violate(f"lane {lane[:6]}: {operation} is sent and not on record: {fields}")

    def _before_effect(self, wire: Wire) -> None:
        self._watch.look(wire)

    # --- for the judge

    @property
    def settle_window_s(self) -> float:
        return knobs_of(self.script.conditions).policy.settle_window_ms / 1000


class _Ears:
    """Stands where the turn's logger is: an internal error is a violation, the rest is talk."""

    def __init__(self, violate: Callable[[str], None]) -> None:
        self._violate = violate

    def debug(self, *_: Any, **__: Any) -> None: ...

    info = warning = error = debug

    def exception(self, event: str, **words: Any) -> None:
        import traceback

        self._violate(f"internal error: {event} {words}\n{traceback.format_exc()}")


def _silent(*_: Any) -> None: ...


def _short(word: Any) -> str:
    text = f"{word.status} {word.body}" if hasattr(word, "status") else str(word)
    return text if len(text) <= 300 else text[:300] + "…"
