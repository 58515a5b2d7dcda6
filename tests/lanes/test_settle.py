"""settle: intents end, and the lane goes on, is handed on, or sleeps."""

from __future__ import annotations

import dataclasses

import pytest

from onelane import keyspace
from onelane.keyspace import BULK, INTERACTIVE
from onelane_worker.lanes.model import Fenced

from .bench import COMMIT_MS, DONE, LANE, LEASE_MS, PARTITION, Bench


def test_a_done_intent_keeps_its_outcome_and_loses_its_address(bench: Bench) -> None:
    (id_,) = bench.submit_many(1)
    bench.settle(bench.claim(), "op")

    record = bench.intent(id_)
    assert (record["state"], record["outcome"], record["kind"], record["lane"]) == (
        "done",
        DONE,
        "lead_capture",
        LANE,
    )
    assert {"at", "ended", "attempts"} <= set(record)
    assert "@" not in str(record)
    assert 0 < bench.redis.pttl(keyspace.intent(id_)) <= bench.limits.status_ttl_ms  # type: ignore[operator]


def test_the_emptied_lane_sleeps(bench: Bench) -> None:
    answer = bench.settle(bench.claim(seq=bench.submit().seq), "op")

    assert answer.status == "asleep"
    assert (bench.due_ms(), bench.sent()) == (None, {})
    assert set(bench.lane()) == {"fence"}
    assert bench.store.turn_counters(PARTITION).pending == 0


def test_journal_open_write_and_dirt_end_with_the_settle(bench: Bench) -> None:
    bench.submit_many(2)
    grant = bench.claim()
    bench.store.checkpoint(grant, "1", journal="{}", open_write="{}", commit_ms=COMMIT_MS)
    assert bench.lane()["dirty"] == "1"

    bench.settle(grant, "2")

    assert set(bench.lane()) == {"fence"}
    assert bench.claim().facts_usable


def test_knowledge_is_stored_with_its_life(bench: Bench) -> None:
    bench.submit()
    bench.settle(bench.claim(), "op", belief="{}", memory="[]")

    assert 0 < bench.redis.pttl(keyspace.belief(LANE)) <= bench.limits.registry_ttl_ms  # type: ignore[operator]
    assert 0 < bench.redis.pttl(keyspace.memory(LANE)) <= bench.limits.memory_ttl_ms  # type: ignore[operator]


def test_the_lane_is_handed_on_with_the_next_turn(bench: Bench) -> None:
    _, rest = bench.submit_many(2)

    answer = bench.settle(bench.claim(seq=1), "op")

    assert answer.status == "publish"
    assert answer.turn.head == rest
    assert (answer.turn.lane, answer.turn.kind, answer.turn.who) == (
        LANE,
        "lead_capture",
        "a***@example.test",
    )
    assert (answer.turn.queue, answer.turn.seq, answer.turn.retries) == (INTERACTIVE, 2, 0)
    assert bench.sent() == {INTERACTIVE: 2}


def test_the_next_turn_is_bulk_if_only_bulk_waits(bench: Bench) -> None:
    bench.submit()
    bench.submit_many(2, queue=BULK)

    assert bench.settle(bench.claim(seq=1), "op").turn.queue == BULK


def test_one_interactive_intent_among_the_next_makes_it_interactive(bench: Bench) -> None:
    bench.submit_many(3, queue=BULK)
    seq = bench.submit().seq

    assert bench.settle(bench.claim(seq=seq), "op").turn.queue == INTERACTIVE


def test_no_second_turn_is_made_beside_an_outstanding_one(bench: Bench) -> None:
    bench.submit_many(2)
    grant = bench.claim()  # by a double: turn 1 is still on its way

    assert bench.settle(grant, "op").status == "left"
    assert bench.sent() == {INTERACTIVE: 1}


def test_a_double_turn_does_not_circulate_for_ever(bench: Bench) -> None:
    bench.submit_many(6)
    turns, published = [1, 1], 0  # the broker delivers the first turn twice
    for slice_ in range(10):
        seq = turns.pop(0) if turns else 0
        if not bench.queue():
            break
        answer = bench.settle(bench.claim(seq=seq), f"op{slice_}")
        if answer.status == "publish":
            published += 1
            turns.append(answer.turn.seq)

    assert published <= 6
    assert len(turns) <= 1


def test_the_same_lease_goes_on(bench: Bench) -> None:
    ids = bench.submit_many(3)
    grant = bench.claim(seq=1)
    bench.elapse(LEASE_MS - 1_000)

    answer = bench.settle(grant, "op", belief='{"b":2}', want_more=True)

    more = answer.grant
    assert (answer.status, more.fence, more.token) == ("more", grant.fence, grant.token)
    assert [intent.id for intent in more.intents] == ids[1:]
    assert (more.attempts, more.facts_usable, more.belief) == (1, True, '{"b":2}')
    assert bench.due_ms() == more.now_ms + LEASE_MS
    assert (bench.intent(ids[1])["state"], bench.lane()["dirty"]) == ("working", "1")


def test_a_newer_payload_ends_the_slice(bench: Bench) -> None:
    bench.submit()
    bench.submit(schema=9)

    assert bench.settle(bench.claim(seq=1), "op", want_more=True).status == "publish"


def test_a_batch_may_end_in_parts(bench: Bench) -> None:
    ids = bench.submit_many(3)
    bench.settle(bench.claim(), "op", count=2)

    assert bench.queue() == ids[2:]
    assert [bench.intent(id_)["state"] for id_ in ids[:2]] == ["done", "done"]


def test_a_holder_may_release_without_having_ended_anything(bench: Bench) -> None:
    ids = bench.submit_many(1)
    answer = bench.settle(bench.claim(seq=1), "op", count=0)

    assert (answer.status, answer.turn.head, answer.turn.retries) == ("publish", ids[0], 1)
    assert "dirty" not in bench.lane()


def test_ids_that_are_not_the_head_end_nothing(bench: Bench) -> None:
    bench.submit_many(2)
    grant = bench.claim()
    swapped = dataclasses.replace(grant, intents=grant.intents[::-1])
    before = bench.snapshot()

    with pytest.raises(Fenced):
        bench.settle(swapped, "op", count=2)
    assert bench.snapshot() == before


def test_an_overdue_holder_nobody_replaced_may_still_settle(bench: Bench) -> None:
    bench.submit_many(2)
    grant = bench.claim(seq=1)
    bench.elapse(LEASE_MS + 1)
    assert [turn.seq for turn in bench.hand_out()] == [2]

    assert bench.settle(grant, "op").status == "left"  # turn 2 is on its way already
    assert bench.claim(seq=2).kills == 0


# --- asked again --------------------------------------------------------------------------------------------


def test_a_repeated_settle_removes_nothing_more(bench: Bench) -> None:
    ids = bench.submit_many(3)
    grant = bench.claim(seq=1)
    first = bench.settle(grant, "op")
    before = bench.snapshot()

    assert bench.settle(grant, "op") == first
    assert bench.snapshot() == before
    assert bench.queue() == ids[1:]


def test_a_repeated_settle_gives_its_grant_again_to_the_owner(bench: Bench) -> None:
    bench.submit_many(2)
    grant = bench.claim()
    first = bench.settle(grant, "op", want_more=True)
    before = bench.snapshot()

    again = bench.settle(grant, "op", want_more=True)

    assert again.grant.intents == first.grant.intents
    assert bench.snapshot() == before


def test_a_repeated_settle_never_grants_what_is_now_somebody_elses(bench: Bench) -> None:
    bench.submit_many(2)
    grant = bench.claim()
    bench.settle(grant, "op", want_more=True)
    bench.elapse(LEASE_MS + 1)
    bench.claim()

    assert bench.settle(grant, "op", want_more=True).status == "left"


def test_every_settle_of_a_slice_is_its_own_call(bench: Bench) -> None:
    bench.submit_many(3)
    grant = bench.claim()
    for step in range(2):
        grant = bench.settle(grant, f"{grant.token}:{step}", want_more=True).grant

    assert bench.settle(grant, f"{grant.token}:2", want_more=True).status == "asleep"


def test_a_repeat_publishes_nothing_for_a_head_that_has_ended(bench: Bench) -> None:
    bench.submit_many(2)
    grant = bench.claim(seq=1)
    bench.settle(grant, "op")
    bench.settle(bench.claim(seq=2), "op2")

    assert bench.settle(grant, "op").status == "left"


def test_answers_hold_no_address(bench: Bench) -> None:
    bench.submit_many(2)
    bench.settle(bench.claim(seq=1), "op")

    answers = [bench.redis.get(key) for key in bench.redis.keys("*:answer:*")]  # type: ignore[union-attr]
    assert len(answers) == 2
    assert not any("@" in str(answer) for answer in answers)
