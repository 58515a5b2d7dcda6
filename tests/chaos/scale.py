"""How big a chaos run is, how long its windows are, and how Intercom fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Windows:
    """The protocol's times, in seconds. The defaults are the workers' own."""

    lease_s: float = 5.0
    http_timeout_s: float = 15.0
    write_tail_s: float = 15.0
    send_grace_s: float = 1.0
    settle_window_s: float = 600.0
    index_lag_s: tuple[float, float] = (0.5, 3.5)
    """Shorter than the settle window: an index that lags longer breaks what the settings assume."""

    @property
    def hold_s(self) -> float:
        """Of the workers after a failover: what they take by default."""
        return self.send_grace_s + self.http_timeout_s + self.write_tail_s

    @property
    def settings(self) -> dict[str, object]:
        """The same as the workers read them."""
        return {
            "LEASE_S": self.lease_s,
            "HTTP_TIMEOUT_S": self.http_timeout_s,
            "WRITE_TAIL_S": self.write_tail_s,
            "SEND_GRACE_S": self.send_grace_s,
            "SETTLE_WINDOW_S": self.settle_window_s,
            "SETTLE_MARGIN_S": 2,
            "REGISTRY_TTL_S": self.settle_window_s + 2,
        }


BRIEF = Windows(1.0, 1.0, 1.5, 0.3, 4.0)
"""Shrunk, so that a run fits into minutes."""

SETTINGS: Mapping[str, object] = {
    "BACKOFF_BASE_S": 0.1,
    "BACKOFF_CAP_S": 1,
    "PARKED_RETRY_S": 0.5,
    "NEW_REDIS": "true",
    "MAX_ATTEMPTS": 10_000,
    "MAX_KILLS": 1_000,
    "REQUESTS_PER_10S": 1_000_000,
    "INTERCOM_TOKEN": "chaos",
}
"""Of the workers, beside the windows. Attempts and kills never run out: the only dead letters are those that
were planned."""

FAULTS: tuple[Mapping[str, object], ...] = (
    {"fault": "slow", "seconds": 0.1, "probability": 0.06},
    {"fault": "slow", "seconds": BRIEF.http_timeout_s + 0.3, "probability": 0.03},
    {"fault": "lose_response", "probability": 0.015},
    {"fault": "status_502_after_commit", "probability": 0.01},
    {"fault": "status_503", "probability": 0.01},
    {"fault": "drop_request", "probability": 0.01},
    {"fault": "rate_limited", "seconds": 1, "probability": 0.001},
)
"""Of the sandbox, all the time. The slowest commits after our time-out, but within the tail. The rest of the
tail is for the way there and for a sandbox that has to wait for a processor: a commit beyond the tail breaks
what the workers were told of Intercom, and so must not happen by the machine's doing."""

LOST_LANE_REPLIES = 0.01
"""Share of the lane scripts' answers that get lost, all the time; redis-py asks again by itself."""


@dataclass(frozen=True, slots=True)
class Scale:
    """One form of the run."""

    intents: int
    addresses: int
    duration_s: float
    """Time over which the intents are enqueued."""
    workers: int = 2
    producers: int = 3
    events: Mapping[str, int] = field(default_factory=dict)
    """How often each event of `events.EVENTS` happens."""
    drain_s: float = 60.0
    """How long the lanes may take to empty after the last intent and the last event."""
    windows: Windows = BRIEF
    faults: tuple[Mapping[str, object], ...] = FAULTS
    pending_max: int = 48
    """Most waiting intents: a lane that only waits in a long line says nothing about recovery."""
    judges_each_kill: bool = False
    """Whether each kind of kill must have had a lane to judge; else one of any kind is enough."""

    @property
    def kills(self) -> int:
        """Processes, or groups of them, ended with SIGKILL."""
        return sum(count for name, count in self.events.items() if name.startswith("kill_"))


SHORT = Scale(
    intents=300,
    addresses=40,
    duration_s=18,
    events={
        "kill_all_workers": 1,
        "kill_worker": 1,
        "kill_producer": 1,
        "kill_redis": 1,
        "freeze_worker": 2,
        "empty_broker": 1,
        "double_wakes": 3,
        "drop_broker_replies": 1,
        "cut_redis": 1,
        "drop_intercom_replies": 1,
    },
)
LONG = Scale(
    intents=5_000,
    addresses=500,
    duration_s=240,
    workers=2,
    producers=4,
    events={
        "kill_all_workers": 4,
        "kill_worker": 8,
        "kill_producer": 5,
        "kill_redis": 3,
        "freeze_worker": 4,
        "empty_broker": 4,
        "double_wakes": 20,
        "drop_broker_replies": 6,
        "cut_redis": 4,
        "stall_redis": 3,
        "drop_intercom_replies": 4,
        "cut_intercom": 3,
    },
    drain_s=180,
    judges_each_kill=True,
)
