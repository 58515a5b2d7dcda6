"""claim: which lanes an engine gets, in which order, and with what."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from redis import Redis

from onelane_worker.lanes.types import NoWorkspace, StoredEntry

from .world import LEASE_MS, START_MS, World


def test_a_grant_tells_the_waiting_intents_and_what_is_known(world: World) -> None:
    world.put("a")
    world.settle(world.grant(), registry=StoredEntry('{"r":1}'), consent='{"c":1}')
    first, second = world.put("a", payload="{1}"), world.put("a", payload="{2}", bulk=1)
    world.wait(10)
    grant = world.grant()
    assert [(intent.id, intent.payload, intent.bulk) for intent in grant.intents] == [
        (first, "{1}", False),
        (second, "{2}", True),
    ]
    assert [intent.attempts for intent in grant.intents] == [1, 0]
    assert (grant.registry, grant.consent, grant.usable) == ('{"r":1}', '{"c":1}', True)
    assert (grant.now_ms, grant.head.accepted_ms) == (START_MS + 10, START_MS)
    assert world.place("a") == LEASE_MS
    assert world.intent(first)["state"] == "working"


def test_several_lanes_are_granted_at_once_and_no_more_than_wanted(world: World) -> None:
    for lane in "abcde":
        world.put(lane)
    claimed = world.claimed(3)
    assert [grant.lane for grant in claimed.grants] == ["a", "b", "c"]
    assert claimed.more
    assert claimed.calls == 3
    assert [grant.lane for grant in world.grants(3)] == ["d", "e"]


def test_fences_grow_also_if_the_lane_lost_its_hash(world: World) -> None:
    world.put("a")
    first = world.grant()
    world.settle(first)
    world.put("a")
    second = world.grant()
    assert second.fence > first.fence
    world.settle(second)
    world.redis.delete(world.keys.key("lane", "a"))
    world.put("a")
    world.wait(1)
    assert world.grant().fence > second.fence


def test_a_repeated_claim_is_told_what_is_still_its_own_and_nothing_new(world: World) -> None:
    for lane in "ab":
        world.put(lane)
    first = world.claimed(2, number=7)
    world.settle(first.grants[0])
    world.put("a")
    world.put("c")
    again = world.claimed(4, number=7)
    assert (again.word, again.calls) == ("again", 0)
    assert again.grants == first.grants[1:]


def test_an_older_claim_does_nothing(world: World) -> None:
    world.claimed(number=7)
    world.put("a")
    assert world.claimed(number=6).word == "stale"
    assert world.place("a") == "interactive"


def test_wake_ups_that_were_taken_are_given_back(world: World) -> None:
    for lane in "abc":
        world.put(lane)
    world.claimed(wakes=2)
    assert world.counter("tokens") == 1
    world.claimed(wakes=5)
    assert world.counter("tokens") == 0


def test_facts_are_not_usable_after_a_holder_that_did_not_settle(world: World) -> None:
    world.put("a")
    assert world.grant().usable
    world.wait(LEASE_MS + 1)
    world.tick()
    world.wait(2_000)
    world.tick()
    assert not world.grant().usable


# ── batches ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_batch_has_a_longest_length(redis: Redis) -> None:
    world = World(redis, fold_max=3)
    for _ in range(5):
        world.put("a")
    assert len(world.grant().intents) == 3


def test_a_batch_has_a_largest_size_and_always_its_head(redis: Redis) -> None:
    world = World(redis, batch_bytes=100)
    ids = [world.put("a", payload="x" * size) for size in (200, 10)]
    grant = world.grant()
    assert [intent.id for intent in grant.intents] == ids[:1]
    world.settle(grant)
    ids += [world.put("a", payload="x" * size) for size in (80, 20)]
    assert [intent.id for intent in world.grant().intents] == ids[1:3]


def test_a_batch_ends_before_a_newer_schema_and_before_a_marker(world: World) -> None:
    first = world.put("a", schema=3)
    world.put("a", schema=4)
    assert [intent.id for intent in world.grant().intents] == [first]
    second = world.put("b")
    world.put("c", target="b")
    assert [intent.id for grant in world.grants() if grant.lane == "b" for intent in grant.intents] == [
        second
    ]


def test_a_head_of_a_newer_schema_waits_for_a_newer_worker(world: World) -> None:
    world.put("a", schema=4)
    assert world.grants() == ()
    assert world.place("a") == world.settings.newer_ms


# ── order ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_interactive_lanes_come_before_bulk_ones_but_every_eighth_time(redis: Redis) -> None:
    world = World(redis, requests_per_10s=100_000)
    bulk = [f"b{n}" for n in range(3)]
    for lane in bulk:
        world.put(lane, bulk=1)
    for n in range(20):
        world.put(f"i{n:02}")
    order = [world.grant(most=1).lane for _ in range(23)]
    assert [order.index(lane) for lane in bulk] == [7, 15, 22]


def test_bulk_lanes_come_while_the_bucket_is_above_half(redis: Redis) -> None:
    world = World(redis, requests_per_10s=400)  # a bucket of 8 calls
    for n in range(10):
        world.put(f"b{n}", bulk=1)
    claimed = world.claimed(7)
    assert len(claimed.grants) == 4
    assert not claimed.more
    assert 0 < claimed.wait_ms < 100
    world.put("a")
    assert world.grant(most=1).lane == "a"


def test_no_lane_is_granted_without_a_call(redis: Redis) -> None:
    world = World(redis, requests_per_10s=200)  # a bucket of 4 calls
    for n in range(8):
        world.put(f"a{n}")
    claimed = world.claimed(8, in_hand=2)
    assert len(claimed.grants) == 6
    assert claimed.calls == 4
    assert not claimed.more
    assert world.claimed(8).grants == ()
    world.wait(claimed.wait_ms)
    assert len(world.claimed(8).grants) == 2


def test_a_claim_looks_at_few_lanes(world: World) -> None:
    for n in range(30):
        world.put(f"a{n}", schema=9)
    world.claimed(4)
    assert sum(world.place(f"a{n}") == "interactive" for n in range(30)) == 30 - 12


# ── suspects ──────────────────────────────────────────────────────────────────────────────────────────────


def killed(world: World, lane: str, times: int = 1) -> str:
    """The lane's head has outlived so many holders, one after the other."""
    id_ = world.put(lane)
    for n in range(times):
        [grant] = world.grants(engine=f"{id_}{n}", suspects=(n, 0))
        world.die(grant)
    assert int(world.intent(id_)["kills"]) == times
    assert world.place(lane) == "suspect"
    return id_


def test_suspects_come_first_and_no_more_than_the_engine_may_have(world: World) -> None:
    killed(world, "a")
    killed(world, "b")
    world.put("c")
    assert [grant.lane for grant in world.grants(4, suspects=(1, 0))] == ["a", "c"]
    assert world.grants(4, suspects=(0, 1)) == ()
    assert world.grant(suspects=(1, 1)).lane == "b"


def test_a_head_with_two_kills_comes_alone_and_nobody_passes_it(world: World) -> None:
    killed(world, "a", times=2)
    world.put("a")
    killed(world, "b")
    assert world.grants(4, suspects=(3, 1)) == ()
    grants = world.grants(4, suspects=(4, 0))
    assert [grant.lane for grant in grants] == ["a"]
    assert len(grants[0].intents) == 1
    assert grants[0].head.kills == 2


def test_a_lease_does_not_go_on_to_a_suspect(world: World) -> None:
    killed(world, "a")
    id_ = world.put("a")
    world.redis.hset(world.keys.key("intent", id_), "kills", 1)
    settled = world.settle(world.grant(), more=1)
    assert settled.word == "left"
    assert world.place("a") == "suspect"


# ── external state ────────────────────────────────────────────────────────────────────────────────────────


CALLS: dict[str, Callable[[World], object]] = {
    "submit": lambda world: world.submit(),
    "claim": lambda world: world.claimed(),
    "tick": lambda world: world.tick(),
    "reserve": lambda world: world.reserve(),
    "breaker": lambda world: world.breaker("resume"),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_workspace_that_is_gone_or_has_another_secret_is_told(world: World, name: str) -> None:
    before, meta = world.snapshot(), world.keys.key("meta")
    world.redis.hset(meta, "secret", "another")
    if name == "submit":
        assert world.submit() == ["rekeyed"]
    else:
        with pytest.raises(NoWorkspace):
            CALLS[name](world)
    world.redis.hset(meta, "secret", world.workspace.secret)
    assert world.snapshot() == before
    world.redis.delete(meta)
    if name == "submit":
        assert world.submit() == ["no_workspace"]
    else:
        with pytest.raises(NoWorkspace):
            CALLS[name](world)
    assert world.snapshot() == {}
