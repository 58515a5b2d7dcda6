"""The lock on an external id: whoever has it, other lanes that name the same one step back."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest

from onelane import keyspace
from onelane_worker.lanes.model import Grant

from .bench import LANE, Bench

EXT = "customer-1"


@pytest.fixture
def mine(bench: Bench) -> Grant:
    bench.submit_many(2)
    return bench.claim(seq=1)


@pytest.fixture
def theirs(mine: Grant) -> Grant:
    return dataclasses.replace(mine, lane="0" * 32)


@pytest.fixture(autouse=True)
def _leaf_ends(bench: Bench) -> Iterator[None]:
    yield
    assert bench.redis.pttl(keyspace.external_id(EXT)) != -1


def test_a_free_leaf_is_taken(bench: Bench, mine: Grant, theirs: Grant) -> None:
    answer = bench.store.take_leaf(EXT, mine)
    assert (answer.owned, answer.pointer) == (True, None)

    other = bench.store.take_leaf(EXT, theirs)
    assert not other.owned
    assert other.busy_until_ms is not None
    assert other.busy_until_ms <= bench.now_ms() + bench.limits.leaf_ms


def test_a_given_leaf_brings_its_pointer(bench: Bench, mine: Grant, theirs: Grant) -> None:
    bench.store.take_leaf(EXT, mine)
    assert bench.store.give_leaf(EXT, mine, '{"id":"c1"}')

    assert bench.store.take_leaf(EXT, theirs).pointer == '{"id":"c1"}'


def test_the_pointer_may_be_kept_or_cleared(bench: Bench, mine: Grant) -> None:
    for pointer, known in (('{"id":1}', '{"id":1}'), (None, None)):
        bench.store.take_leaf(EXT, mine)
        bench.store.give_leaf(EXT, mine, pointer)
        bench.store.take_leaf(EXT, mine)
        bench.store.give_leaf(EXT, mine)
        assert bench.store.take_leaf(EXT, mine).pointer == known
        bench.store.give_leaf(EXT, mine)


def test_the_leaf_of_a_dead_holder_frees_itself(bench: Bench, mine: Grant, theirs: Grant) -> None:
    bench.store.take_leaf(EXT, mine)
    bench.elapse(bench.limits.leaf_ms + 1)

    assert bench.store.take_leaf(EXT, theirs).owned
    assert not bench.store.give_leaf(EXT, mine, '{"id":"stale"}')
    assert not bench.store.take_leaf(EXT, mine).owned


def test_taking_again_renews(bench: Bench, mine: Grant, theirs: Grant) -> None:
    bench.store.take_leaf(EXT, mine)
    bench.elapse(bench.limits.leaf_ms - 1_000)
    assert bench.store.take_leaf(EXT, mine).owned
    bench.elapse(bench.limits.leaf_ms - 1_000)

    assert not bench.store.take_leaf(EXT, theirs).owned


def test_the_next_holder_of_the_same_lane_takes_over_at_once(bench: Bench, mine: Grant) -> None:
    bench.store.take_leaf(EXT, mine)
    heir = dataclasses.replace(mine, fence=mine.fence + 1)

    assert bench.store.take_leaf(EXT, heir).owned
    assert not bench.store.take_leaf(EXT, mine).owned  # an earlier holder, come to life
    assert not bench.store.give_leaf(EXT, mine)


def test_the_pointer_does_not_outlive_the_registry(bench: Bench, mine: Grant) -> None:
    bench.store.take_leaf(EXT, mine)
    bench.store.give_leaf(EXT, mine, "{}")
    bench.elapse(bench.limits.registry_ttl_ms - 1_000)
    assert bench.store.take_leaf(EXT, mine).pointer == "{}"

    bench.elapse(2_000)
    assert bench.store.take_leaf(EXT, mine).pointer is None


def test_a_leaf_without_pointer_leaves_nothing(bench: Bench, mine: Grant) -> None:
    bench.store.take_leaf(EXT, mine)
    bench.store.give_leaf(EXT, mine)

    assert not bench.redis.exists(keyspace.external_id(EXT))
    assert not bench.store.give_leaf(EXT, mine)


DAY_MS = 86_400_000


def test_what_was_applied_is_told_to_the_next_holder(bench: Bench, mine: Grant, theirs: Grant) -> None:
    assert bench.store.take_leaf(EXT, mine).versions is None
    bench.store.note_leaf(EXT, mine, '{"crm":5}', DAY_MS)
    assert bench.store.note_leaf(EXT, mine, '{"crm":6}', DAY_MS)
    assert bench.store.take_leaf(EXT, theirs).versions is None  # not yet: it is busy
    bench.store.give_leaf(EXT, mine)

    assert bench.store.take_leaf(EXT, theirs).versions == '{"crm":6}'


def test_only_the_holder_notes_what_was_applied(bench: Bench, mine: Grant, theirs: Grant) -> None:
    assert not bench.store.note_leaf(EXT, mine, "{}", DAY_MS)
    bench.store.take_leaf(EXT, mine)
    heir = dataclasses.replace(mine, fence=mine.fence + 1)
    bench.store.take_leaf(EXT, heir)
    assert not any(bench.store.note_leaf(EXT, grant, "{}", DAY_MS) for grant in (mine, theirs))
    assert bench.store.take_leaf(EXT, heir).versions is None


@pytest.mark.parametrize("pointer_last", [True, False])
def test_versions_outlive_the_pointer(bench: Bench, mine: Grant, pointer_last: bool) -> None:
    bench.store.take_leaf(EXT, mine)
    if pointer_last:
        bench.store.note_leaf(EXT, mine, "{}", DAY_MS)
        bench.store.give_leaf(EXT, mine, '{"id":"c1"}')
    else:
        bench.store.give_leaf(EXT, mine, '{"id":"c1"}')
        bench.store.take_leaf(EXT, mine)
        bench.store.note_leaf(EXT, mine, "{}", DAY_MS)
        bench.store.give_leaf(EXT, mine)
    bench.elapse(bench.limits.registry_ttl_ms + 1)
    leaf = bench.store.take_leaf(EXT, mine)
    assert (leaf.pointer, leaf.versions) == (None, "{}")
    life_ms: Any = bench.redis.pttl(keyspace.external_id(EXT))
    assert DAY_MS - 60_000 < life_ms <= DAY_MS


def test_an_erased_person_is_forgotten_and_the_lock_stays(bench: Bench, mine: Grant, theirs: Grant) -> None:
    bench.store.take_leaf(EXT, mine)
    bench.store.note_leaf(EXT, mine, "{}", DAY_MS)
    bench.store.give_leaf(EXT, mine, '{"id":"c1"}')
    bench.store.take_leaf(EXT, mine)
    bench.store.forget_leaf(EXT)

    assert not bench.store.take_leaf(EXT, theirs).owned
    leaf = bench.store.take_leaf(EXT, mine)
    assert (leaf.owned, leaf.pointer, leaf.versions) == (True, None, None)
    bench.store.give_leaf(EXT, mine)
    bench.store.forget_leaf(EXT)
    assert not bench.redis.exists(keyspace.external_id(EXT))


def test_the_key_hides_the_external_id(bench: Bench, mine: Grant) -> None:
    bench.store.take_leaf(EXT, mine)

    assert not any(EXT in key for key in bench.snapshot())
    assert bench.lane(LANE)["token"] == mine.token
