"""Three worlds for the whole run, and a story in one of them for each test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from .commands import Terminal
from .processes import valkey
from .story import Story
from .world import SHORT_LAG_S, STORMY, STRICT, OpenWorld, World, opened


@pytest.fixture(scope="session")
def lanes_url() -> Iterator[str]:
    """A Valkey server of our own: other tests empty theirs whenever they like."""
    with valkey(databases="64") as url:
        yield url


@pytest.fixture(scope="session")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where all processes write."""
    return tmp_path_factory.mktemp("acceptance")


@pytest.fixture(scope="session")
def databases() -> Iterator[int]:
    """Numbers of databases that nobody uses yet."""
    return itertools.count()


@pytest.fixture(scope="session")
def calm(lanes_url: str, logs: Path, databases: Iterator[int]) -> Iterator[World]:
    """The index lags far longer than any story; two workers share the lanes."""
    with opened("calm", f"{lanes_url}/{next(databases)}", logs, workers=2) as world:
        yield world


@pytest.fixture(scope="session")
def stormy(lanes_url: str, logs: Path, databases: Iterator[int]) -> Iterator[World]:
    """Answers get lost; the index lags for less than the settle window."""
    url = f"{lanes_url}/{next(databases)}"
    with opened("stormy", url, logs, settings=STORMY, lag_s=SHORT_LAG_S) as world:
        yield world


@pytest.fixture(scope="session")
def strict(lanes_url: str, logs: Path, databases: Iterator[int]) -> Iterator[World]:
    """The index lags for longer than the settle window, and the second attempt is the last."""
    with opened("strict", f"{lanes_url}/{next(databases)}", logs, settings=STRICT) as world:
        yield world


@pytest.fixture
def open_world(lanes_url: str, logs: Path, databases: Iterator[int]) -> Iterator[OpenWorld]:
    """Opens worlds for one test alone: `open_world(workers=0, settings=…)`."""
    with ExitStack() as stack:

        def open_it(**options: object) -> World:
            number = next(databases)
            world = stack.enter_context(opened(f"own{number}", f"{lanes_url}/{number}", logs, **options))
            world.renew()
            return world

        yield open_it


@pytest.fixture
def story(request: pytest.FixtureRequest) -> Story:
    """A story alone in an empty workspace of the world that suits it."""
    world: World = request.getfixturevalue(getattr(request.function, "onelane_world", "calm"))
    world.renew()
    return Story(world)


@pytest.fixture
def terminal(tmp_path: Path) -> Terminal:
    """Where commands are typed by somebody who has set nothing."""
    return Terminal(tmp_path)
