"""What a lost moment of Redis costs, and what the hold and the epoch rule save.

One run with a Redis that is killed again and again, for each way to run it: what `appendfsync` is, whether
workers hold after a failover, and whether they were told that Redis loses nothing. Intercom is slow, so that
at each kill many writes are under way, and all windows but the settle window are those of production.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from tests.checker.history import Span
from tests.checker.report import CONSENT, DUPLICATE, FIELD, LOST, MISSING, ORDER, OUTCOME, OVERLAP

from .run import Options, Result
from .run import run as run_once
from .scale import Scale, Windows

SCALE = Scale(
    intents=2_400,
    addresses=900,
    duration_s=240,
    producers=4,
    pending_max=600,
    events={"kill_redis": 4},
    drain_s=300,
    windows=Windows(settle_window_s=20, index_lag_s=(0.5, 10)),
    faults=(
        {"fault": "slow", "seconds": 0.3, "probability": 0.3},
        {"fault": "slow", "seconds": 3.0, "probability": 0.2},
        {"fault": "slow", "seconds": 9.0, "probability": 0.1},
        {"fault": "lose_response", "probability": 0.01},
    ),
)
STANDSTILL_WITHIN_S = 20.0
"""How long after Redis was back the longest pause between two requests may begin: holders of a lease end
what they have."""


@dataclass(frozen=True, slots=True)
class Way:
    """One way to run Redis and the workers."""

    appendfsync: str
    trusted: bool
    hold: bool
    sound: bool
    """The promise must hold."""

    def __str__(self) -> str:
        if self.trusted:
            return "REDIS_DURABLE" + ("" if self.appendfsync == "always" else ", which is not true")
        return "as by default" if self.hold else "FAILOVER_HOLD_S=0"


WAYS = (
    Way("everysec", trusted=False, hold=True, sound=True),
    Way("everysec", trusted=False, hold=False, sound=False),
    Way("everysec", trusted=True, hold=False, sound=False),
    Way("always", trusted=True, hold=True, sound=True),
)


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of one way."""

    way: Way
    result: Result

    @property
    def ok(self) -> bool:
        """As promised; where nothing is promised, the run itself went well."""
        return self.result.kept if self.way.sound else self.result.drained and not self.result.unsent

    def found(self, *kinds: str) -> int:
        return sum(self.result.count(kind) for kind in kinds)

    def apart(self, kind: str) -> int:
        """What the guarantees allow after a lost moment."""
        return sum(one.kind == kind and "rollback" in one.text for one in self.result.report.apart)

    @property
    def standstills_s(self) -> list[float]:
        """For each kill, the longest pause between two requests to Intercom."""
        arrivals = sorted(one["at"] for one in self.result.requests)
        return [longest_pause_s(arrivals, away) for away in self.result.toll.away]

    def as_json(self) -> dict[str, Any]:
        kinds = (LOST, DUPLICATE, OVERLAP, ORDER, FIELD, CONSENT, MISSING, OUTCOME)
        return {
            "appendfsync": self.way.appendfsync,
            "redis_durable": self.way.trusted,
            "hold": self.way.hold,
            "ok": self.ok,
            "kills": dict(self.result.toll.killed),
            "violations": {kind: self.result.count(kind) for kind in kinds},
            "apart": dict(Counter(one.kind for one in self.result.report.apart)),
            "standstills_s": self.standstills_s,
        }


def longest_pause_s(arrivals: list[float], away: Span) -> float:
    """Between two requests one after the other, of which the first came at most shortly after `away`."""
    near = [
        after - before
        for before, after in pairwise(arrivals)
        if after > away.start and before < away.end + STANDSTILL_WITHIN_S
    ]
    return max(near, default=0.0)


def run(seed: int, folder: Path, progress: Callable[[str], None]) -> list[Seen]:
    """All ways, one after the other."""
    seen = []
    for number, way in enumerate(WAYS):
        progress(f"{way.appendfsync}, {way}")
        place = folder / f"way{number}"
        place.mkdir()
        options = Options(SCALE, seed, way.appendfsync, way.trusted, way.hold)
        seen.append(Seen(way, run_once(options, place, progress)))
    return seen


def table(seen: list[Seen]) -> Table:
    """For people."""
    shown = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    shown.add_column("appendfsync")
    shown.add_column("workers")
    titles = (
        "kills",
        "forgotten\nby Redis",
        "lost",
        "doubled",
        "over-\nlaps",
        "again /\nback",
        "wrong\nin the end",
    )
    for title in (*titles, "standstill"):
        shown.add_column(title, justify="right", no_wrap=True)
    for one in seen:
        shown.add_row(one.way.appendfsync, str(one.way), *_cells(one), style=None if one.ok else "red")
    return shown


def _cells(one: Seen) -> tuple[str, ...]:
    pauses_s = one.standstills_s
    return (
        str(one.result.toll.killed["Redis"]),
        str(one.apart(LOST)),
        *(str(one.found(kind)) for kind in (LOST, DUPLICATE, OVERLAP)),
        f"{one.apart(ORDER)} / {one.found(ORDER)}",
        str(one.found(FIELD, CONSENT, MISSING, OUTCOME)),
        f"{min(pauses_s):.1f}–{max(pauses_s):.1f} s" if pauses_s else "–",
    )
