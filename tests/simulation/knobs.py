"""The settings of a history's engines."""

from __future__ import annotations

from functools import cache

from tests.world.workers import Knobs

from onelane_worker.engine.lane import Timing
from onelane_worker.lanes.types import LaneSettings
from onelane_worker.planner.policy import Policy

from .script import Conditions

HTTP_TIMEOUT_S = 15.0
WRITE_TAIL_S = 15.0
SEND_GRACE_S = 1.0
COMMIT_S = SEND_GRACE_S + HTTP_TIMEOUT_S + WRITE_TAIL_S
A_WEEK_MS = 7 * 86_400_000


@cache
def knobs_of(conditions: Conditions) -> Knobs:
    """Production's settings, but for what the history has drawn."""
    window_ms = round(conditions.settle_window_s * 1000)
    registry_ms = window_ms + 30_000
    return Knobs(
        lanes=LaneSettings(
            commit_ms=round(COMMIT_S * 1000),
            failover_hold_ms=31_000 if conditions.hold else 0,
            settle_window_ms=window_ms,
            registry_ttl_ms=registry_ms,
            unchanged_ttl_ms=A_WEEK_MS,  # a history is judged at its end
            fold_max=conditions.fold_max,
            wake_max=conditions.wake_max,
            requests_per_10s=conditions.requests_per_10s,
        ),
        policy=Policy(
            settle_window_ms=window_ms,
            registry_ttl_ms=registry_ms,
            fold_max=conditions.fold_max,
            newsletter_subscription_types=conditions.newsletter_types,
        ),
        timing=Timing(
            commit_s=COMMIT_S,
            send_grace_s=SEND_GRACE_S,
            max_attempts=conditions.max_attempts,
            max_kills=conditions.max_kills,
        ),
        slots=conditions.slots,
        grace_s=5.0,
    )
