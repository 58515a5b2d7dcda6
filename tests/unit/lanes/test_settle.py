"""settle: intents end, the lane goes on or is released; and the settle checks that a lane owes."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis
from tests.blocking import finish

from onelane_worker.lanes.types import KEEP, Check, Ended, Fenced, StoredEntry

from .world import DONE, START_MS, World

# ── settle ────────────────────────────────────────────────────────────────────────────────────────────────


def test_ended_intents_leave_with_their_outcomes(world: World) -> None:
    first, second, third = (world.put("a", dedupe=f"d{n}", bulk=n % 2) for n in range(3))
    grant = world.grant()
    world.checkpoint(grant, journal='{"ids":["x"]}')
    ended = [Ended(first, DONE), Ended(second, '{"result":"unchanged"}', brief=True)]
    finish(
        world.store.settle(
            world.step(grant),
            ended,
            registry=StoredEntry('{"r":1}', ("c",)),
            consent='{"c":1}',
            timeline=["{1}", "{2}"],
        )
    )
    assert world.queue("a") == [third]
    for id_, outcome in ((first, DONE), (second, '{"result":"unchanged"}')):
        record = world.intent(id_)
        assert (record["state"], record["outcome"], record["ended"]) == ("done", outcome, str(START_MS))
        assert "payload" not in record
    assert world.ends_in_ms("intent", first) > world.settings.unchanged_ttl_ms
    assert world.ends_in_ms("intent", second) <= world.settings.unchanged_ttl_ms
    assert world.ends_in_ms("dedupe", "d0") > 0
    assert world.ends_in_ms("dedupe", "d2") == -1
    assert not {"open", "commit", "journal", "dirty"} & set(world.lane("a"))
    stored = world.snapshot()
    assert (stored["registry:a"], stored["consent:a"]) == ('{"r":1}', '{"c":1}')
    assert stored["timeline:a"] == ["{1}", "{2}"]
    assert world.counter("pending") == 1


@pytest.mark.parametrize("ids", [["2"], ["1", "3"], ["2", "1"], []])
def test_only_the_heads_are_settled_one_by_one(world: World, ids: list[str]) -> None:
    for id_ in "123":
        world.submit("a", id_)
    grant = world.grant()
    with pytest.raises(Fenced):
        finish(world.store.settle(world.step(grant), [Ended(id_, DONE) for id_ in ids], registry=None))
    assert world.queue("a") == ["1", "2", "3"]


def test_a_timeline_keeps_the_newest(redis: Redis) -> None:
    world = World(redis, timeline_max=3)
    world.put("a")
    world.settle(world.grant(), timeline=[f"{{{n}}}" for n in range(5)])
    assert world.snapshot()["timeline:a"] == ["{2}", "{3}", "{4}"]


@pytest.mark.parametrize(
    ("registry", "was_clean", "usable"),
    [(KEEP, False, False), (KEEP, True, True), (StoredEntry("{1}"), False, True), (None, False, True)],
    ids=str,
)
def test_dirt_ends_if_an_entry_is_stored_or_the_old_ones_facts_were_usable(
    world: World, registry: Any, was_clean: bool, usable: bool
) -> None:
    for _ in range(3):
        world.put("a")
    if not was_clean:
        world.postpone(world.grant(), 0)
    grant = world.grant()
    assert grant.usable is was_clean
    more = world.settle(grant, registry=registry, more=1).grant
    assert more is not None
    assert more.usable is usable
    world.settle(more, count=2, registry=KEEP)
    assert ("dirty" not in world.lane("a")) is usable


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (None, "not wanted"),
        (1, "breaker"),
        (1, "half"),
        (1, "bulk breaker"),
        (0, "no call"),
        (1, "low bucket"),
        (1, "max hold"),
    ],
    ids=str,
)
def test_a_lease_does_not_go_on(redis: Redis, more: int | None, why: str) -> None:
    world = World(redis, requests_per_10s=100, bulk_rejections=1)  # a bucket of 2 calls
    bulk = int(why in ("bulk breaker", "low bucket"))
    world.put("a", bulk=bulk)
    world.put("a", bulk=bulk)
    grant = world.grant()
    match why:
        case "breaker":
            world.breaker("refused", lane="a", problem="{1}")
        case "half":
            world.breaker("refused", lane="a", problem="{1}")
            world.breaker("ok", probe=True)
        case "bulk breaker":
            world.wait(3_000)
            world.breaker("rejected", lane="said", problem="{1}", bulk=True)
        case "no call":
            world.reserve(9)
        case "max hold":
            world.wait(world.settings.max_hold_ms)
    settled = world.settle(grant, more=more)
    assert (settled.word, settled.grant) == ("left", None)
    assert world.place("a") in ("interactive", "bulk")
    assert settled.ready


def test_a_lease_goes_on_with_a_call_in_hand_or_a_reserved_one(redis: Redis) -> None:
    world = World(redis, requests_per_10s=100)
    for _ in range(3):
        world.put("a")
    grant = world.grant()
    settled = world.settle(grant, more=1)
    assert (settled.word, settled.calls) == ("more", 0)
    assert settled.grant is not None
    settled = world.settle(settled.grant, more=0)
    assert (settled.word, settled.calls) == ("more", 1)
    assert world.reserve(5).calls == 0


# ── settle checks ─────────────────────────────────────────────────────────────────────────────────────────


def owe_check(world: World) -> None:
    world.put("a")
    world.settle(world.grant(), check=Check("c" * 32, '{"tries":1}', 600_000))


def test_an_owed_check_becomes_a_bulk_intent_of_the_empty_lane(world: World) -> None:
    owe_check(world)
    assert world.place("a") == 600_000
    world.wait(600_000)
    world.tick()
    assert world.place("a") == "bulk"
    grant = world.grant()
    assert (grant.head.id, grant.head.payload, grant.head.bulk) == ("c" * 32, '{"tries":1}', True)
    assert world.intent("c" * 32)["kind"] == "settle_check"
    world.settle(grant)
    assert world.place("a") is None


def test_the_lua_and_the_sdk_agree_on_what_a_check_is() -> None:
    from onelane import scripts
    from onelane.intents import SettleCheck

    text = scripts.script("claim", package="onelane_worker.lanes")
    check = SettleCheck(email="a@example.test")
    assert f"CHECK_KIND, CHECK_SCHEMA = '{check.kind}', '{check.payload_schema}'" in text
    assert SettleCheck.bulk


def test_a_check_waits_behind_what_comes_before_it_is_due(world: World) -> None:
    owe_check(world)
    world.put("a")
    assert world.place("a") == "interactive"
    world.settle(world.grant())
    assert world.place("a") == 600_000
    world.put("a")
    world.settle(world.grant(), check=None)
    assert world.place("a") is None


def test_the_hash_of_a_lane_that_owes_a_check_lives_until_then(redis: Redis) -> None:
    world = World(redis)
    world.put("a")
    week = 7 * 86_400_000
    world.settle(world.grant(), check=Check("c" * 32, '{"tries":1}', week))
    assert world.ends_in_ms("lane", "a") > week
