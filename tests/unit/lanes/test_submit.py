"""submit and withdraw: how intents come into a lane and are taken back."""

from __future__ import annotations

from typing import Any

import pytest

from .world import START_MS, World


def test_an_accepted_intent_is_stored_and_its_lane_is_ready(world: World) -> None:
    assert world.submit("a", "1", kind="lead_capture", payload='{"p":1}', schema=3, ext="e", dedupe="d") == [
        "accepted",
        "1",
        1,
    ]
    assert world.intent("1") == {
        "payload": '{"p":1}',
        "kind": "lead_capture",
        "lane": "a",
        "at": str(START_MS),
        "schema": "3",
        "ext": "e",
        "dedupe": "d",
    }
    assert world.queue("a") == ["1"]
    assert world.place("a") == "interactive"
    assert world.counter("pending") == 1


def test_an_intent_that_is_sent_again_is_stored_once_and_wakes_nobody(world: World) -> None:
    assert world.submit("a", "1") == ["accepted", "1", 1]
    assert world.submit("a", "1", payload="other") == ["accepted", "1", 0]
    assert world.queue("a") == ["1"]
    assert world.intent("1")["payload"] == "{}x"


@pytest.mark.parametrize(("content", "word"), [("c", "duplicate"), ("other", "mismatch")])
def test_a_known_dedupe_key_stores_nothing(world: World, content: str, word: str) -> None:
    first = world.put("a", dedupe="d")
    assert world.submit("a", dedupe="d", content=content) == [word, first, 0]
    assert world.queue("a") == [first]
    assert world.ends_in_ms("dedupe", "d") == -1


@pytest.mark.parametrize(
    ("limits", "answer"),
    [
        ({"lane_max": 2}, ["lane_full", "2", 0]),
        ({"queue_max": 3}, ["queue_full", "3", 0]),
        ({"target": "t", "lane_max": 1}, ["lane_full", "1", 0]),
    ],
)
def test_a_full_lane_or_queue_takes_nothing_more(
    world: World, limits: dict[str, Any], answer: list[object]
) -> None:
    for lane in ("a", "a", "t"):
        world.put(lane)
    before = world.snapshot()
    assert world.submit("b" if "target" in limits or "queue_max" in limits else "a", **limits) == answer
    assert world.snapshot() == before


def test_wake_ups_are_capped(world: World) -> None:
    assert [world.submit(lane, wake_max=2)[2] for lane in "abcd"] == [1, 1, 0, 0]
    assert world.counter("tokens") == 2


def test_only_a_lane_that_becomes_ready_wakes(world: World) -> None:
    assert [world.submit("a")[2] for _ in range(3)] == [1, 0, 0]
    world.grant()
    assert world.submit("a")[2] == 0


def test_a_later_interactive_intent_moves_a_ready_bulk_lane(world: World) -> None:
    world.put("a", bulk=1)
    assert world.place("a") == "bulk"
    world.put("a")
    assert world.place("a") == "interactive"


def test_a_lane_that_became_ready_goes_to_the_tail_of_its_class(world: World) -> None:
    for lane in "abc":
        world.put(lane)
    world.put("a")
    assert [grant.lane for grant in world.grants(3)] == ["a", "b", "c"]


def test_a_lane_that_waits_for_its_retry_is_not_made_ready_by_a_newcomer(world: World) -> None:
    world.put("a")
    world.postpone(world.grant(), 9_000)
    assert world.submit("a")[2] == 0
    assert world.place("a") == 9_000


def test_the_hash_of_a_lane_that_falls_asleep_ends_and_that_of_a_waiting_one_does_not(world: World) -> None:
    world.put("a")
    world.settle(world.grant())
    assert world.place("a") is None
    assert world.ends_in_ms("lane", "a") > 0
    world.put("a")
    assert world.ends_in_ms("lane", "a") == -1


def test_a_withdrawn_intent_leaves_its_lane_and_its_record_tells(world: World) -> None:
    id_ = world.put("a", dedupe="d")
    assert world.withdraw(id_) == "ok"
    assert world.queue("a") == []
    assert world.place("a") is None
    record = world.intent(id_)
    assert (record["state"], record["outcome"]) == ("done", '{"result":"withdrawn"}')
    assert "payload" not in record
    assert world.ends_in_ms("intent", id_) == pytest.approx(world.settings.status_ttl_ms, abs=5000)
    assert world.ends_in_ms("dedupe", "d") == pytest.approx(world.settings.dedupe_ttl_ms, abs=5000)
    assert world.withdraw(id_) == "gone"


def test_what_a_grant_has_held_is_not_withdrawn(world: World) -> None:
    first, second = world.put("a"), world.put("a")
    grant = world.grant()
    behind = world.put("a")
    world.postpone(grant)
    assert [world.withdraw(id_) for id_ in (first, second, behind)] == ["busy", "busy", "ok"]


def test_what_follows_an_ended_batch_may_be_withdrawn(world: World) -> None:
    world.put("a")
    grant = world.grant()
    behind = world.put("a")
    world.settle(grant)
    assert world.withdraw(behind) == "ok"


def test_a_replayed_letter_is_not_withdrawn(world: World) -> None:
    id_ = world.put("a")
    world.bury(world.grant())
    world.replay(id_, 1)
    assert world.withdraw(id_) == "busy"


def test_withdrawing_the_last_interactive_intent_makes_a_lane_bulk(world: World) -> None:
    world.put("a", bulk=1)
    hot = world.put("a")
    world.withdraw(hot)
    assert world.place("a") == "bulk"


def test_withdrawing_behind_the_head_keeps_a_backoff(world: World) -> None:
    world.put("a")
    world.postpone(world.grant(), 9_000)
    world.withdraw(world.put("a"))
    assert world.place("a") == 9_000
