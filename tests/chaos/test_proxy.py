"""The proxy itself: passes, drops after the server has acted, stalls without loss, cuts."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, TimeoutError
from redis.retry import Retry

from .proxy import Proxy


@pytest.fixture
def proxy(valkey: Redis) -> Iterator[Proxy]:
    """A proxy before the real server."""
    address = valkey.connection_pool.connection_kwargs
    with Proxy(address["host"], address["port"]) as running:
        yield running


@pytest.fixture
def client(proxy: Proxy) -> Iterator[Redis]:
    """A client that does not repeat anything by itself."""
    with Redis(
        port=proxy.port, decode_responses=True, socket_timeout=0.3, retry=Retry(NoBackoff(), 0)
    ) as redis:
        yield redis


def test_it_passes(client: Redis) -> None:
    client.set("name", "x" * 200_000)
    assert client.get("name") == "x" * 200_000


def test_a_dropped_reply_was_executed(proxy: Proxy, client: Redis, valkey: Redis) -> None:
    client.ping()
    proxy.drop_replies(1)
    with pytest.raises(ConnectionError):
        client.incr("count")
    assert valkey.get("count") == "1"
    assert client.incr("count") == 2
    assert proxy.dropped == 1


def test_only_replies_to_certain_words_are_dropped(proxy: Proxy, client: Redis, valkey: Redis) -> None:
    proxy.drop_replies(1, to=(b"precious",))
    client.set("plain", 1)
    with pytest.raises(ConnectionError):
        client.set("precious", 1)
    assert valkey.get("precious") == "1"


def test_a_stall_loses_nothing(proxy: Proxy, client: Redis, valkey: Redis) -> None:
    client.ping()
    proxy.stall()
    with pytest.raises(TimeoutError):
        client.ping()
    proxy.resume()
    assert client.incr("count") == 1
    assert valkey.get("count") == "1"


def test_a_cut_resets_and_serves_again(proxy: Proxy, client: Redis) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port)) as raw:
        raw.sendall(b"PING\r\n")
        assert raw.recv(100) == b"+PONG\r\n"
        proxy.cut()
        with pytest.raises(ConnectionResetError):
            raw.recv(100)
    assert client.ping()
    assert proxy.cuts == 1


def test_a_server_that_is_away_is_a_reset() -> None:
    with (
        Proxy("127.0.0.1", 1) as proxy,
        Redis(port=proxy.port, retry=Retry(NoBackoff(), 0)) as redis,
        pytest.raises(ConnectionError),
    ):
        redis.ping()
