"""A worker that cannot keep its promises refuses to start, and says what to do."""

from __future__ import annotations

from pathlib import Path

import pytest

from .processes import free_port, valkey, worker_program
from .world import CALM


def refusal(directory: Path, **settings: object) -> str:
    """What a worker says that does not start."""
    program = worker_program(directory / "worker.log", "refused", {**CALM, **settings})
    with program:
        assert program.join() != 0
    return program.text


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
    said = refusal(tmp_path, REDIS_URL=url, REDIS_WAIT_S=0.5)
    assert "not reachable for 0.5 s" in said
    assert "ONELANE_REDIS_URL" in said


def test_a_registry_that_forgets_before_the_index_has_caught_up(tmp_path: Path) -> None:
    said = refusal(tmp_path, SETTLE_WINDOW_S=600, SETTLE_MARGIN_S=300, REGISTRY_TTL_S=899)
    assert "ONELANE_REGISTRY_TTL_S (899) must be at least ONELANE_SETTLE_WINDOW_S (600)" in said


@pytest.mark.parametrize("said", ["not reachable", "must be at least"])
def test_a_refusal_is_told_in_words_not_in_a_traceback(tmp_path: Path, said: str) -> None:
    settings = {"REGISTRY_TTL_S": 1} if said == "must be at least" else {"REDIS_WAIT_S": 0}
    text = refusal(tmp_path, REDIS_URL=f"redis://127.0.0.1:{free_port()}/0", **settings)
    assert said in text
    assert "Traceback" not in text, text
