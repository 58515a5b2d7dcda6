"""scrub: what ended intents still hold of a person goes, and only the lane's holder does it."""

from __future__ import annotations

import json

import pytest

from onelane import keyspace
from onelane_worker.lanes.model import Fenced

from .bench import PARTITION, Bench

ERASED = '{"result":"rejected","reason":"erased"}'


def test_a_dead_letter_ends_without_its_words(bench: Bench) -> None:
    (id_,), (erasure,) = bench.submit_many(1, dedupe="k"), bench.submit_many(1)
    bench.bury(bench.claim(), "op")
    bench.store.scrub(grant := bench.claim(), ERASED)
    kept = bench.intent(id_)
    assert (kept["state"], kept["outcome"]) == ("done", ERASED)
    assert {"payload", "error", "dedupe"}.isdisjoint(kept)
    assert bench.store.dead_letters(PARTITION) == []
    assert grant.head.id == erasure
    assert "payload" in bench.intent(erasure)


def test_an_outcome_keeps_how_it_ended_and_not_whose_it_was(bench: Bench) -> None:
    words = {"result": "skipped", "reason": "exists"}
    told = json.dumps(
        {**words, "contact_id": "c1", "message": '"role":"ann"', "merged": [], "applied_with": []}
    )
    (id_,) = bench.submit_many(1)
    grant = bench.claim()
    bench.store.settle(grant, "op", [(id_, told)], belief=None, memory=None, want_more=False)
    bench.submit()
    bench.store.scrub(bench.claim(), ERASED)
    assert json.loads(bench.intent(id_)["outcome"]) == words


def test_who_lost_the_lane_touches_nothing(bench: Bench) -> None:
    id_, _ = bench.submit_many(2)
    bench.bury(bench.claim(), "op")
    late = bench.claim()
    bench.elapse(bench.limits.lease_ms + 1)
    bench.claim()
    bench.redis.rpush(keyspace.history(late.lane), '{"id":"x"}')
    bench.redis.pexpire(keyspace.history(late.lane), 60_000)
    with pytest.raises(Fenced):
        bench.store.scrub(late, ERASED)
    assert "payload" in bench.intent(id_)
    assert bench.redis.exists(keyspace.history(late.lane))


def test_nothing_to_scrub_is_no_pass_for_who_is_late(bench: Bench) -> None:
    bench.submit()
    late = bench.claim()
    bench.elapse(bench.limits.lease_ms + 1)
    bench.claim()
    with pytest.raises(Fenced):
        bench.store.scrub(late, ERASED)
