"""Steps under a lease: checkpoint, settle, postpone, and the rules that all of them share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.blocking import finish

from onelane_worker.lanes.types import (
    Ended,
    Fenced,
    Grant,
    Step,
    StoredEntry,
)

from .world import COMMIT_MS, DONE, LEASE_MS, START_MS, World

STEPS: dict[str, Callable[[World, Grant], Any]] = {
    "checkpoint": lambda world, grant: world.checkpoint(grant),
    "clear": lambda world, grant: world.clear(grant, None),
    "settle": lambda world, grant: world.settle(grant),
    "postpone": lambda world, grant: world.postpone(grant),
    "bury": lambda world, grant: world.bury(grant),
    "scrub": lambda world, grant: world.scrub(grant),
}


# ── who may do what ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", STEPS)
def test_a_holder_that_lost_the_lane_changes_nothing(world: World, name: str) -> None:
    world.put("a")
    old = world.grant()
    world.die(old)
    world.grant(engine="other")
    before = world.snapshot()
    with pytest.raises(Fenced):
        STEPS[name](world, old)
    assert world.snapshot() == before


@pytest.mark.parametrize("name", STEPS)
def test_a_step_that_was_overtaken_changes_nothing(world: World, name: str) -> None:
    world.put("a")
    world.put("a")
    grant = world.grant()
    late = world.step(grant)
    world.checkpoint(grant)
    before = world.snapshot()
    world.numbers(grant, from_=late.number)
    with pytest.raises(Fenced, match="stale"):
        STEPS[name](world, grant)
    assert world.snapshot() == before


def test_a_step_that_was_answered_is_answered_alike_when_it_comes_again_much_later(world: World) -> None:
    world.put("a")
    world.put("a")
    grant = world.grant()
    step = world.step(grant)
    first = finish(world.store.settle(step, [Ended(grant.head.id, DONE)], registry=None, more=3))
    assert first.grant is not None
    world.wait(LEASE_MS + 1)
    again = finish(world.store.settle(step, [Ended(grant.head.id, DONE)], registry=None, more=3))
    assert again.grant is not None
    assert again.grant.intents == first.grant.intents
    world.die(grant)
    lost = finish(world.store.settle(step, [Ended(grant.head.id, DONE)], registry=None, more=3))
    assert (lost.word, lost.grant) == ("left", None)


def test_a_grant_under_the_same_fence_begins_no_new_numbers(world: World) -> None:
    world.put("a")
    world.put("a")
    grant = world.grant()
    more = world.settle(grant, more=1).grant
    assert more is not None
    assert (more.token, more.fence) == (grant.token, grant.fence)
    world.settle(more)


# ── checkpoint ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_write_is_on_record_before_it_is_sent(world: World) -> None:
    world.put("a")
    grant = world.grant()
    world.wait(1_000)
    entry = StoredEntry('{"r":1}', ("c1", "c2"), ("c2",))
    done = world.checkpoint(grant, journal='{"ids":["x"]}', registry=entry)
    assert (done.word, done.commit_until_ms) == ("ok", START_MS + 1_000 + COMMIT_MS)
    lane = world.lane("a")
    assert (lane["open"], lane["journal"]) == ('{"op":"update"}', '{"ids":["x"]}')
    assert world.place("a") == LEASE_MS
    assert world.snapshot()["registry:a"] == '{"r":1}'
    assert finish(world.store.lanes_knowing("c2")) == ("a",)
    assert finish(world.store.lanes_knowing("c1")) == ()


def test_an_answered_write_is_cleared_and_what_stood_before_comes_back(world: World) -> None:
    world.put("a")
    grant = world.grant()
    world.checkpoint(grant, journal='{"ids":["x"]}')
    assert world.clear(grant, '{"ids":["before"]}').word == "ok"
    lane = world.lane("a")
    assert "open" not in lane
    assert "commit" not in lane
    assert lane["journal"] == '{"ids":["before"]}'


def test_facts_are_outdated_by_writes_from_other_lanes(world: World) -> None:
    world.put("a")
    world.settle(world.grant(), registry=StoredEntry("{1}", ("c",)))
    world.put("b")
    world.wait(5)
    writer = world.grant()
    world.checkpoint(writer, contacts=("c",))
    world.settle(writer, registry=StoredEntry("{2}", ("c",), ("c",)))
    for lane in "ab":
        world.put(lane)
    wrote = START_MS + 5 + COMMIT_MS
    told = {grant.lane: grant for grant in world.grants()}
    assert told["a"].outdated == {"c": wrote}
    assert told["b"].outdated == {}  # its own write
    assert told["a"].moved == {}
    world.wait(10)
    world.checkpoint(told["a"], contacts=("c",))
    for grant in told.values():
        world.postpone(grant, 0)
    told = {grant.lane: grant for grant in world.grants()}
    assert told["a"].outdated == {"c": wrote}  # of the last writer, what the others wrote
    assert told["b"].outdated == {"c": wrote + 10}


# ── postpone ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_postponed_head_stays_and_says_why(world: World) -> None:
    id_ = world.put("a")
    done = world.postpone(world.grant(), 9_000, state="parked", error='{"class":"x"}', timeline=("{1}",))
    assert (done.due_ms, done.ready) == (START_MS + 9_000, False)
    record = world.intent(id_)
    assert (record["state"], record["next"], record["error"]) == (
        "parked",
        str(START_MS + 9_000),
        '{"class":"x"}',
    )
    assert world.place("a") == 9_000
    assert world.lane("a")["dirty"] == "1"


@pytest.mark.parametrize(("counted", "attempts"), [(True, 3), (False, 2), (None, 1)])
def test_attempts_count_or_do_not_or_are_forgotten(world: World, counted: bool | None, attempts: int) -> None:
    world.put("a")
    world.postpone(world.grant(), 0)
    world.postpone(world.grant(), 0, counted=counted)
    assert world.grant().head.attempts == attempts


def test_a_delay_of_nothing_makes_the_lane_ready_at_once(world: World) -> None:
    world.put("a")
    done = world.postpone(world.grant(), 0)
    assert done.ready
    assert world.place("a") == "interactive"


def test_an_unknown_write_holds_its_lane_until_it_can_no_longer_commit(world: World) -> None:
    world.put("a")
    grant = world.grant()
    world.checkpoint(grant)
    world.postpone(grant, 1_000, unknown=True)
    assert world.place("a") == COMMIT_MS
    world.put("a")
    world.wait(1_000)
    world.tick()
    assert world.grants() == ()
    world.wait(COMMIT_MS)
    world.tick()
    again = world.grant()
    assert again.open_write == '{"op":"update"}'
    assert again.commit_until_ms == START_MS + COMMIT_MS


def test_a_write_that_was_not_sent_leaves_no_record(world: World) -> None:
    world.put("a")
    grant = world.grant()
    world.checkpoint(grant, journal='{"ids":["x"]}')
    world.postpone(grant, 1_000, journal=None)
    assert not {"open", "commit", "journal"} & set(world.lane("a"))


def test_a_head_that_yields_does_not_wait_if_others_came_and_later_ones_wake_it(world: World) -> None:
    world.put("a")
    grant = world.grant()
    world.put("a")
    world.postpone(grant, 9_000, yields=True)
    assert world.place("a") == "interactive"
    world.postpone(world.grant(), 9_000, yields=True)
    assert world.place("a") == 9_000
    assert world.submit("a")[2] == 1
    assert world.place("a") == "interactive"


# ── bury, where a write is open ───────────────────────────────────────────────────────────────────────────


def test_a_head_is_not_buried_while_its_write_may_commit(world: World) -> None:
    world.put("a")
    grant = world.grant()
    world.checkpoint(grant)
    with pytest.raises(Fenced, match="open"):
        world.bury(grant)
    world.wait(COMMIT_MS)
    assert world.bury(grant).word == "left"


def test_a_head_whose_write_was_answered_is_buried_and_its_journal_ends(world: World) -> None:
    id_ = world.put("a")
    grant = world.grant()
    world.checkpoint(grant, journal=f'{{"ids":["{id_}"]}}')
    with pytest.raises(Fenced, match="open"):
        world.bury(grant, answered=9)
    assert world.bury(grant, answered=1).word == "left"
    assert not {"open", "commit", "journal"} & set(world.lane("a"))


def test_a_head_that_the_journal_names_is_reconciled_before_it_is_buried(world: World) -> None:
    id_ = world.put("a")
    world.put("a")
    grant = world.grant()
    world.checkpoint(grant, journal=f'{{"ids":["{id_}"]}}')
    world.wait(COMMIT_MS)
    with pytest.raises(Fenced, match="open"):
        world.bury(grant)
    world.clear(grant, None)
    settled = world.bury(grant, more=1)
    assert settled.grant is not None
    assert not settled.grant.usable


def test_a_step_is_known_by_token_and_fence(world: World) -> None:
    world.put("a")
    grant = world.grant()
    for token, fence in ((grant.token, grant.fence + 1), ("other", grant.fence)):
        with pytest.raises(Fenced, match="fenced"):
            finish(world.store.clear(Step("a", token, fence, 1), None))
