"""bury: the head becomes a dead letter, and the lane goes on."""

from __future__ import annotations

import dataclasses

import pytest

from onelane import keyspace
from onelane_worker.lanes.model import DeadLetter, Fenced, StillOpen

from .bench import COMMIT_MS, LANE, PARTITION, Bench


def test_a_dead_letter_is_kept_whole(bench: Bench) -> None:
    (id_,) = bench.submit_many(1, dedupe="k")
    payload = bench.intent(id_)["payload"]

    assert bench.bury(bench.claim(seq=1), "op").status == "asleep"

    letter = bench.store.dead_letter(id_)
    assert isinstance(letter, DeadLetter)
    assert (letter.lane, letter.kind, letter.payload) == (LANE, "lead_capture", payload)
    assert (letter.attempts, letter.error, letter.outcome) == (
        1,
        '{"class":"Refused"}',
        '{"result":"rejected"}',
    )
    assert bench.store.dead_letters(PARTITION) == [(id_, letter.buried_at_ms)]
    assert bench.redis.pttl(keyspace.intent(id_)) == -1
    assert bench.redis.pttl(keyspace.dedupe(LANE, "lead_capture", "k")) > 0  # type: ignore[operator]


def test_only_the_head_is_buried(bench: Bench) -> None:
    head, *mates = bench.submit_many(3)

    answer = bench.bury(bench.claim(), "op", want_more=True)

    assert [intent.id for intent in answer.grant.intents] == mates
    assert (answer.grant.attempts, answer.grant.kills) == (1, 0)
    assert [id_ for id_, _ in bench.store.dead_letters(PARTITION)] == [head]


def test_batch_mates_of_a_poison_intent_are_never_blamed(bench: Bench) -> None:
    poison, *mates = bench.submit_many(3)
    for kills in range(4):
        grant = bench.claim()
        assert (grant.kills, grant.head.id) == (kills, poison)
        assert len(grant.intents) == (3 if kills < 2 else 1)
        bench.elapse(bench.limits.lease_ms + 1)
    bench.bury(bench.claim(), "op")

    heir = bench.claim()
    assert [intent.id for intent in heir.intents] == mates
    assert [(intent.attempts, intent.kills) for intent in heir.intents] == [(1, 0), (0, 0)]


def test_the_lane_stays_dirty(bench: Bench) -> None:
    bench.submit_many(2)
    more = bench.bury(bench.claim(), "op", want_more=True)
    assert not more.grant.facts_usable

    bench.settle(more.grant, "op2")
    bench.submit()
    assert bench.claim().facts_usable


def test_dirt_outlives_the_sleep_of_the_lane(bench: Bench) -> None:
    bench.submit()
    bench.bury(bench.claim(seq=1), "op")
    assert bench.redis.pttl(keyspace.lane(LANE)) > bench.limits.registry_ttl_ms  # type: ignore[operator]

    bench.submit()
    assert not bench.claim().facts_usable


def test_nothing_is_buried_while_a_write_may_still_commit(bench: Bench) -> None:
    bench.submit()
    grant = bench.claim()
    until_ms = bench.store.checkpoint(grant, "1", open_write="{}", commit_ms=COMMIT_MS).commit_until_ms
    before = bench.snapshot()

    with pytest.raises(StillOpen) as refusal:
        bench.bury(grant, "2")

    assert refusal.value.commit_until_ms == until_ms
    assert bench.snapshot() == before


def test_an_intent_the_journal_names_is_not_buried(bench: Bench) -> None:
    bench.submit()
    grant = bench.claim()
    bench.store.checkpoint(grant, "1", journal=f'{{"ids":["{grant.head.id}"]}}')

    with pytest.raises(StillOpen) as refusal:
        bench.bury(grant, "2")
    assert refusal.value.commit_until_ms is None


def test_the_journal_of_others_stays(bench: Bench) -> None:
    bench.submit_many(2)
    grant = bench.claim()
    bench.store.checkpoint(grant, "1", journal=f'{{"ids":["{grant.intents[1].id}"]}}')

    more = bench.bury(grant, "2", want_more=True)

    assert more.grant.journal == f'{{"ids":["{grant.intents[1].id}"]}}'


def test_a_write_that_can_no_longer_commit_ends_with_the_burial(bench: Bench) -> None:
    bench.submit_many(2)
    bench.store.checkpoint(bench.claim(), "1", open_write="{}", commit_ms=COMMIT_MS)
    bench.elapse(COMMIT_MS + 1)

    more = bench.bury(bench.claim(), "2", want_more=True)

    assert more.grant.open_write is None


def test_a_refused_burial_stays_refused_and_is_tried_again_with_a_new_op(bench: Bench) -> None:
    bench.submit()
    grant = bench.claim()
    bench.store.checkpoint(grant, "1", open_write="{}", commit_ms=COMMIT_MS)
    with pytest.raises(StillOpen):
        bench.bury(grant, "2")
    bench.store.checkpoint(grant, "3", open_write=None)

    with pytest.raises(StillOpen):
        bench.bury(grant, "2")  # a late repeat must not bury what its caller has not given up
    assert bench.bury(grant, "4").status == "asleep"


def test_a_repeated_burial_buries_nobody_else(bench: Bench) -> None:
    bench.submit_many(3)
    grant = bench.claim(seq=1)
    first = bench.bury(grant, "op")
    before = bench.snapshot()

    assert bench.bury(grant, "op") == first
    assert bench.snapshot() == before

    with pytest.raises(Fenced):
        bench.bury(grant, "another op")


def test_an_intent_that_is_not_the_head_is_not_buried(bench: Bench) -> None:
    bench.submit_many(2)
    grant = bench.claim()
    before = bench.snapshot()

    with pytest.raises(Fenced):
        bench.bury(dataclasses.replace(grant, intents=grant.intents[1:]), "op")
    assert bench.snapshot() == before


def test_the_living_are_no_dead_letters(bench: Bench) -> None:
    (id_,) = bench.submit_many(1)

    assert bench.store.dead_letter(id_) is None
    assert bench.store.dead_letter("e" * 32) is None
