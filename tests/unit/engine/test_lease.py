"""How long an engine takes a lane for its own: by its own clock, and never longer than Redis does."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from onelane_worker.engine.lease import Lease

LEASE_S = 5.0


class Clock:
    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock(100.0)


@pytest.fixture
def lease(clock: Clock) -> Lease:
    """Asked for at 97, granted at 100."""
    grant: Any = SimpleNamespace(now_ms=0)
    return Lease(grant, 97.0, LEASE_S, clock)


def test_its_end_counts_from_when_it_was_asked_for(clock: Clock, lease: Lease) -> None:
    clock.now = 101.9
    assert not lease.lapsed
    clock.now = 102.0
    assert lease.lapsed


def test_a_renewal_counts_from_when_it_was_asked_for(clock: Clock, lease: Lease) -> None:
    clock.now = 104.0
    lease.extended(101.0)
    assert not lease.lapsed
    clock.now = 106.0
    assert lease.lapsed


def test_a_renewal_that_was_asked_for_too_late_changes_nothing(clock: Clock, lease: Lease) -> None:
    clock.now = 103.0
    lease.extended(102.0)
    assert lease.lapsed


def test_an_earlier_renewal_does_not_shorten_it(clock: Clock, lease: Lease) -> None:
    lease.extended(99.0)
    lease.extended(98.0)
    clock.now = 103.9
    assert not lease.lapsed
