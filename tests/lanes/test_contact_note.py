"""contact_note: which lanes know a contact from afar, and until when their writes may take effect."""

from __future__ import annotations

from onelane import keyspace

from .bench import Bench

A, B, C = ("a" * 32, "b" * 32, "c" * 32)


def note(bench: Bench, lane: str, *, writes: bool = True) -> None:
    bench.store.note_contact("c-1", lane, writes=writes)


def outdated(bench: Bench, lane: str) -> int | None:
    return bench.store.outdated(("c-1", "c-2"), lane).get("c-1")


def test_a_write_is_told_to_every_other_lane(bench: Bench) -> None:
    note(bench, B)
    told = outdated(bench, A)
    assert told is not None
    assert told >= bench.now_ms() + bench.limits.leaf_ms - 1_000
    assert outdated(bench, B) is None


def test_who_only_knows_it_outdates_nothing(bench: Bench) -> None:
    note(bench, B, writes=False)
    assert outdated(bench, A) is None
    assert bench.store.lanes_knowing("c-1") == (B,)


def test_of_two_writers_the_last_is_told_of_the_one_before(bench: Bench) -> None:
    note(bench, B)
    first = outdated(bench, A)
    note(bench, C)
    assert outdated(bench, C) == first
    assert (outdated(bench, B) or 0) >= (first or 0)
    note(bench, C)
    assert outdated(bench, C) == first
    assert set(bench.store.lanes_knowing("c-1")) == {B, C}


def test_it_lives_as_long_as_a_belief_of_that_time(bench: Bench) -> None:
    note(bench, B)
    key = keyspace.contact("c-1")
    life_ms = bench.limits.registry_ttl_ms + bench.limits.leaf_ms
    assert bench.redis.pttl(key) > life_ms - 5_000  # type: ignore[operator]
    note(bench, C, writes=False)
    assert bench.redis.pttl(key) > life_ms - 5_000  # type: ignore[operator]
