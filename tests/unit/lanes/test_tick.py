"""tick: leases, lanes that are due, lost wake-ups, presence."""

from __future__ import annotations

import pytest

from .world import COMMIT_MS, LEASE_MS, World


def test_a_tick_renews_its_own_leases_and_tells_of_lost_ones(world: World) -> None:
    for lane in "ab":
        world.put(lane)
    kept, lost = world.grants(2)
    world.postpone(lost, 0)
    world.wait(3_000)
    assert world.tick(kept, lost).lost == {(lost.lane, lost.fence)}
    assert world.place("a") == LEASE_MS
    assert world.place("b") == "interactive"


def test_a_lease_that_ran_out_is_renewed_as_long_as_nobody_has_taken_it_back(world: World) -> None:
    world.put("a")
    grant = world.grant()
    world.wait(LEASE_MS + 1_000)
    assert world.tick(grant).lost == frozenset()
    assert world.place("a") == LEASE_MS


def test_lanes_that_are_due_become_ready(world: World) -> None:
    world.put("a")
    world.postpone(world.grant(), 900)
    ticked = world.tick()
    assert (ticked.ready, ticked.due_in_ms) == (False, 900)
    assert world.place("a") == 900
    world.wait(900)
    ticked = world.tick()
    assert (ticked.ready, ticked.due_in_ms) == (True, None)
    assert world.place("a") == "interactive"


def test_a_tick_moves_many_lanes_and_says_that_more_are_due(world: World) -> None:
    with world.redis.pipeline() as pipe:
        for n in range(201):
            owed = {"check": "{1}", "check_id": f"c{n}", "check_at": world.now_ms}
            pipe.hset(world.keys.key("lane", f"a{n}"), mapping=owed)  # type: ignore[arg-type]
            pipe.pexpire(world.keys.key("lane", f"a{n}"), 60_000)
            pipe.zadd(world.keys.key("due"), {f"a{n}": world.now_ms})
        pipe.execute()
    assert world.tick().due_in_ms == 0
    assert len(world.snapshot()["due"]) == 1
    assert world.tick().due_in_ms is None
    assert len(world.snapshot()["ready:bulk"]) == 201


# ── kills ─────────────────────────────────────────────────────────────────────────────────────────────────


def kills(world: World, id_: str) -> int:
    return int(world.intent(id_).get("kills", 0))


def test_a_head_whose_holder_is_gone_gets_a_kill_and_nobody_else_does(world: World) -> None:
    head, follower = world.put("a"), world.put("a")
    world.die(world.grant())
    assert (kills(world, head), kills(world, follower)) == (1, 0)
    assert world.place("a") == "suspect"
    assert "token" not in world.lane("a")


def test_a_living_holder_is_not_charged_for_a_lane_that_it_lost(world: World) -> None:
    id_ = world.put("a")
    world.grant(engine="e")
    for _ in range(6):
        world.wait(1_000)
        world.tick(engine="e")  # it ticks, and does not renew
    assert kills(world, id_) == 0
    assert world.place("a") == "interactive"


def test_no_lease_is_ended_for_a_while_after_nobody_ticked(world: World) -> None:
    world.put("a")
    world.grant()
    world.wait(20_000)
    world.tick(engine="other")
    assert "token" in world.lane("a")
    world.wait(1_999)
    world.tick(engine="other")
    assert "token" in world.lane("a")
    world.wait(1)
    world.tick(engine="other")
    assert "token" not in world.lane("a")


def test_no_kill_is_charged_while_writes_of_before_a_failover_may_commit(world: World) -> None:
    id_ = world.put("a")
    grant = world.grant()
    world.other_server()
    world.die(grant)
    assert "token" not in world.lane("a")
    assert kills(world, id_) == 0


def test_dirt_open_write_and_journal_outlive_the_holder(world: World) -> None:
    world.put("a")
    grant = world.grant()
    world.checkpoint(grant, journal='{"ids":["x"]}')
    world.die(grant)
    assert world.grants() == ()  # the write may still commit
    assert world.place("a") == COMMIT_MS - LEASE_MS - 1 - 2_000
    world.wait(COMMIT_MS)
    world.tick()
    again = world.grant()
    assert (again.journal, again.open_write) == ('{"ids":["x"]}', '{"op":"update"}')
    assert not again.usable


# ── the mover ─────────────────────────────────────────────────────────────────────────────────────────────


def test_one_engine_at_a_time_moves_lanes_and_another_takes_over_in_a_second(world: World) -> None:
    world.put("a")
    world.postpone(world.grant(), 100)
    world.tick(engine="first")
    world.wait(999)
    assert not world.tick(engine="second").ready
    world.wait(1)
    assert world.tick(engine="second").ready


def test_lost_wake_ups_come_back_one_a_second(world: World) -> None:
    for lane in "abc":
        world.put(lane)
    counted = []
    for _ in range(4):
        world.tick()
        world.tick(engine="other")
        counted.append(world.counter("tokens"))
        world.wait(1_000)
    assert counted == [2, 1, 0, 0]


def test_engines_that_tick_are_present_with_their_names(world: World) -> None:
    world.tick(engine="one")
    world.wait(15_000)
    world.tick(engine="two")
    assert {engine for engine, _ in world.snapshot()["engines"]} == {"one", "two"}
    world.wait(1)
    world.tick(engine="two")
    assert {engine for engine, _ in world.snapshot()["engines"]} == {"two"}
    assert world.hash("engine", "two")["name"] == "worker@host"
    assert 0 < world.ends_in_ms("engine", "two") <= 600_000


# ── a line that stands still ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("how", ["open", "paused", "hold"])
def test_while_nothing_is_granted_only_leases_are_ended(world: World, how: str) -> None:
    for lane in "ab":
        world.put(lane)
    parked, held = world.grants(2)
    world.postpone(parked, 100)
    match how:
        case "open":
            world.breaker("refused", lane="a", problem="{1}")
        case "paused":
            world.breaker("pause", problem="by hand")
        case "hold":
            world.other_server()
    world.tick(engine="other")
    world.die(held)
    assert "token" not in world.lane("b")
    assert world.place("b") in ("suspect", "interactive")
    assert world.place("a") == 100 - LEASE_MS - 1 - 2_000
    assert world.claimed().grants == ()
