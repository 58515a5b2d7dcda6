"""Redis is there and refuses: every command says so, in words that help, and does not ask whether it runs."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from redis import Redis
from tests.acceptance.refusing import RefusingRedis

from onelane_worker.operate.redis_requirements import Unfit, require_fit
from onelane_worker.redis_errors import refusal, said

from .helpers import Onelane

FULL = "Redis refuses writes: it is out of memory (OOM)"
LOADING = "Redis is still loading its data (LOADING)"
BUSY = "Redis is held up by a script that does not end (BUSY)"


@pytest.fixture
def configured(valkey: Redis) -> Iterator[Redis]:
    """A server whose limits a test may set."""
    yield valkey
    valkey.config_set("maxmemory", 0)
    valkey.config_set("min-replicas-to-write", 0)


@pytest.fixture
def refusing(valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[RefusingRedis]:
    """A server that refuses what it is told to."""
    host, port = valkey_url.removeprefix("redis://").split(":")
    with RefusingRedis(host, int(port)) as redis:
        monkeypatch.setenv("ONELANE_REDIS_URL", f"redis://127.0.0.1:{redis.port}/0")
        monkeypatch.setenv("ONELANE_ENQUEUE_TIMEOUT_S", "0.5")
        yield redis


def found(onelane: Onelane, name: str = "redis") -> list[str]:
    checks = onelane("doctor", "--json").json["checks"]
    return [one["says"] for one in checks if (one["name"], one["level"]) == (name, "bad")]


def test_doctor_tries_a_write(onelane: Onelane, configured: Redis) -> None:
    assert found(onelane) == []
    configured.config_set("maxmemory", 1)
    assert found(onelane) == [FULL]
    configured.config_set("maxmemory", 0)
    configured.config_set("min-replicas-to-write", 1)
    assert found(onelane) == ["Redis refuses writes: too few replicas follow it (NOREPLICAS)"]
    assert onelane("doctor").code == 1


def test_doctor_changes_nothing(onelane: Onelane, valkey: Redis) -> None:
    onelane("doctor")
    assert valkey.keys() == []


def test_doctor_of_a_redis_that_answers_nobody(anywhere: Onelane, refusing: RefusingRedis) -> None:
    refusing.refuse("BUSY Redis is busy running a script.", reads=True)
    ended = anywhere("doctor")
    assert ended.code == 4
    assert BUSY in ended.out
    assert f"onelane: {BUSY}\n  SCRIPT KILL ends that script." in ended.err


def test_doctor_of_a_broker_that_refuses(
    onelane: Onelane, valkey_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    host, port = valkey_url.removeprefix("redis://").split(":")
    with RefusingRedis(host, int(port)) as broker:
        broker.refuse("LOADING Redis is loading the dataset in memory", reads=True)
        monkeypatch.setenv("ONELANE_BROKER_URL", f"redis://127.0.0.1:{broker.port}/0")
        assert found(onelane, "broker") == [LOADING]
        assert f"the broker's {LOADING}" in onelane("doctor").err


def test_enqueue(onelane: Onelane, configured: Redis) -> None:
    configured.config_set("maxmemory", 1)
    ended = onelane("enqueue", "lead-capture", "--email", "ann@example.test")
    assert (ended.code, ended.err) == (4, f"onelane: {FULL}\n  Raise its maxmemory, or free memory.\n")


def test_a_look_at_the_lanes(anywhere: Onelane, refusing: RefusingRedis) -> None:
    refusing.refuse("LOADING Redis is loading the dataset in memory", reads=True)
    ended = anywhere("lanes")
    assert (ended.code, ended.err) == (4, f"onelane: {LOADING}\n  It ends by itself.\n")


def test_a_worker_that_waited_in_vain_says_for_what(refusing: RefusingRedis) -> None:
    refusing.refuse("BUSY Redis is busy running a script.", reads=True)
    with (
        Redis.from_url(f"redis://127.0.0.1:{refusing.port}/0") as client,
        pytest.raises(Unfit) as unfit,
    ):
        require_fit(client, 0.1)
    assert str(unfit.value) == f"{BUSY}, for 0.1 s now. SCRIPT KILL ends that script."


def test_what_redis_quotes_is_not_repeated(valkey: Redis) -> None:
    """An error names the arguments of a command it does not know; one of them may be an address."""
    with pytest.raises(Exception, match="ann@example") as told:
        valkey.execute_command("NOSUCH", "ann@example.test")
    assert refusal(told.value) is None
    assert "ann@" not in said(told.value)
