"""renew and checkpoint: what a holder does while it works."""

from __future__ import annotations

import pytest

from onelane import keyspace
from onelane_worker.lanes.model import Checkpointed, Fenced, Grant

from .bench import COMMIT_MS, LANE, LEASE_MS, Bench


@pytest.fixture
def grant(bench: Bench) -> Grant:
    bench.submit_many(2)
    return bench.claim(seq=1)


def _taken_over(bench: Bench) -> Grant:
    bench.elapse(LEASE_MS + 1)
    return bench.claim()


def test_a_renewed_lease_counts_from_now(bench: Bench, grant: Grant) -> None:
    bench.elapse(LEASE_MS - 1_000)

    assert bench.store.renew(grant)

    assert bench.due_ms() == pytest.approx(bench.now_ms() + LEASE_MS, abs=1_000)
    assert bench.refusal() == "busy"


def test_an_overdue_lease_nobody_took_can_be_renewed(bench: Bench, grant: Grant) -> None:
    bench.elapse(LEASE_MS + 1)
    assert bench.hand_out()  # a turn is on its way, but it has not come yet

    assert bench.store.renew(grant)
    assert bench.refusal(seq=2) == "busy"


def test_who_was_taken_over_renews_nothing(bench: Bench, grant: Grant) -> None:
    _taken_over(bench)
    before = bench.snapshot()

    assert not bench.store.renew(grant)
    assert bench.snapshot() == before


def test_who_released_renews_nothing(bench: Bench, grant: Grant) -> None:
    bench.settle(grant, "op")

    assert not bench.store.renew(grant)


def test_a_checkpoint_records_the_write_and_renews(bench: Bench, grant: Grant) -> None:
    bench.elapse(LEASE_MS - 1_000)

    answer = bench.store.checkpoint(
        grant, "op", belief='{"b":1}', journal='{"j":1}', open_write='{"w":1}', commit_ms=COMMIT_MS
    )

    view = bench.store.describe(LANE)
    assert (view.belief, view.journal, view.open_write) == ('{"b":1}', '{"j":1}', '{"w":1}')
    assert answer.commit_until_ms == answer.now_ms + COMMIT_MS == view.commit_until_ms
    assert bench.due_ms() == answer.now_ms + LEASE_MS
    assert 0 < bench.redis.pttl(keyspace.belief(LANE)) <= bench.limits.registry_ttl_ms  # type: ignore[operator]


def test_a_checkpoint_leaves_alone_what_it_does_not_name(bench: Bench, grant: Grant) -> None:
    first = bench.store.checkpoint(
        grant, "1", belief="{}", journal="[]", open_write="{}", commit_ms=COMMIT_MS
    )
    bench.redis.pexpire(keyspace.belief(LANE), 1_000)

    second = bench.store.checkpoint(grant, "2")

    view = bench.store.describe(LANE)
    assert (view.belief, view.journal, view.open_write) == ("{}", "[]", "{}")
    assert second.commit_until_ms == first.commit_until_ms
    assert bench.redis.pttl(keyspace.belief(LANE)) <= 1_000  # type: ignore[operator]


def test_one_open_write_replaces_the_other(bench: Bench, grant: Grant) -> None:
    bench.store.checkpoint(grant, "1", open_write='{"w":1}', commit_ms=COMMIT_MS)

    answer = bench.store.checkpoint(grant, "2", open_write='{"w":2}', commit_ms=2 * COMMIT_MS)

    assert bench.store.describe(LANE).open_write == '{"w":2}'
    assert answer.commit_until_ms == answer.now_ms + 2 * COMMIT_MS


def test_a_write_never_sent_is_given_back(bench: Bench, grant: Grant) -> None:
    bench.store.checkpoint(grant, "1", open_write="{}", journal='{"j":"new"}', commit_ms=COMMIT_MS)

    answer = bench.store.checkpoint(grant, "2", open_write=None, journal='{"j":"old"}')

    assert answer.commit_until_ms is None
    assert (bench.lane().get("open"), bench.lane()["journal"]) == (None, '{"j":"old"}')
    assert _taken_over(bench).open_write is None  # nothing holds the lane


def test_a_repeated_checkpoint_changes_nothing(bench: Bench, grant: Grant) -> None:
    first = bench.store.checkpoint(grant, "1", open_write='{"w":1}', commit_ms=COMMIT_MS)
    second = bench.store.checkpoint(grant, "2", open_write=None)
    before = bench.snapshot()

    assert bench.store.checkpoint(grant, "1", open_write='{"w":1}', commit_ms=COMMIT_MS) == first
    assert bench.store.checkpoint(grant, "2", open_write=None) == second == Checkpointed(second.now_ms, None)
    assert bench.snapshot() == before


def test_a_repeated_checkpoint_allows_nothing_to_who_was_taken_over(bench: Bench, grant: Grant) -> None:
    bench.store.checkpoint(grant, "1", belief="{}")
    _taken_over(bench)

    with pytest.raises(Fenced):
        bench.store.checkpoint(grant, "1", belief="{}")


@pytest.mark.parametrize("verb", ["checkpoint", "settle", "postpone", "bury"])
def test_who_was_taken_over_writes_nothing(bench: Bench, grant: Grant, verb: str) -> None:
    _taken_over(bench)
    before = bench.snapshot()
    act = {
        "checkpoint": lambda: bench.store.checkpoint(grant, "op", belief="{}", open_write="{}"),
        "settle": lambda: bench.settle(grant, "op", belief="{}", memory="{}"),
        "postpone": lambda: bench.postpone(grant, "op", belief="{}", journal="{}"),
        "bury": lambda: bench.bury(grant, "op", belief="{}"),
    }

    with pytest.raises(Fenced, match=LANE):
        act[verb]()
    assert bench.snapshot() == before
