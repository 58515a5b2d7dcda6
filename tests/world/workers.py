"""Worker processes: each has an engine, its own clock, its own way to Redis and to Intercom."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from onelane.results import Outcome
from onelane_worker.engine.engine import Engine
from onelane_worker.engine.lane import Timing
from onelane_worker.engine.timeline import Row
from onelane_worker.lanes.types import LaneSettings, NoWorkspace
from onelane_worker.planner import operations as op
from onelane_worker.planner.policy import Policy

from .loop import Process, VirtualLoop

POLICY = Policy(settle_check=True)


@dataclass(frozen=True, slots=True)
class Knobs:
    """What all engines of a world are made with."""

    lanes: LaneSettings = field(default_factory=LaneSettings)
    policy: Policy = POLICY
    timing: Timing = field(default_factory=Timing)
    slots: int = 8
    grace_s: float = 10.0


KNOBS = Knobs()


class Seen:
    """An observer that remembers what Flower would be told: (what, row, details)."""

    def __init__(self) -> None:
        self.events: list[tuple[str, Row, Any]] = []

    def ended(self, row: Row, outcome: Outcome) -> None:
        self.events.append(("ended", row, outcome))

    def buried(self, row: Row, outcome: Outcome, problem: op.Problem) -> None:
        self.events.append(("buried", row, (outcome, problem)))

    def put_back(self, row: Row, problem: op.Problem, state: str, delay_s: float) -> None:
        self.events.append(("put_back", row, (problem, state, delay_s)))


class Worker:
    """One process with its engine."""

    def __init__(
        self, loop: VirtualLoop, process: Process, make: Callable[[Process], Awaitable[Engine]]
    ) -> None:
        self.process = process
        self.engine: Engine | None = None
        self._stopping = False
        self._loop = loop
        self._make = make
        self.task = loop.spawn(process, self._live())

    @property
    def is_up(self) -> bool:
        """It runs: it is neither dead, nor has it ended, nor does it stand still."""
        still = self.process.frozen_until_s > self._loop.now
        return self.process.alive and not self.task.done() and not still

    def poke(self) -> None:
        """A wake-up message has come."""
        self._do(lambda engine: engine.poke(1))

    def stop(self) -> None:
        """SIGTERM."""
        self._stopping = True
        self._do(lambda engine: engine.stop())

    async def _live(self) -> None:
        while True:
            self.engine = await self._make(self.process)
            if self._stopping:
                self.engine.stop()
            try:
                await self.engine.run()
                return
            except NoWorkspace:  # Redis was emptied
                self.engine = None

    def _do(self, action: Callable[[Engine], None]) -> None:
        def act() -> None:
            if self.engine is not None:
                action(self.engine)

        self.process.context.run(self._loop.call_soon, act)
