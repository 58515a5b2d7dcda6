"""A world for each test, on the in-process double and on a real server."""

from __future__ import annotations

import pytest
from redis import Redis

from .world import World


@pytest.fixture
def world(redis: Redis) -> World:
    return World(redis)
