"""claim: one holder at a time, and what it is told."""

from __future__ import annotations

import pytest
from redis import Redis

from onelane import keyspace
from onelane.keyspace import BULK, INTERACTIVE
from onelane_worker.lanes.model import Refused

from .bench import COMMIT_MS, LANE, LEASE_MS, PARTITION, Bench


def test_a_turn_gets_the_whole_lane(bench: Bench) -> None:
    ids = [*bench.submit_many(2), bench.submit(queue=BULK).id]

    grant = bench.claim(seq=1)

    assert [intent.id for intent in grant.intents] == ids
    assert [intent.attempts for intent in grant.intents] == [1, 0, 0]
    assert (grant.facts_usable, grant.kills, grant.open_write, grant.journal) == (True, 0, None, None)
    assert (grant.belief, grant.memory) == (None, None)
    assert abs(grant.now_ms - bench.now_ms()) < 60_000
    assert grant.head.accepted_at_ms <= grant.now_ms


def test_the_leased_lane_is_due_at_the_end_of_its_lease(bench: Bench) -> None:
    grant = bench.claim(seq=bench.submit().seq)

    assert bench.due_ms() == grant.now_ms + LEASE_MS
    assert bench.sent() == {}
    assert bench.store.turn_counters(PARTITION).claimed == {INTERACTIVE: 1, BULK: 0}


def test_only_the_head_counts_the_attempt(bench: Bench) -> None:
    head, mate = bench.submit_many(2)
    bench.claim()

    assert (bench.intent(head)["attempts"], bench.intent(head)["state"]) == ("1", "working")
    assert set(bench.intent(mate)) == {"payload", "at"}


def test_a_batch_is_no_larger_than_allowed(bench: Bench) -> None:
    bench.submit_many(bench.limits.fold_max + 1)

    assert len(bench.claim().intents) == bench.limits.fold_max


def test_a_living_lease_is_not_broken(bench: Bench) -> None:
    bench.submit()
    grant = bench.claim(seq=1)

    answer = bench.ask(seq=1)

    assert answer == Refused("busy", grant.now_ms + LEASE_MS)


def test_a_doubled_turn_beside_a_lease_leaves_the_lane_to_the_timer(bench: Bench) -> None:
    bench.submit()
    bench.claim(seq=1)
    bench.elapse(LEASE_MS + 1)
    late = bench.claim()  # the timer handed nothing out: a turn that had been doubled came first

    assert bench.refusal(seq=1) == "busy"
    assert bench.due_ms() == late.now_ms + LEASE_MS


def test_an_empty_lane_is_asleep(bench: Bench) -> None:
    bench.settle(bench.claim(seq=bench.submit().seq), "op")

    assert bench.refusal(seq=1) == "asleep"


def test_a_turn_of_an_unknown_lane_is_asleep_and_leaves_nothing(bench: Bench) -> None:
    assert bench.refusal(seq=7) == "asleep"
    assert set(bench.snapshot()) == {keyspace.counters(PARTITION)}


def test_a_retry_has_its_time(bench: Bench) -> None:
    bench.submit()
    due_ms = bench.postpone(bench.claim(), "op", 60_000)

    assert bench.ask() == Refused("not_due", due_ms)

    bench.elapse(60_001)
    assert bench.claim().attempts == 2


def test_a_newer_payload_is_left_to_newer_workers(bench: Bench) -> None:
    bench.submit(schema=9)

    assert bench.refusal(seq=1) == "newer"
    assert bench.due_ms() is not None  # and another worker will be asked soon

    newer = Bench(bench.redis, schema=9)
    bench.elapse(LEASE_MS + 1)
    assert [turn.seq for turn in newer.hand_out()] == [2]
    newer.store.claim(LANE, INTERACTIVE, 2, "newer")


def test_a_batch_ends_before_a_newer_payload(bench: Bench) -> None:
    first = bench.submit().id
    bench.submit(schema=9)

    assert [intent.id for intent in bench.claim().intents] == [first]


def test_no_lease_begins_while_a_write_may_still_commit(bench: Bench) -> None:
    bench.submit()
    grant = bench.claim(seq=1)
    until_ms = bench.store.checkpoint(grant, "op", open_write='{"w":1}', commit_ms=COMMIT_MS).commit_until_ms
    bench.elapse(LEASE_MS + 1)
    assert until_ms is not None

    answer = bench.ask()

    assert answer == Refused("held", until_ms - LEASE_MS - 1)
    assert bench.due_ms() == until_ms - LEASE_MS - 1
    assert bench.refusal() == "not_due"


def test_a_held_lane_waits_for_the_timer_alone(bench: Bench) -> None:
    bench.submit()
    grant = bench.claim()  # by a double: turn 1 is still on its way
    bench.store.checkpoint(grant, "op", open_write="{}", commit_ms=COMMIT_MS)
    bench.elapse(LEASE_MS + 1)

    assert bench.refusal() == "held"
    assert bench.sent() == {}


def test_after_that_the_next_holder_is_told_of_the_write(bench: Bench) -> None:
    bench.submit()
    grant = bench.claim(seq=1)
    bench.store.checkpoint(grant, "op", open_write='{"w":1}', journal='{"j":1}', commit_ms=COMMIT_MS)
    bench.elapse(COMMIT_MS + 1)

    heir = bench.claim()

    assert (heir.open_write, heir.journal) == ('{"w":1}', '{"j":1}')
    assert heir.commit_until_ms is not None
    assert heir.commit_until_ms < heir.now_ms


def test_a_holder_who_never_came_back_costs_the_head_alone(bench: Bench) -> None:
    head, mate = bench.submit_many(2)
    bench.claim()
    bench.elapse(LEASE_MS + 1)

    heir = bench.claim()

    assert [intent.id for intent in heir.intents] == [head, mate]
    assert (heir.kills, heir.attempts, heir.facts_usable) == (1, 2, False)
    assert set(bench.intent(mate)) == {"payload", "at"}


@pytest.mark.parametrize(("max_kills", "goes_alone_after"), [(1, 1), (2, 1), (3, 2), (5, 4)])
def test_a_head_with_one_chance_left_goes_alone(redis: Redis, max_kills: int, goes_alone_after: int) -> None:
    """Not sooner: those who went with it may have been written, and alone it would undo them."""
    bench = Bench(redis, max_kills=max_kills)
    bench.submit_many(2)
    for kills in range(goes_alone_after + 2):
        grant = bench.claim()
        assert (grant.kills, len(grant.intents)) == (kills, 1 if kills >= goes_alone_after else 2)
        bench.elapse(LEASE_MS + 1)


def test_facts_are_not_usable_after_an_unclean_hand_over(bench: Bench) -> None:
    bench.submit()
    bench.postpone(bench.claim(), "op", 1_000)
    bench.elapse(1_001)

    heir = bench.claim()

    assert not heir.facts_usable
    assert heir.kills == 0  # it was released


def test_a_lane_that_slept_forgets_nothing_while_it_works(bench: Bench) -> None:
    bench.settle(bench.claim(seq=bench.submit().seq), "op")
    assert bench.redis.pttl(keyspace.lane(LANE)) > 0  # type: ignore[operator]

    bench.submit()
    bench.claim()

    assert bench.redis.pttl(keyspace.lane(LANE)) == -1


def test_facts_are_usable_after_a_settle(bench: Bench) -> None:
    bench.submit_many(2)
    bench.settle(bench.claim(), "op", belief='{"b":1}', memory='{"m":1}')

    heir = bench.claim()

    assert (heir.facts_usable, heir.belief, heir.memory) == (True, '{"b":1}', '{"m":1}')


def test_the_fence_grows_even_if_redis_lost_it(bench: Bench) -> None:
    bench.submit_many(2)
    first = bench.claim()
    bench.settle(first, "op")
    bench.redis.delete(keyspace.lane(LANE))

    assert bench.claim().fence > first.fence


def test_the_fence_grows_even_if_the_clock_went_back(bench: Bench) -> None:
    bench.submit_many(2)
    first = bench.claim()
    bench.settle(first, "op")
    ahead = first.fence + 3_600_000_000
    bench.redis.hset(keyspace.lane(LANE), "fence", str(ahead))

    assert bench.claim().fence == ahead + 1


# --- asked again --------------------------------------------------------------------------------------------


def test_a_token_asked_again_gets_the_same_grant(bench: Bench) -> None:
    bench.submit()
    first = bench.claim(seq=1, token="mine")
    bench.submit()
    before = bench.snapshot()

    again = bench.claim(seq=1, token="mine")

    assert (again.fence, again.intents, again.facts_usable) == (
        first.fence,
        first.intents,
        first.facts_usable,
    )
    assert bench.snapshot() == before  # not extended, no attempt counted


def test_a_late_repeat_never_takes_the_lane(bench: Bench) -> None:
    bench.submit_many(2)
    bench.settle(bench.claim(seq=1, token="mine"), "op")
    before = bench.snapshot()

    assert bench.refusal(seq=1, token="mine") == "busy"
    assert bench.snapshot() == before


def test_a_late_repeat_of_a_refused_claim_never_takes_the_lane(bench: Bench) -> None:
    bench.submit()
    holder = bench.claim(seq=1)
    refused = bench.ask(token="late")
    bench.postpone(holder, "op", 0)

    assert bench.ask(token="late") == refused


def test_a_late_repeat_on_a_sleeping_lane_is_no_grant(bench: Bench) -> None:
    bench.submit()
    bench.settle(bench.claim(seq=1, token="mine"), "op")

    assert bench.refusal(seq=1, token="mine") == "busy"


# --- numbers of turns ---------------------------------------------------------------------------------------


def test_a_doubled_turn_leaves_the_outstanding_one_alone(bench: Bench) -> None:
    bench.submit()
    bench.settle(bench.claim(seq=1), "op")
    bench.submit()  # its turn has number 2

    bench.claim(seq=1)  # the double of number 1 comes first, and may look

    assert bench.sent() == {INTERACTIVE: 2}


def test_the_claimed_number_never_falls(bench: Bench) -> None:
    bench.refusal(seq=9, queue=BULK)
    bench.refusal(seq=3, queue=BULK)

    assert bench.store.turn_counters(PARTITION).claimed[BULK] == 9


def test_numbers_go_on_after_redis_lost_the_newest(bench: Bench) -> None:
    bench.settle(bench.claim(seq=bench.submit().seq), "op")
    bench.refusal(seq=500)  # a turn made before the roll-back

    assert bench.submit().seq == 501
