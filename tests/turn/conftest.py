"""One small world per test, on the double and on a real server."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
import time_machine
from redis import Redis

from .days import START_S, Days
from .world import World


@pytest.fixture
def world(redis: Redis) -> Iterator[World]:
    world = World(redis)
    yield world
    world.close()


@pytest.fixture
def days(fake_redis: Redis) -> Iterator[Days]:
    """The world on a clock of its own; no real server has one. Its jitter is the same every time."""
    random.seed(0)
    with time_machine.travel(START_S, tick=False) as clock:
        days = Days(fake_redis, clock)
        yield days
        days.close()
