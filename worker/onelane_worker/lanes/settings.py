"""How the worker's settings become those of the lanes: seconds become milliseconds.

Apart from bootstrap, because operators' commands need it without Celery and the HTTP client.
"""

from __future__ import annotations

from onelane_worker.lanes.types import LaneSettings
from onelane_worker.settings import Settings


def lane_settings(settings: Settings, *, new_redis: bool = False) -> LaneSettings:
    """`new_redis`: this Redis was made for this start."""
    return LaneSettings(
        durable=settings.redis_durable,
        new_redis=new_redis,
        lease_ms=_ms(settings.lease_s),
        commit_ms=_ms(settings.commit_s),
        failover_hold_ms=_ms(settings.hold_s),
        max_hold_ms=_ms(settings.max_hold_s),
        settle_window_ms=_ms(settings.settle_window_s),
        registry_ttl_ms=_ms(settings.registry_ttl_s),
        consent_ttl_ms=_ms(settings.consent_memory_s),
        version_ttl_ms=_ms(settings.version_memory_s),
        status_ttl_ms=_ms(settings.status_ttl_s),
        unchanged_ttl_ms=_ms(min(settings.unchanged_ttl_s, settings.status_ttl_s)),
        dedupe_ttl_ms=_ms(settings.dedupe_ttl_s),
        fold_max=settings.fold_max,
        requests_per_10s=settings.requests_per_10s,
        lane_max=settings.lane_max,
        queue_max=settings.pending_max,
        breaker_calls=settings.breaker_calls,
        breaker_lanes=settings.breaker_lanes,
        probe_first_ms=min(1_000, _ms(settings.parked_retry_s)),
        probe_longest_ms=_ms(settings.parked_retry_s),
        bulk_rejections=settings.bulk_rejections,
        bulk_pause_ms=_ms(settings.parked_retry_s),
    )


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
