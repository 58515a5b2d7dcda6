"""The worker's settings: read from the environment, refused in words, handed on to the parts unchanged."""

from __future__ import annotations

import os
from dataclasses import fields

import pytest
from pydantic import ValidationError

from onelane_worker import bootstrap
from onelane_worker.engine.lane import Timing
from onelane_worker.lanes.types import LaneSettings
from onelane_worker.planner.policy import Policy
from onelane_worker.settings import Settings, complaints


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("ONELANE_")]:
        monkeypatch.delenv(name)


def refusal(**given: object) -> str:
    with pytest.raises(ValidationError) as caught:
        Settings(**given)
    return "; ".join(complaints(caught.value))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"workspace": "Main"}, "ONELANE_WORKSPACE: must be 1 to 63 small letters"),
        ({"workspace": ""}, "ONELANE_WORKSPACE: must be 1 to 63 small letters"),
        ({"concurrency": 0}, "ONELANE_CONCURRENCY: input should be greater than or equal to 1"),
        ({"lease_s": 0.5}, "ONELANE_LEASE_S: input should be greater than or equal to 1"),
        ({"failover_hold_s": -1}, "ONELANE_FAILOVER_HOLD_S: input should be greater than or equal to 0"),
        ({"lane_max": 0}, "ONELANE_LANE_MAX: input should be greater than or equal to 1"),
        (
            {"registry_ttl_s": 10},
            "ONELANE_REGISTRY_TTL_S (10) must be at least ONELANE_SETTLE_WINDOW_S (600)",
        ),
    ],
)
def test_what_cannot_be_is_refused_by_name(given: dict[str, object], said: str) -> None:
    assert said in refusal(**given)


def test_the_hold_after_a_failover_outlasts_every_write_that_redis_may_have_forgotten() -> None:
    settings = Settings(http_timeout_s=20, write_tail_s=7, send_grace_s=2)
    assert settings.hold_s == settings.commit_s == 29
    assert Settings().hold_s == 31


@pytest.mark.parametrize("hold_s", [0, 5])
def test_the_hold_can_be_chosen(hold_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONELANE_FAILOVER_HOLD_S", str(hold_s))
    assert LaneSettings.of(Settings()).failover_hold_ms == hold_s * 1000


def test_defaults_are_those_of_the_parts() -> None:
    """Whoever makes a part without settings, as tests do, has the worker that users have."""
    assert LaneSettings.of(Settings()) == LaneSettings()
    assert bootstrap.policy(Settings()) == Policy(settle_check=True)
    assert bootstrap.timing(Settings()) == Timing()


def test_every_knob_of_the_lanes_reaches_them() -> None:
    changed = Settings(
        lease_s=6,
        http_timeout_s=16,
        failover_hold_s=7,
        redis_durable=True,
        max_hold_s=121,
        settle_window_s=601,
        registry_ttl_s=90_001,
        settle_margin_s=0,
        consent_memory_s=1,
        version_memory_s=2,
        status_ttl_s=3,
        unchanged_ttl_s=2,
        dedupe_ttl_s=5,
        fold_max=6,
        max_kills=7,
        requests_per_10s=8,
        lane_max=9,
        pending_max=10,
        breaker_calls=11,
        breaker_lanes=12,
        parked_retry_s=0.5,
        bulk_rejections=13,
    )
    lanes, usual = LaneSettings.of(changed, new_redis=True), LaneSettings()
    constant = {"batch_bytes", "schema", "newer_ms", "wake_max", "timeline_max"}
    same = {one.name for one in fields(usual) if getattr(lanes, one.name) == getattr(usual, one.name)}
    assert same == constant
