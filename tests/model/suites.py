"""Kinds of histories."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final

from onelane_worker.lanes.types import LaneSettings

from .faults import COMMIT_MS, LAG_MS, REGISTRY_MS

NO_LIMIT: Final = 10**9


@dataclass(frozen=True, slots=True)
class Suite:
    """What a history is made of. Times in ms."""

    mix: str = "set"
    """Which intents: set, ext, change, erase, all; bulk: most are bulk; crowd: all with one external id."""
    lanes: int = 3
    engines: int = 2
    slots: int = 2
    intents: int = 5
    horizon_ms: float = 90_000
    kinds: tuple[str, ...] | None = None
    """Faults that happen; None: all."""
    late_share: float = 0.05
    """How often a write commits late."""
    limit: int = NO_LIMIT
    """Calls in ten seconds."""
    wake_delay_ms: float = 10
    poison: int = 0
    """Intents that kill their process when they are served,"""
    poison_writes: bool = False
    """or when the answer of a write arrives."""
    outage: str = ""
    """`failed`: nobody is answered; `probes`: only probes are; `writes`: only reads are; `refused`: the token
    is refused."""
    outage_begins_ms: tuple[float, float] = (0, 40_000)
    failover: str = ""
    """`rollback`: Redis loses a moment; `emptied`: it loses everything."""
    resumes: bool = False
    """An operator ends the hold after a failover."""
    upgrade: bool = False
    """Some payloads are too new for the engines, until each is upgraded."""
    pauses: bool = False
    """An operator pauses."""
    rejecting: bool = False
    """Most bulk intents are rejected alike, until somebody mends it."""
    most_passed: int = 3
    """Later ones that pass a waiter for an external id. Who is ready already when it is woken goes first."""
    most_pops: int = 14
    """Pops of claims for each intent, at most."""
    hoards: bool = False
    """Engines reserve more calls than they need."""
    settings: dict[str, Any] = field(default_factory=dict)

    def lane_settings(self) -> LaneSettings:
        """The settings of its engines."""
        return LaneSettings(
            **{
                "lease_ms": 5_000,
                "commit_ms": COMMIT_MS,
                "failover_hold_ms": COMMIT_MS,
                "settle_window_ms": LAG_MS,
                "registry_ttl_ms": REGISTRY_MS,
                "fold_max": 3,
                "schema": 1,
                "newer_ms": 5_000,
                "wake_max": 4,
                "requests_per_10s": self.limit,
                "breaker_calls": 2,
                "breaker_lanes": 1,
                "bulk_rejections": 3,
                "bulk_pause_ms": 4_000,
                **self.settings,
            }
        )


_LOST = ("late", "lost_reply", "late_copy", "crash")
_MILD = ("wake_lost", "request_dropped", "reply_lost", "throttled", "stop")
_LATE = Suite(mix="set", lanes=2, intents=8, slots=3, horizon_ms=12_000, late_share=0.5, kinds=_LOST)
_WINDOW = Suite(mix="set", lanes=14, intents=26, slots=6, horizon_ms=6_000, limit=20)

SUITES: Final[dict[str, Suite]] = {
    "set": Suite(mix="set"),
    "ext": Suite(mix="ext", intents=7),
    "ext2": Suite(mix="ext", lanes=2, intents=7, slots=3, horizon_ms=20_000),
    "star": Suite(mix="ext", lanes=7, intents=16, slots=3, horizon_ms=25_000),
    "crowd": Suite(mix="crowd", lanes=24, intents=30, slots=3, horizon_ms=1_000, most_pops=4, most_passed=30),
    "change": Suite(mix="change", intents=7),
    "change4": Suite(mix="change", lanes=4, intents=9, slots=3, horizon_ms=30_000),
    "all": Suite(mix="all", intents=8),
    "dense": Suite(mix="all", intents=10, horizon_ms=15_000, engines=3),
    "hot": Suite(mix="set", lanes=1, intents=8, horizon_ms=30_000),
    "hold": Suite(mix="ext", lanes=2, intents=24, horizon_ms=4_000, settings={"max_hold_ms": 2_500}),
    "hold_slow": Suite(
        mix="all", lanes=4, intents=12, horizon_ms=15_000, limit=5, slots=4, settings={"max_hold_ms": 8_000}
    ),
    "poison": Suite(
        mix="set",
        lanes=4,
        intents=8,
        poison=1,
        slots=3,
        horizon_ms=20_000,
        kinds=(*_MILD, "lost_reply", "wake_late", "late_copy"),
    ),
    "poison2": Suite(mix="all", lanes=5, intents=10, poison=2, slots=3, horizon_ms=20_000, kinds=_MILD),
    "poison16": Suite(
        mix="set",
        lanes=24,
        intents=48,
        poison=2,
        slots=16,
        horizon_ms=10_000,
        kinds=("wake_lost", "request_dropped", "reply_lost", "stop"),
    ),
    "poison32": Suite(
        mix="set",
        lanes=40,
        intents=50,
        poison=2,
        slots=32,
        horizon_ms=6_000,
        kinds=("wake_lost", "request_dropped", "reply_lost"),
    ),
    "poison_late": Suite(
        mix="all", lanes=4, intents=8, poison=2, slots=3, horizon_ms=20_000, poison_writes=True
    ),
    "outage": Suite(mix="all", intents=8, horizon_ms=40_000, outage="failed"),
    "outage_paid": Suite(
        lanes=8,
        intents=36,
        slots=6,
        horizon_ms=10_000,
        limit=20,
        outage="failed",
        outage_begins_ms=(6_000, 16_000),
        kinds=("lost_reply", "late_copy", "crash"),
        settings={"fold_max": 1},
    ),
    "half": Suite(mix="all", lanes=6, intents=12, slots=3, horizon_ms=30_000, outage="probes"),
    "writes_fail": Suite(mix="all", lanes=6, intents=14, slots=3, horizon_ms=30_000, outage="writes"),
    "refused": Suite(
        mix="all",
        lanes=5,
        intents=12,
        slots=3,
        horizon_ms=30_000,
        outage="refused",
        settings={"breaker_calls": 5, "breaker_lanes": 3},
    ),
    "rejecting": Suite(
        mix="bulk",
        lanes=8,
        intents=16,
        slots=3,
        horizon_ms=20_000,
        rejecting=True,
        settings={"bulk_pause_ms": 1_500},
    ),
    "pause": Suite(mix="all", intents=9, horizon_ms=30_000, pauses=True),
    "failover": Suite(mix="set", intents=6, horizon_ms=40_000, failover="rollback"),
    "failover_all": Suite(mix="all", intents=8, horizon_ms=40_000, failover="rollback"),
    "failover_late": replace(_LATE, failover="rollback"),
    "resume_now": Suite(mix="all", intents=8, horizon_ms=40_000, failover="rollback", resumes=True),
    "emptied": Suite(mix="all", intents=9, horizon_ms=30_000, failover="emptied"),
    "emptied_late": replace(_LATE, failover="emptied"),
    "emptied_ext": Suite(mix="ext", lanes=2, intents=9, horizon_ms=45_000, failover="emptied"),
    "upgrade": Suite(mix="all", intents=8, upgrade=True),
    "broker": Suite(mix="set", lanes=14, intents=24, horizon_ms=4_000, wake_delay_ms=40_000, slots=3),
    "bulk": Suite(mix="set", lanes=20, intents=40, slots=1, engines=1, horizon_ms=1_000),
    "flap": Suite(
        mix="all", lanes=4, intents=10, horizon_ms=40_000, kinds=("flap", "wake_lost", "request_dropped")
    ),
    "window": Suite(mix="all", intents=10, horizon_ms=20_000, limit=6, slots=3),
    "window2": replace(_WINDOW, kinds=("throttled", "lost_reply", "late_copy", "crash")),
    "window429": replace(_WINDOW, kinds=("throttled",)),
    "hoard": replace(_WINDOW, hoards=True, kinds=("throttled", "lost_reply", "late_copy", "freeze")),
}
"""By name."""
HEAVY: Final = {"poison16", "poison32", "window2", "window429", "hoard", "bulk", "broker", "crowd"} | {
    "rejecting",
    "outage_paid",
}
"""Those of which a history takes long."""
