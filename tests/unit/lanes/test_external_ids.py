"""External ids: who holds one, who waits for it in which order, and what is remembered with it."""

from __future__ import annotations

import pytest

from onelane_worker.lanes.types import KEEP, ExtNote, Grant

from .world import COMMIT_MS, LEASE_MS, START_MS, World

BLOCKED_MS = 300_000


def test_two_lanes_never_hold_one_external_id(world: World) -> None:
    for lane in "ab":
        world.put(lane, ext="e")
    [grant] = world.grants()
    assert (grant.lane, [lock.digest for lock in grant.locks]) == ("a", ["e"])
    assert world.lane("b")["waits"] == "x:e"
    assert world.place("b") == LEASE_MS + 1_000  # the first in line looks when the lock ends by itself
    world.settle(grant)
    assert world.place("b") == "interactive"
    assert world.grant().lane == "b"


def test_waiters_come_in_their_order_one_at_a_time(world: World) -> None:
    for lane in "abcd":
        world.put(lane, ext="e")
    granted = world.grants()
    assert [world.place(lane) for lane in "cd"] == [BLOCKED_MS, BLOCKED_MS]
    served = []
    while granted:
        [grant] = granted
        served.append(grant.lane)
        world.settle(grant)
        assert len([lane for lane in "bcd" if world.place(lane) == "interactive"]) <= 1
        granted = world.grants()
    assert served == ["a", "b", "c", "d"]


def test_a_waiter_that_finds_the_lock_taken_again_keeps_its_place(world: World) -> None:
    for lane in "ab":
        world.put(lane, ext="e")
    [grant] = world.grants()
    world.put("c", ext="e")
    world.grants()
    world.put("a", ext="e")
    world.settle(grant)  # b may come, and a comes first
    world.redis.zadd(world.keys.key("ready", "interactive"), {"a": 0})
    assert world.grant(most=1).lane == "a"
    assert world.grants() == ()
    line = [lane for lane, _ in world.snapshot()["wait:e"]]
    assert line == ["b", "c"]


def test_the_lock_of_an_unknown_write_stays_until_it_can_no_longer_commit(world: World) -> None:
    for lane in "ab":
        world.put(lane, ext="e")
    [grant] = world.grants()
    world.checkpoint(grant)
    world.postpone(grant, 1_000, unknown=True)
    assert world.place("b") == LEASE_MS + 1_000
    world.wait(LEASE_MS + 1_000)
    world.tick()
    assert world.grants() == ()
    assert world.place("b") == COMMIT_MS - LEASE_MS - 1_000 + 1_000
    world.wait(COMMIT_MS)
    world.tick()
    assert [grant.lane for grant in world.grants()] == ["a"]


def test_the_lock_of_a_dead_holder_ends_with_its_lease(world: World) -> None:
    for lane in "ab":
        world.put(lane, ext="e")
    world.grants()
    world.wait(LEASE_MS + 1_000)
    world.tick(engine="other")  # nobody had ticked: the lease itself is not ended yet
    assert world.grant(suspects=(0, 0)).lane == "b"


def test_a_write_is_not_recorded_after_the_lock_was_lost(world: World) -> None:
    for lane in "ab":
        world.put(lane, ext="e")
    [old] = world.grants()
    world.wait(LEASE_MS + 1_000)
    world.tick(engine="other")
    world.grant()
    before = world.lane("a")
    assert world.checkpoint(old).word == "ext_lost"
    assert {**world.lane("a"), "step": "", "stepfence": "", "answer": ""} == {
        **before,
        "step": "",
        "stepfence": "",
        "answer": "",
    }


def test_a_further_external_id_is_locked_with_a_write_or_is_busy(world: World) -> None:
    world.put("a", ext="e")
    world.put("b", ext="f")
    a, b = world.grants()
    assert world.checkpoint(a, external_id="f").word == "ext_busy"
    assert "open" not in world.lane("a")
    world.settle(b)
    assert world.checkpoint(a, external_id="f").word == "ok"
    assert world.lane("a")["exts"] == "e f"
    world.put("b", ext="f")
    assert world.grants() == ()


def test_a_head_that_needs_a_further_external_id_waits_for_both(world: World) -> None:
    world.put("a", ext="e")
    world.put("b", ext="f")
    a, b = world.grants()
    world.postpone(a, 0, external_id="f")
    assert world.grants() == ()
    assert world.lane("a")["waits"] == "x:f"
    world.settle(b)
    assert [lock.digest for lock in world.grant().locks] == ["e", "f"]


def test_a_lane_that_cannot_go_on_lets_those_behind_it_try(world: World) -> None:
    world.put("a", ext="e")
    world.put("b", ext="e")
    world.put("c", ext="e")
    [grant] = world.grants()
    world.put("d", ext="f")
    [other] = world.grants()
    world.redis.hset(world.keys.key("intent", world.queue("b")[0]), "ext2", "f")
    world.settle(grant)
    assert world.grant().lane == "c"
    assert world.lane("b")["waits"] == "x:f"
    world.settle(other)
    assert world.place("b") == "interactive"


def test_withdrawing_a_head_that_waits_lets_the_next_one_be_the_first(world: World) -> None:
    for lane in "ab":
        world.put(lane, ext="e")
    [grant] = world.grants()
    world.put("c", ext="e")
    world.grants()
    assert world.withdraw(world.queue("b")[0]) == "ok"
    assert world.place("c") == "interactive"
    world.settle(grant)
    assert world.grant().lane == "c"


def test_a_lease_goes_on_with_the_locks_of_the_next_head(world: World) -> None:
    world.put("a", ext="e")
    world.put("a", ext="f")
    world.put("b", ext="e")
    [grant] = world.grants()
    more = world.settle(grant, more=1).grant
    assert more is not None
    assert [lock.digest for lock in more.locks] == ["f"]
    assert world.place("b") == "interactive"


# ── what is remembered ────────────────────────────────────────────────────────────────────────────────────


def settle_with(world: World, note: ExtNote) -> Grant:
    """The next grant of the external id, after a holder has noted something."""
    world.put("a", ext="e")
    world.settle(world.grant(), ext=(note,))
    world.put("b", ext="e")
    return world.grant()


def test_pointer_and_versions_are_told_to_the_next_holder(world: World) -> None:
    grant = settle_with(world, ExtNote("e", "{1}", {"crm": "5 i1 1000", "": "7 i2 1000"}))
    [lock] = grant.locks
    assert lock.pointer == "{1}"
    assert lock.versions == {"crm": "5 i1 1000", "": "7 i2 1000"}


def test_a_pointer_lives_as_long_as_the_registry(world: World) -> None:
    grant = settle_with(world, ExtNote("e", "{1}", {}))
    world.postpone(grant, 0)
    world.wait(world.settings.registry_ttl_ms)
    [lock] = world.grant().locks
    assert lock.pointer is None


@pytest.mark.parametrize(
    ("known", "told", "kept"),
    [
        ("5 i 1", "4 j 2", "5 i 1"),
        ("5 i 1", "6 j 2", "6 j 2"),
        ("9 i 1", "10 j 2", "10 j 2"),
        ("9007199254740993 i 1", "9007199254740992 j 2", "9007199254740993 i 1"),
    ],
)
def test_versions_never_go_back(world: World, known: str, told: str, kept: str) -> None:
    grant = settle_with(world, ExtNote("e", KEEP, {"crm": known}))
    world.settle(grant, ext=(ExtNote("e", KEEP, {"crm": told}),))
    world.put("c", ext="e")
    assert world.grant().locks[0].versions == {"crm": kept}


def test_a_pointer_is_not_stored_after_the_lock_was_lost_and_versions_are(world: World) -> None:
    for lane in "ab":
        world.put(lane, ext="e")
    [old] = world.grants()
    world.wait(LEASE_MS + 1_000)
    world.tick(engine="other")
    new = world.grant()
    world.settle(old, ext=(ExtNote("e", "{old}", {"": "1 i 1"}),))
    world.settle(new)
    world.put("c", ext="e")
    [lock] = world.grant().locks
    assert (lock.pointer, dict(lock.versions)) == (None, {"": "1 i 1"})
    assert world.now_ms > START_MS
