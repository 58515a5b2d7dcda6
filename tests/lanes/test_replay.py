"""replay and discard: a dead letter goes back to its lane, or is given up."""

from __future__ import annotations

import json

import pytest

from onelane import keyspace
from onelane_worker.lanes.model import Replayed

from .bench import DONE, LANE, PARTITION, Bench

LIMITS = {"lane_max": 100, "partition_max": 100}


def replay(bench: Bench, id_: str, op: str = "again", **more: object) -> Replayed:
    options: dict[str, object] = {"whole": False, **LIMITS, **more}
    return bench.store.replay(LANE, id_, op, **options)  # type: ignore[arg-type]


def dead(bench: Bench, count: int = 1, **submit: object) -> list[str]:
    ids = bench.submit_many(count, **submit)
    for id_ in ids:
        bench.bury(bench.claim(), f"bury {id_}")
    return ids


def test_a_replayed_letter_waits_again_under_its_own_id(bench: Bench) -> None:
    [id_] = dead(bench)
    first_ms = int(bench.intent(id_)["at"])

    answer = replay(bench, id_)

    assert answer.status == "accepted"
    assert answer.turn is not None
    assert (answer.turn.lane, answer.turn.head, answer.turn.kind) == (LANE, id_, "lead_capture")
    assert bench.queue() == [id_]
    assert bench.store.dead_letters(PARTITION) == []
    assert bench.store.dead_letter(id_) is None
    record = bench.intent(id_)
    assert not {"state", "outcome", "error", "ended", "kills", "attempts"} & set(record)
    head = bench.claim(seq=answer.turn.seq).head
    assert (head.attempts, head.kills, head.whole) == (1, 0, False)
    assert head.first_accepted_ms == first_ms
    assert head.accepted_at_ms >= first_ms


def test_it_goes_to_the_tail_and_needs_no_turn_there(bench: Bench) -> None:
    [id_] = dead(bench)
    others = bench.submit_many(2)

    answer = replay(bench, id_, whole=True)

    assert answer == Replayed("accepted")
    assert bench.queue() == [*others, id_]
    granted = bench.claim().intents
    assert [one.first_accepted_ms is None for one in granted] == [True, True, False]
    assert granted[-1].whole


def test_a_lane_whose_head_steps_aside_is_woken_for_that_head(bench: Bench) -> None:
    [id_] = dead(bench)
    [head] = bench.submit_many(1)
    bench.postpone(bench.claim(), "aside", 60_000, yields=True)

    turn = replay(bench, id_).turn

    assert turn is not None
    assert (turn.head, bench.due_ms()) == (head, None)


def test_asked_twice_it_stands_in_the_lane_once(bench: Bench) -> None:
    [id_] = dead(bench)
    first = replay(bench, id_)
    before = bench.snapshot()

    assert replay(bench, id_) == first
    assert replay(bench, id_, op="another") == Replayed("gone")
    assert bench.snapshot() == before


def test_a_repeat_after_its_end_publishes_nothing(bench: Bench) -> None:
    [id_] = dead(bench)
    replay(bench, id_)
    bench.settle(bench.claim(), "end")

    assert replay(bench, id_) == Replayed("accepted")
    assert bench.queue() == []


@pytest.mark.parametrize(("limit", "status"), [("lane_max", "lane_full"), ("partition_max", "queue_full")])
def test_limits_hold_for_replays(bench: Bench, limit: str, status: str) -> None:
    [id_] = dead(bench)
    bench.submit_many(2)
    before = bench.snapshot()

    assert replay(bench, id_, **{limit: 2}).status == status
    assert bench.snapshot() == before
    assert replay(bench, id_, **{limit: 3}).status == "accepted"  # the same op: a refusal is not remembered


@pytest.mark.parametrize("place", [0, 1])
def test_nothing_comes_back_behind_an_erasure_that_waits(bench: Bench, place: int) -> None:
    [id_] = dead(bench)
    erasure = bench.submit_many(2)[place]
    key = keyspace.intent(erasure)
    payload = json.loads(bench.intent(erasure)["payload"])
    bench.redis.hset(key, "payload", json.dumps({**payload, "kind": "contact_erasure"}))
    before = bench.snapshot()

    assert replay(bench, id_).status == "erasing"
    assert bench.snapshot() == before

    named = {**payload, "name": "contact_erasure"}
    bench.redis.hset(key, "payload", json.dumps(named))
    assert replay(bench, id_).status == "accepted"


def test_its_dedupe_key_lives_with_it_again(bench: Bench) -> None:
    [id_] = dead(bench, dedupe="k")
    key = keyspace.dedupe(LANE, "lead_capture", "k")
    assert bench.redis.pttl(key) > 0  # type: ignore[operator]

    replay(bench, id_)

    assert bench.redis.pttl(key) == -1
    assert bench.submit(dedupe="k").id == id_


def test_a_dedupe_key_that_has_passed_to_another_is_left_alone(bench: Bench) -> None:
    [id_] = dead(bench, dedupe="k")
    bench.redis.delete(keyspace.dedupe(LANE, "lead_capture", "k"))
    [other] = dead(bench, dedupe="k")

    replay(bench, id_)

    assert bench.redis.pttl(keyspace.dedupe(LANE, "lead_capture", "k")) > 0  # type: ignore[operator]
    assert bench.submit(dedupe="k").id == other


def test_it_may_die_and_come_back_again(bench: Bench) -> None:
    [id_] = dead(bench)
    first_ms = int(bench.intent(id_)["at"])
    for n in range(3):
        replay(bench, id_, op=f"again {n}", whole=n == 0)
        grant = bench.claim()
        assert (grant.head.whole, grant.head.first_accepted_ms) == (n == 0, first_ms)
        bench.bury(grant, f"bury {n}")
    assert [id_] == [found for found, _ in bench.store.dead_letters(PARTITION)]


def test_only_a_dead_letter_of_that_lane_is_replayed(bench: Bench) -> None:
    waiting = bench.submit().id
    assert replay(bench, waiting).status == "gone"
    bench.settle(bench.claim(), "end")
    assert replay(bench, waiting, op="b").status == "gone"
    [id_] = dead(bench)
    answer = bench.store.replay(PARTITION + LANE[1:][::-1], id_, "c", whole=False, **LIMITS)
    assert answer.status == "gone"


def test_a_discarded_letter_leaves_its_outcome_for_a_while(bench: Bench) -> None:
    [id_] = dead(bench)
    outcome = json.dumps({"result": "rejected", "message": "discarded"})

    assert bench.store.discard(LANE, id_, "op", outcome)
    assert bench.store.discard(LANE, id_, "op", outcome)
    assert not bench.store.discard(LANE, id_, "other", DONE)

    record = bench.intent(id_)
    assert (record["state"], record["outcome"], "payload" in record) == ("done", outcome, False)
    assert 0 < bench.redis.pttl(keyspace.intent(id_)) <= bench.limits.status_ttl_ms  # type: ignore[operator]
    assert bench.store.dead_letters(PARTITION) == []
    assert replay(bench, id_).status == "gone"


def test_what_waits_is_not_discarded(bench: Bench) -> None:
    id_ = bench.submit().id
    assert not bench.store.discard(LANE, id_, "op", DONE)
    assert bench.queue() == [id_]
