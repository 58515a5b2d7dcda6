"""submit: an intent is stored, and a sleeping lane wakes."""

from __future__ import annotations

from onelane import keyspace
from onelane.keyspace import BULK, INTERACTIVE

from .bench import EMAIL, LANE, PARTITION, Bench


def test_the_first_intent_wakes_the_lane(bench: Bench) -> None:
    answer = bench.submit()

    assert (answer.status, answer.seq, answer.queue) == ("accepted", 1, INTERACTIVE)
    assert bench.sent() == {INTERACTIVE: 1}
    assert bench.queue() == [answer.id]


def test_the_next_ones_publish_nothing(bench: Bench) -> None:
    first, second = bench.submit(), bench.submit()

    assert second.seq == 0
    assert bench.queue() == [first.id, second.id]
    assert bench.sent() == {INTERACTIVE: 1}


def test_what_is_stored_is_little(bench: Bench) -> None:
    plain, bulk = bench.submit().id, bench.submit(queue=BULK, dedupe="k", schema=2).id

    assert set(bench.intent(plain)) == {"payload", "at"}
    assert set(bench.intent(bulk)) == {"payload", "at", "bulk", "dedupe", "schema"}
    assert bench.lane() == {}


def test_a_repeat_stores_nothing_and_answers_the_same(bench: Bench) -> None:
    first = bench.submit(dedupe="k")
    before = bench.snapshot()

    assert bench.submit(first.id, dedupe="k") == first
    assert bench.snapshot() == before


def test_a_repeat_after_the_turn_was_claimed_publishes_nothing(bench: Bench) -> None:
    first = bench.submit()
    bench.claim(seq=first.seq)

    again = bench.submit(first.id)

    assert (again.status, again.id, again.seq) == ("accepted", first.id, 0)


def test_a_known_dedupe_key_with_equal_content_is_a_duplicate(bench: Bench) -> None:
    first = bench.submit(dedupe="k", content="same")

    second = bench.submit(dedupe="k", content="same")

    assert (second.status, second.id, second.seq) == ("duplicate", first.id, 0)
    assert bench.queue() == [first.id]


def test_a_known_dedupe_key_with_other_content_is_a_mismatch(bench: Bench) -> None:
    first = bench.submit(dedupe="k", content="one")

    second = bench.submit(dedupe="k", content="two")

    assert (second.status, second.id) == ("mismatch", first.id)
    assert bench.queue() == [first.id]


def test_a_dedupe_key_outlives_its_intent_for_a_while(bench: Bench) -> None:
    first = bench.submit(dedupe="k")
    key = keyspace.dedupe(LANE, "lead_capture", "k")
    assert bench.redis.pttl(key) == -1

    bench.settle(bench.claim(), "op")

    assert 0 < bench.redis.pttl(key) <= bench.limits.dedupe_ttl_ms  # type: ignore[operator]
    assert bench.submit(dedupe="k").id == first.id


def test_a_full_lane_refuses(bench: Bench) -> None:
    bench.submit_many(2)

    answer = bench.submit(lane_limit=2)

    assert (answer.status, answer.id) == ("lane_full", "2")
    assert len(bench.queue()) == 2


def test_a_full_partition_refuses(bench: Bench) -> None:
    bench.submit_many(2)

    answer = bench.submit(partition_limit=2)

    assert (answer.status, answer.id) == ("queue_full", "2")


def test_a_repeat_of_an_accepted_intent_is_not_refused_when_the_lane_is_full(bench: Bench) -> None:
    first = bench.submit()

    assert bench.submit(first.id, lane_limit=1).status == "accepted"


def test_a_duplicate_is_told_even_when_the_lane_is_full(bench: Bench) -> None:
    first = bench.submit(dedupe="k")

    answer = bench.submit(dedupe="k", lane_limit=1)

    assert (answer.status, answer.id) == ("duplicate", first.id)


def test_an_interactive_intent_pulls_its_lane_out_of_the_bulk_queue(bench: Bench) -> None:
    bench.submit(queue=BULK)

    answer = bench.submit(queue=INTERACTIVE)

    assert (answer.seq, answer.queue) == (1, INTERACTIVE)
    assert bench.sent() == {INTERACTIVE: 1}


def test_a_lane_held_by_a_double_stays_due_when_its_turn_changes_the_queue(bench: Bench) -> None:
    bench.submit(queue=BULK)
    grant = bench.claim()  # by a double: the bulk turn is still on its way

    assert bench.submit(queue=INTERACTIVE).queue == INTERACTIVE
    assert bench.sent() == {INTERACTIVE: 1}
    assert bench.due_ms() == grant.now_ms + bench.limits.lease_ms


def test_a_bulk_intent_leaves_the_lane_where_it_is(bench: Bench) -> None:
    bench.submit(queue=INTERACTIVE)

    assert bench.submit(queue=BULK).seq == 0
    assert bench.sent() == {INTERACTIVE: 1}


def test_a_lane_at_work_is_left_to_its_holder(bench: Bench) -> None:
    grant = bench.claim(seq=bench.submit().seq)

    assert bench.submit().seq == 0
    assert bench.sent() == {}
    assert bench.settle(grant, "op").status == "publish"


def test_a_postponed_lane_keeps_its_time(bench: Bench) -> None:
    bench.submit()
    due_ms = bench.postpone(bench.claim(), "op", 60_000)

    assert bench.submit().seq == 0
    assert bench.due_ms() == due_ms


def test_a_head_that_steps_aside_is_woken_by_whoever_comes_next(bench: Bench) -> None:
    bench.submit()
    bench.postpone(bench.claim(seq=1), "op", 600_000, yields=True)

    answer = bench.submit()

    assert (answer.seq, answer.queue) == (2, INTERACTIVE)
    assert bench.due_ms() is None
    assert len(bench.claim(seq=2).intents) == 2


def test_a_lane_wakes_again_after_it_slept(bench: Bench) -> None:
    bench.submit()
    assert bench.settle(bench.claim(seq=1), "op").status == "asleep"

    assert bench.submit().seq == 2


def test_lanes_of_a_partition_share_the_numbers_and_the_count(bench: Bench) -> None:
    bench.submit()
    stranger = next(
        email
        for i in range(1000)
        if keyspace.partition_of(lane_of(email := f"p{i}@example.test")) == PARTITION
    )

    assert bench.submit(email=stranger).seq == 2
    assert bench.store.turn_counters(PARTITION).pending == 2
    assert stranger != EMAIL


def lane_of(email: str) -> str:
    from onelane.identity import lane_id

    return lane_id(email)
