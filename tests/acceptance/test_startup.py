"""A worker that cannot keep its promises refuses to start, and says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis import Redis

from onelane_worker.cli._local_stack import free_port

from .processes import valkey, worker_program
from .world import CALM


def refusal(directory: Path, **settings: object) -> str:
    """What a worker says that does not start."""
    return refused(directory, **settings)[1]


def refused(directory: Path, **settings: object) -> tuple[int, str]:
    """Its exit code, and what it says."""
    with worker_program(directory / "worker.log", "refused", {**CALM, **settings}) as program:
        code = program.join()
    assert code != 0
    return code, program.text


def test_a_redis_that_evicts(tmp_path: Path) -> None:
    with valkey(maxmemory="100mb", **{"maxmemory-policy": "allkeys-lru"}) as url:
        said = refusal(tmp_path, REDIS_URL=url)
    assert "maxmemory-policy is allkeys-lru" in said
    assert "noeviction" in said


def test_a_read_only_replica(tmp_path: Path) -> None:
    with valkey() as primary:
        host, port = primary.removeprefix("redis://").split(":")
        with valkey(replicaof=f"{host} {port}") as url:
            said = refusal(tmp_path, REDIS_URL=url)
    assert "read-only replica" in said
    assert "ONELANE_REDIS_URL" in said


def test_no_redis(tmp_path: Path) -> None:
    url = f"redis://127.0.0.1:{free_port()}/0"
    code, said = refused(tmp_path, REDIS_URL=url, REDIS_WAIT_S=0.5)
    assert code == 4
    assert "not reachable for 0.5 s" in said
    assert "ONELANE_REDIS_URL" in said


def test_a_redis_with_data_of_version_0_2(tmp_path: Path) -> None:
    with valkey() as url:
        with Redis.from_url(url) as client:
            client.hset("onelane:{3}:counters", "pending", 4)
        code, said = refused(tmp_path, REDIS_URL=url)
        with Redis.from_url(url) as client:
            assert client.keys() == [b"onelane:{3}:counters"]
    assert code == 1
    assert "this Redis holds data of Onelane 0.2 (4 waiting intents, 0 dead letters)" in said


def test_a_registry_that_forgets_before_the_index_has_caught_up(tmp_path: Path) -> None:
    code, said = refused(tmp_path, SETTLE_WINDOW_S=600, SETTLE_MARGIN_S=300, REGISTRY_TTL_S=899)
    assert code == 2
    assert "ONELANE_REGISTRY_TTL_S (899) must be at least ONELANE_SETTLE_WINDOW_S (600)" in said


@pytest.mark.parametrize("said", ["not reachable", "must be at least"])
def test_a_refusal_is_told_in_words_not_in_a_traceback(tmp_path: Path, said: str) -> None:
    settings = {"REGISTRY_TTL_S": 1} if said == "must be at least" else {"REDIS_WAIT_S": 0}
    text = refusal(tmp_path, REDIS_URL=f"redis://127.0.0.1:{free_port()}/0", **settings)
    assert said in text
    assert "Traceback" not in text, text
