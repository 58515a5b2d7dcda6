"""Redis for the unit tests: the in-process double and a real server, one after the other."""

from __future__ import annotations

import pytest
from redis import Redis


@pytest.fixture(params=["double", "real"])
def redis(request: pytest.FixtureRequest) -> Redis:
    """An empty Redis whose answers are text."""
    client: Redis = request.getfixturevalue("fake_redis" if request.param == "double" else "valkey")
    return client
