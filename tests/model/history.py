"""One history: engines, producers, operators, Intercom, faults and the judge, from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from onelane_worker.lanes.types import LaneError, LaneSettings

from . import people
from .engines import Engine
from .faults import BEGIN_MS
from .intercom import Intercom
from .judge import Judge
from .people import Broker
from .rules import ALL, Rules
from .suites import Suite
from .verdict import judge_the_end
from .world import Owner, Steps, World

MOST_EVENTS = 80_000
LONGEST_MS = 2_500_000.0
LOOKS_EVERY = 25
"""Events between two looks at whether it is over."""


class History(World):
    """Made from a suite, a seed and a number of faults; `play` plays it to its end."""

    def __init__(
        self, suite: Suite, seed: int, faults: int, rules: Rules = ALL, trace: list[str] | None = None
    ) -> None:
        self.suite = suite
        self.settings = suite.lane_settings()
        self.newer_settings = replace(self.settings, schema=2)
        super().__init__(seed, self.settings, rules, faults, suite.kinds, suite.horizon_ms, trace)
        self.engines: list[Engine] = []
        self.deaths: dict[str, str] = {}
        """Engine → why it ended."""
        self.people = 0
        """Producers and operators who are not done."""
        self.submitted = 0
        self.poison: dict[str, str] = {}
        """Intent → what kills its process: `grant` or `write`."""
        self.rejected: set[str] = set()
        self.alike: set[str] = set()
        """Bulk intents that are rejected until somebody mends the cause."""
        self.buried: dict[str, str] = {}
        self.mended_at = 0.0
        self.outage: tuple[float, float] | None = None
        self.pops = 0
        self.most_pops = 0
        self._claim_pops = 0
        self._made = 0
        self._requests = 0
        self._checks = 0
        self.intercom = Intercom(self)
        self.judge = Judge(self)
        self.broker = Broker(self)
        self._begin()
        self._patience_ms = self._patience()

    def _begin(self) -> None:
        scripts, suite, random = self.scripts, self.suite, self.random
        scripts.on_grant = self.judge.granted
        scripts.on_kill = self.judge.killed
        scripts.on_end = self.judge.settled
        scripts.on_pop = self._popped
        scripts.on_move = self.judge.moved
        scripts.state.epoch_server = scripts.server
        self.open_workspace()
        self.newer_at = BEGIN_MS + self.between(0, 60_000) if suite.upgrade else 0.0
        for _ in range(suite.engines):
            self.new_engine(random.random() * 100)
        for number, (address, bulk, wish) in enumerate(people.drawn_wishes(self)):
            after = random.choice((0, 0, 500, self.between(0, 20_000), self.between(0, suite.horizon_ms)))
            self._join(people.producer(self, number, address, bulk, wish), after + number)
        for _ in range(2):
            self._join(people.operator(self), self.between(5_000, suite.horizon_ms * 1.5))
        if suite.pauses:
            self._join(people.pauser(self), self.between(0, suite.horizon_ms))
        if suite.failover:
            self._join(people.failover(self), self.between(0, min(60_000, suite.horizon_ms)))
        if suite.resumes:
            self._join(people.resumer(self), 0.0)
        if suite.outage:
            begins = BEGIN_MS + self.between(*suite.outage_begins_ms)
            self.outage = (begins, begins + self.between(3_000, 60_000))
        if suite.rejecting:
            self.mended_at = BEGIN_MS + self.between(8_000, 30_000)

    def _join(self, steps: Steps[None], after: float) -> None:
        self.people += 1
        self.start(steps, None, after)

    def _popped(self, kind: str) -> None:
        self.pops += 1
        self._claim_pops += 1
        self.judge.popped(kind)

    def execute(self, secret: str, settings: LaneSettings, script: str, args: Any, named: Any) -> Any:
        """Run a script, and count what a claim costs."""
        self._claim_pops = 0
        answer = super().execute(secret, settings, script, args, named)
        self.most_pops = max(self.most_pops, self._claim_pops)
        if script == "claim":
            self.judge.claimed()
        if script == "breaker" and not isinstance(answer, LaneError):
            self.judge.told(args[0], named, answer)
        return answer

    def open_workspace(self) -> str:
        """The workspace's secret; it is made if there is none."""
        return self.scripts.open_workspace(self.new_secret())

    # ── names ──

    def next_request(self) -> int:
        self._requests += 1
        return self._requests

    def new_check_id(self) -> str:
        self._checks += 1
        return f"k{self._checks}"

    # ── processes ──

    def new_engine(self, after: float = 0.0) -> None:
        """A process starts; it opens the workspace first."""
        secret = self.open_workspace()
        engine = Engine(self, f"E{self._made}", secret)
        self._made += 1
        self.engines.append(engine)
        if self.newer_at > self.now:
            self.later(self.newer_at - self.now + self.between(0, 20_000), engine.upgrade)
        engine.begin(after)

    def settings_of_new_engine(self) -> LaneSettings:
        """Settings of a process that starts now."""
        return self.newer_settings if self.newer_at and self.now >= self.newer_at else self.settings

    def crash(self, owner: Owner, why: str) -> None:
        """The process is gone; another starts."""
        if owner.gone:
            return
        owner.gone = True
        self.active()
        self.deaths[owner.name] = why
        self.log(owner.name, "dies:", why)
        self.engines = [engine for engine in self.engines if engine is not owner]
        self._join(self._restart(), 0.0)

    def _restart(self) -> Steps[None]:
        yield self.between(500, 3_000)
        self.people -= 1
        self.new_engine()

    def stop(self, engine: Engine) -> None:
        """The process is asked to stop."""
        if not engine.stopping:
            engine.stopping = True
            self.log(engine.name, "is asked to stop")
            self._join(self._end(engine), 100.0)

    def _end(self, engine: Engine) -> Steps[None]:
        while engine.jobs and not engine.gone:
            yield 200.0
        if not engine.gone:
            engine.gone = True
            self.deaths[engine.name] = "stop"
            self.engines.remove(engine)
            yield 500.0
            self.new_engine()
        self.people -= 1

    def poke_all(self) -> None:
        for engine in self.engines:
            self.poke(engine)

    # ── Intercom's moods ──

    def rejects(self, intent: str) -> bool:
        """Does Intercom reject what this intent brings?"""
        return intent in self.rejected or (intent in self.alike and self.now < self.mended_at)

    def _is_down(self) -> bool:
        return self.outage is not None and self.outage[0] <= self.now < self.outage[1]

    def outage_answers(self, sort: str) -> str | None:
        """The word for the breaker, if a call of this sort fails now."""
        kind = self.suite.outage
        if not self._is_down() or (kind == "writes" and sort == "reads"):
            return None
        return "refused" if kind == "refused" else "failed"

    def probe_answer(self) -> str:
        """What the breaker is told of a probe that is sent now."""
        kind = self.suite.outage
        if not self._is_down() or kind == "writes" or (kind == "probes" and self.random.random() < 0.7):
            return "ok"
        return "refused" if kind == "refused" else "failed"

    # ── the course of things ──

    def _patience(self) -> float:
        """How long nothing may happen while something waits."""
        suite = self.suite
        extra = 62_000 * bool(suite.outage) + 60_000 * bool(suite.failover) + 40_000 * suite.pauses
        extra += 80_000 * suite.upgrade + 40_000 * (suite.limit < 100) + 60_000 * suite.rejecting
        return 140_000.0 + extra

    @property
    def longest_ms(self) -> float:
        """How long the history may last."""
        outage = self.outage[1] - BEGIN_MS if self.outage else 0.0
        kills = 400_000.0 * self.suite.poison * self.suite.poison_writes
        mending = self.mended_at - BEGIN_MS if self.mended_at else 0.0
        return self.suite.horizon_ms * 1.5 + 480_000.0 + kills + outage + mending

    def play(self) -> Sequence[str]:
        """To the end. Returns the violations."""
        events = 0
        while self.advance():
            events += 1
            if events % LOOKS_EVERY:
                continue
            if self.now - self.active_at > self._patience_ms and self.scripts.state.pending:
                self.violation("no progress")
                break
            if events > MOST_EVENTS or self.now - BEGIN_MS > LONGEST_MS:
                self.violation("does not end", events)
                break
            if self._is_quiet():
                break
        self.law.check_all()
        judge_the_end(self)
        return self.violations

    def sleeps_for(self) -> float:
        """How long nothing can happen, because everything waits for a time that is known; 0: not so."""
        state = self.scripts.state
        if self.people or not self.faults.are_over(self.now) or any(state.ready.values()) or not state.due:
            return 0.0
        if any(lane.token is not None for lane in state.lanes.values()) or self.broker.under_way:
            return 0.0
        return min(state.due.values()) - self.now

    def _is_quiet(self) -> bool:
        if self.people or self.scripts.state.pending:
            return False
        lanes = self.scripts.state.lanes.values()
        if any(lane.token is not None or lane.check is not None for lane in lanes):
            return False
        return not any(self.judge.in_flight.values())
