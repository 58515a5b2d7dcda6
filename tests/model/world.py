"""Virtual time, and calls of scripts over a network that loses, repeats and delays."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Generator
from random import Random
from typing import Any, TypeVar

from onelane_worker.lanes.types import Fenced, LaneError, LaneSettings

from .faults import BEGIN_MS, Crash, Faults
from .law import Law
from .rules import Rules
from .scripts import Scripts
from .state import State

T = TypeVar("T")
Steps = Generator[float | None, None, T]
"""Something that takes time: it yields how many ms to wait, or None to wait for a poke."""
STRICT = frozenset({"checkpoint", "clear", "settle", "postpone", "bury"})
"""Scripts that change nothing when they are called again."""
SECRET_DIGITS = 8


class Owner:
    """A process: what it does ends with it, and stands still while it is frozen."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.gone = False
        self.frozen_until = 0.0
        self.waiting: Steps[None] | None = None
        self.poked = True


class World:
    """Time, Redis, and the network between Redis and its callers."""

    def __init__(
        self, seed: int, settings: LaneSettings, rules: Rules, faults: int, kinds: tuple[str, ...] | None,
        horizon_ms: float, trace: list[str] | None,
    ) -> None:  # fmt: skip
        self.random = Random(seed)
        self.rules = rules
        self.now = BEGIN_MS
        self.active_at = BEGIN_MS
        """When something last happened, for the judge of progress."""
        self.scripts = Scripts(settings, rules)
        self.faults = Faults(self.random, faults, kinds, BEGIN_MS + horizon_ms)
        self.violations: list[str] = []
        self.law = Law(self.scripts, self.violation)
        self.away_until = 0.0
        """Redis does not answer before this."""
        self.rolled_back = False
        self.trace = trace
        self._heap: list[tuple[float, int, Steps[Any], Owner | None]] = []
        self._count = 0
        self._secrets = 0
        self.scripts.set_clock(int(BEGIN_MS * 1000))

    # ── time ──

    def start(self, steps: Steps[Any], owner: Owner | None = None, after: float = 0.0) -> None:
        """Let something happen from now on, beside everything else."""
        self._count += 1
        heapq.heappush(self._heap, (self.now + max(after, 0.0), self._count, steps, owner))

    def advance(self) -> bool:
        """Go to the next event. False: nothing happens any more."""
        while self._heap:
            at, _, steps, owner = heapq.heappop(self._heap)
            if owner is not None:
                if owner.gone:
                    continue
                if owner.frozen_until > at:
                    self._count += 1
                    heapq.heappush(self._heap, (owner.frozen_until, self._count, steps, owner))
                    continue
            self.now = at
            try:
                pause = next(steps)
            except (StopIteration, Crash):
                return True
            if pause is not None:
                self._count += 1
                heapq.heappush(self._heap, (at + pause if pause > 0 else at, self._count, steps, owner))
            elif owner is not None:
                owner.waiting = steps
            return True
        return False

    def poke(self, owner: Owner) -> None:
        """Let a process that waits go on."""
        if owner.waiting is not None:
            steps, owner.waiting = owner.waiting, None
            self.start(steps, owner)
        else:
            owner.poked = True

    def later(self, after: float, act: Callable[[], object]) -> None:
        """Do something once, later."""

        def steps() -> Steps[None]:
            yield after
            act()

        self.start(steps())

    # ── what is told ──

    def log(self, *words: Any) -> None:
        if self.trace is not None:
            self.trace.append(f"{(self.now - BEGIN_MS) / 1000:9.3f} " + " ".join(map(str, words)))

    def violation(self, what: str, *about: Any) -> None:
        self.violations.append(what)
        self.log("!!", what, *about)

    def active(self, until: float = 0.0) -> None:
        """Something happened, or will until then: it is too early to miss progress."""
        self.active_at = max(self.active_at, self.now, until)

    def strikes(self, kind: str, chance: float) -> bool:
        """Does this go wrong now?"""
        if self.faults.left <= 0 or not self.faults.strikes(kind, chance, self.now):
            return False
        self.active()
        self.log("  ** fault:", kind)
        return True

    def between(self, least: float, most: float) -> float:
        return least + (most - least) * self.random.random()

    # ── processes ──

    def hop(self, owner: Owner | None, most: float = 10.0) -> Steps[None]:
        """A moment of at most so many ms passes; the process may die, or stand still."""
        yield 0.5 + most * self.random.random()
        if self.faults.left <= 0:
            return
        if self.strikes("crash", 0.02):
            if owner is not None:
                self.crash(owner, "crash")
            raise Crash
        if owner is not None and self.strikes("freeze", 0.015):
            owner.frozen_until = self.now + self.random.choice((6_000.0, self.between(2_000, 70_000)))
            self.active(owner.frozen_until)
            yield 0.0

    def crash(self, owner: Owner, why: str) -> None:
        """The process is gone."""
        raise NotImplementedError

    # ── Redis ──

    def new_secret(self) -> str:
        self._secrets += 1
        return f"s{self._secrets}".ljust(SECRET_DIGITS, "x")

    def restore(self, state: State) -> None:
        """Another server takes over, with what it knows."""
        self.scripts.state = state
        self.scripts.server = f"{self.scripts.server}+"
        self.rolled_back = True
        self.active()

    def execute(self, secret: str, settings: LaneSettings, script: str, args: Any, named: Any) -> Any:
        """Run a script; errors of the lanes are returned."""
        scripts = self.scripts
        scripts.settings = settings
        scripts.set_clock(int(self.now * 1000))
        try:
            scripts.check_caller(secret)
            answer = getattr(scripts, script)(*args, **named)
        except LaneError as error:
            answer = error
        self.law.check()
        return answer

    def call(
        self, owner: Owner | None, secret: str, settings: LaneSettings, script: str, *args: Any, **named: Any
    ) -> Steps[Any]:
        """Call a script: the reply may be lost and the call sent again; a copy may arrive late."""
        yield from self.hop(owner)
        if self.now >= self.away_until and self.strikes("flap", 0.02):
            self.away_until = self.now + self.between(1_000, 14_000)
            self.active(self.away_until)
        while self.now < self.away_until:
            yield self.away_until - self.now + self.between(1, 600)
        answer = self.execute(secret, settings, script, args, named)
        if self.trace is not None:
            self.log(owner.name if owner else "-", script, *args, named, "->", _short(answer))
        if self.strikes("lost_reply", 0.03):
            short = script == "tick"
            again_in = self.random.choice(
                (50.0, 1_000.0) if short
                else (50.0, 2_000.0, self.between(4_000, 9_000), self.between(5_000, 70_000))
            )  # fmt: skip
            self.active(self.now + again_in)
            yield again_in
            answer = self._again(secret, settings, script, args, named, answer)
        if self.strikes("late_copy", 0.03):
            self.start(self._late_copy(secret, settings, script, args, named, answer))
        yield from self.hop(owner)
        if isinstance(answer, LaneError):
            raise answer
        return answer

    def _late_copy(
        self, secret: str, settings: LaneSettings, script: str, args: Any, named: Any, first: Any
    ) -> Steps[None]:
        yield self.random.choice((300.0, self.between(500, 8_000), self.between(1_000, 70_000)))
        while self.now < self.away_until:
            yield self.away_until - self.now + 700.0
        answer = self._again(secret, settings, script, args, named, first)
        self.log("  late copy of", script, *args, "->", _short(answer))

    def _again(
        self, secret: str, settings: LaneSettings, script: str, args: Any, named: Any, first: Any
    ) -> Any:
        """The call arrives once more: nothing may change, and nothing new may be granted."""
        strict = script in STRICT and not self.rolled_back
        before = picture(self.scripts.state) if strict else None
        answer = self.execute(secret, settings, script, args, named)
        if strict:
            if picture(self.scripts.state) != before:
                self.violation("twice is not once", script, *args)
            if not _is_same(first, answer):
                self.violation("a repeat is answered otherwise", script, _short(first), _short(answer))
        if script == "claim" and not self.rolled_back and not isinstance(answer, LaneError):
            given = {(grant.lane, grant.fence) for grant in first.grants}
            if any((grant.lane, grant.fence) not in given for grant in answer.grants):
                self.violation("a repeated claim gives more")
        return answer


def _is_same(first: Any, answer: Any) -> bool:
    if isinstance(answer, Fenced):
        return True
    if type(first) is not type(answer):
        return False
    word = getattr(first, "word", None)
    return word == getattr(answer, "word", None) or (word, answer.word) == ("more", "left")


def _short(answer: Any) -> str:
    return str(answer)[:300]


def picture(value: Any) -> Any:
    """All that a value consists of, to be compared."""
    if isinstance(value, dict):
        return {key: picture(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [picture(one) for one in value]
    slots = getattr(type(value), "__slots__", None)
    if slots and not isinstance(value, str | int | float):
        return [picture(getattr(value, name)) for name in slots]
    return value
