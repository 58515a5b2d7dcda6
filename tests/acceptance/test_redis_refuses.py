"""SCENARIOS 31: Redis, as store or as broker, answers with an error. The worker waits, and says why."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from onelane import ProductSignUp
from onelane_worker.cli._local_stack import Program

from .processes import valkey, wait_until
from .refusing import RefusingRedis
from .world import World, opened

WRITES = {
    "OOM": "OOM command not allowed when used memory > 'maxmemory'.",
    "READONLY": "READONLY You can't write against a read only replica.",
    "NOREPLICAS": "NOREPLICAS Not enough good replicas to write.",
    "MISCONF": "MISCONF Redis is configured to save RDB snapshots, but it's unable to persist to disk.",
    "NOPERM": "NOPERM User default has no permissions to run the 'evalsha' command",
    "CLUSTERDOWN": "CLUSTERDOWN The cluster is down and only accepts read commands",
    "TRYAGAIN": "TRYAGAIN Multiple keys request during rehashing of slot",
    "UNBLOCKED": "UNBLOCKED force unblock from blocking operation, instance state changed",
}
EVERYTHING = {
    "LOADING": "LOADING Redis is loading the dataset in memory",
    "BUSY": "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "MASTERDOWN": "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "NOAUTH": "NOAUTH Authentication required.",
    "MAXCLIENTS": "ERR max number of clients reached",
}
LIKELY = ("OOM", "READONLY", "LOADING")


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, RefusingRedis]]:
    """A world without a worker, and a door to its Redis that can be shut."""
    with valkey() as url:
        host, port = url.removeprefix("redis://").split(":")
        with (
            RefusingRedis(host, int(port)) as redis,
            opened("refused", f"{url}/0", tmp_path_factory.mktemp("refused"), workers=0) as world,
        ):
            world.renew()
            yield world, redis


@pytest.mark.parametrize("role", ["store and broker", "broker", "store"])
def test_a_worker_outlives_every_refusal(stage: tuple[World, RefusingRedis], role: str) -> None:
    world, redis = stage
    door = f"redis://127.0.0.1:{redis.port}/0"
    settings = {
        "store and broker": {"REDIS_URL": door},
        "broker": {"BROKER_URL": door},
        "store": {"REDIS_URL": door, "BROKER_URL": world.redis_url},
    }[role]
    [worker] = world.start_workers(1, **settings)
    codes = {**WRITES, **EVERYTHING} if role == "store and broker" else dict.fromkeys(LIKELY)
    for code in codes:
        _lives_through(world, redis, worker, code, role)
    worker.stop()
    assert worker.exit_code == 0


def _lives_through(world: World, redis: RefusingRedis, worker: Program, code: str, role: str) -> None:
    said = len(worker.text)
    redis.refuse((WRITES | EVERYTHING)[code], reads=code in EVERYTHING)
    name = f"{code}-{role.replace(' ', '')}"
    receipt = world.queue.enqueue(ProductSignUp(email=f"{name}@example.test".lower(), external_id=name))
    wait_until(lambda: redis.refused > 3 or worker.exit_code is not None, what=f"{code} is met")
    wait_until(lambda: _says_why(worker.text[said:], code), what=f"{code} in {worker.log}")
    assert worker.exit_code is None
    redis.accept()
    outcome = world.queue.wait(receipt.id, timeout=60)
    status = world.queue.status(receipt.id)
    assert outcome.result == "created"
    assert status is not None
    assert status.attempts == 1
    told = worker.text[said:]
    assert "Unrecoverable error" not in told
    assert "check the URL" not in told
    assert worker.exit_code is None


@pytest.mark.parametrize("code", LIKELY)
def test_a_worker_that_starts_meanwhile_waits_too(stage: tuple[World, RefusingRedis], code: str) -> None:
    world, redis = stage
    redis.refuse((WRITES | EVERYTHING)[code], reads=code in EVERYTHING)
    door = f"redis://127.0.0.1:{redis.port}/0"
    worker = world.start_worker({"REDIS_URL": door})
    wait_until(lambda: _says_why(worker.text, code) or worker.exit_code is not None, what=code)
    assert worker.exit_code is None
    redis.accept()
    receipt = world.queue.enqueue(
        ProductSignUp(email=f"{code}-start@example.test", external_id=f"{code}-start")
    )
    assert world.queue.wait(receipt.id, timeout=60).result == "created"
    worker.stop()


def _says_why(text: str, code: str) -> bool:
    """In our words, or where Celery tells of a connection that it cannot make, in Redis' own."""
    return f"({code})" in text or (WRITES | EVERYTHING)[code].partition(" ")[2].rstrip(".") in text
