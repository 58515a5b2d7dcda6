"""One small world per test, on the double and on a real server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis

from .world import World


@pytest.fixture
def world(redis: Redis) -> Iterator[World]:
    world = World(redis)
    yield world
    world.close()
