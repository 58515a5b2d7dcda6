"""One small world per test: a worker, Redis and Intercom in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from tests.world.world import World


@pytest.fixture
def make_world() -> Iterator[Callable[..., World]]:
    """Makes worlds with settings of their own, and ends them."""
    made: list[World] = []

    def make(**more: Any) -> World:
        made.append(World(**more))
        return made[-1]

    yield make
    for world in made:
        world.close()
        assert world.broken == []


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    """The settings are those of production; the index of Intercom lags for an hour."""
    return make_world()
