"""One history, from its script to its end: producers, workers, others, and what goes wrong, on one world."""

from __future__ import annotations

import json
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from tests.world.faults import Fault, Place
from tests.world.intercom import Network
from tests.world.loop import Process
from tests.world.workers import Worker
from tests.world.world import START_S, Hooks, World

from onelane.errors import DedupeMismatch
from onelane.submission import Submission, prepare, submit
from onelane_worker.planner import operations as op

from .door import Door
from .knobs import HTTP_TIMEOUT_S, WRITE_TAIL_S, knobs_of
from .meddlers import Meddlers
from .script import ATTRIBUTE, Conditions, Request, Script, Struck
from .troubles import Troubles
from .watch import Watch

RESTART_S = (0.1, 8.0)
MOST_STEPS = 100_000
LONGEST_S = 200_000.0
"""Virtual seconds after which a history is given up."""


@dataclass(slots=True)
class Told:
    """An accepted intent."""

    id: str
    rank: int
    at_s: float
    intent: dict[str, Any]
    lane: str
    outcome: dict[str, Any] | None = None
    """Its last known one: a Redis that lost it does not tell it any more."""
    ended_s: float | None = None
    lost: bool = False
    """Redis lost that it was accepted."""


class Faults:
    """Deals the script's faults to the calls as they come."""

    def __init__(self, faults: Sequence[Struck], now_s: Callable[[], float]) -> None:
        self._by_call = {(one.place, one.index): one.fault for one in reversed(faults)}
        self._now_s = now_s
        self._calls: Counter[Place] = Counter()
        self.struck: list[Fault] = []
        self.last_s = 0.0

    def strike(self, place: Place, process: Process | None, what: object) -> Fault | None:
        """The fault that meets this call, if one does."""
        number = self._calls[place]
        self._calls[place] += 1
        fault = self._by_call.get((place, number))
        if fault is not None:
            self.struck.append(fault)
            self.last_s = self._now_s() + fault.delay_s
        return fault


class History(Hooks):
    """Everything that takes part in one history."""

    def __init__(self, script: Script, *, trace: bool = False) -> None:
        self.script = script
        self.violations: list[str] = []
        self.accepted: dict[str, Told] = {}
        conditions = script.conditions
        self.faults = Faults(script.faults, lambda: self.world.now)
        self.world = World(
            script.seed,
            knobs=knobs_of(conditions),
            lag_s=conditions.lag_s,
            workers=0,
            network=network_of(conditions),
            skew_s=conditions.skew_s,
            strike=self.faults.strike,
            hooks=self,
            trace=trace,
        )
        self.door = Door(self.world, self.violate, conditions.requests_per_10s)
        self.meddlers = Meddlers(script, self.world.intercom)
        self.troubles = Troubles(self)
        self._watch = Watch(
            self.world.intercom,
            self.meddlers,
            lag_s=conditions.lag_s[1],
            registry_ttl_s=self.world.knobs.policy.registry_ttl_ms / 1000,
            violate=self.violate,
        )

    @property
    def now(self) -> float:
        return self.world.now

    # ── the course of it ──

    def run(self) -> None:
        """Until nothing happens any more."""
        world, loop = self.world, self.world.loop
        loop.most_steps = MOST_STEPS
        self.meddlers.prepare(ATTRIBUTE)
        for _ in range(self.script.conditions.engines):
            self.hire()
        for request in self.script.requests:
            loop.at(START_S + request.at_s, partial(self._enqueue, request))
        for act in self.script.acts:
            loop.at(START_S + act.at_s, partial(self.meddlers.act, act))
        self.troubles.plan(self.script.troubles)
        if not loop.run_until(lambda: world.at_rest, START_S + LONGEST_S):
            self.violate(f"no end after {LONGEST_S:.0f} s")
        self.note_ends()

    def close(self) -> None:
        self.world.close()

    def violate(self, text: str) -> None:
        """A law is broken."""
        self.violations.append(f"at {self.now - START_S:.4f}: {text}")
        self.world.note("VIOLATION", text)

    def note_ends(self) -> None:
        """Remember the outcomes that Redis tells."""
        for told in self.accepted.values():
            record = self.world.hash("intent", told.id)
            if "outcome" in record:
                told.outcome, told.ended_s = json.loads(record["outcome"]), int(record["ended"]) / 1000

    # ── producers ──

    def _enqueue(self, request: Request) -> None:
        submission = prepare(request.intent)
        self.world.note("producer", submission.intent_id, submission.payload)
        queue = self.world.queue
        exchange = submit(queue._session, [submission], queue.settings)
        self._ask(exchange, next(exchange), submission, request)

    def _ask(self, exchange: Any, commands: Any, submission: Submission, request: Request) -> None:
        def effect() -> Any:
            replies = self.world.redis.all(commands)
            self._accept(replies[0], submission, request)
            return replies

        def answered(replies: Any) -> None:
            try:
                self._ask(exchange, exchange.send(replies), submission, request)
            except StopIteration as end:
                [answer] = end.value
                with suppress(DedupeMismatch):
                    answer.receipt()
                    self.world.broker.wake(int(answer.wake))

        self.world.link.submit("submit", effect, answered)

    def _accept(self, reply: Any, submission: Submission, request: Request) -> None:
        if not isinstance(reply, list) or reply[0] != "accepted" or submission.intent_id in self.accepted:
            return
        lane = submission.lane(self.world.workspace)
        intent, at_s = json.loads(submission.payload), int(self.now * 1000) / 1000
        told = Told(submission.intent_id, len(self.accepted), at_s, intent, lane)
        self.accepted[submission.intent_id] = told
        if request.kills:
            self.troubles.deadly[told.id] = request.kills

    # ── workers ──

    def hire(self) -> Worker:
        """Start a worker whose clock is its own."""
        dice = self.world.dice
        return self.world.hire(dice.uniform(-1e6, 1e6), dice.choice((1.0, 1.0, 0.999, 1.001)))

    def killed(self, process: Process) -> None:
        """A new process takes its place after a while."""
        self.world.loop.after(self.world.dice.uniform(*RESTART_S), self.hire)

    def ended(self, worker: Worker) -> None:
        """An engine that ends without being asked to is a violation; a new one takes its place."""
        error = None if worker.task.cancelled() else worker.task.exception()
        if error is not None:
            self.violate("engine ended: " + "".join(traceback.format_exception(error)))
        if not self.world.at_rest:
            self.killed(worker.process)

    # ── what is looked at while it goes on ──

    def after_effect(self, what: str) -> None:
        for one in self.world.broken:
            self.violate(one)
        self.world.broken.clear()
        self.troubles.after_effect()

    def sends(self, process: Process, operation: op.Operation) -> None:
        self.door.sends(process, operation)

    def before_effect(self, wire: Any) -> None:
        self._watch.look(wire)


def network_of(conditions: Conditions) -> Network:
    service_s = (1.0, 12.0) if conditions.slow_calls else (0.02, 0.4)
    return Network(timeout_s=HTTP_TIMEOUT_S, tail_s=WRITE_TAIL_S, service_s=service_s)
