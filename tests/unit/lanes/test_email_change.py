"""A change of address: it waits in its own lane, and a marker keeps its place in the lane of the new one."""

from __future__ import annotations

from typing import Any

from onelane_worker.lanes.types import Left, StoredEntry, TargetEnd

from .world import World


def change(world: World, lane: str = "a", target: str = "t", **more: Any) -> str:
    return world.put(lane, target=target, kind="email_change", **more)


def test_a_change_waits_until_its_marker_stands_at_the_head(world: World) -> None:
    before = world.put("t")
    id_ = change(world)
    assert world.queue("t") == [before, "~" + id_]
    [grant] = world.grants()
    assert grant.lane == "t"
    assert world.lane("a")["waits"] == "l:t"
    world.settle(grant)
    assert world.lane("t")["waits"] == "l:a"
    assert world.place("a") == "interactive"
    [grant] = world.grants()
    assert grant.target is not None
    assert (grant.lane, grant.target.lane) == ("a", "t")


def test_nobody_serves_the_lane_of_the_new_address_meanwhile(world: World) -> None:
    id_ = change(world)
    behind = world.put("t")
    assert world.place("t") == 300_000
    [grant] = world.grants()
    assert grant.lane == "a"
    world.settle(grant, target=TargetEnd(StoredEntry('{"t":1}', ("c",)), '{"c":1}'))
    assert world.queue("t") == [behind]
    assert world.place("t") == "interactive"
    told = world.grant()
    assert (told.registry, told.consent, told.usable) == ('{"t":1}', '{"c":1}', True)
    assert world.intent(id_)["state"] == "done"


def test_a_change_is_granted_alone_and_with_what_the_other_lane_knows(world: World) -> None:
    world.put("t")
    world.settle(world.grant(), registry=StoredEntry("{1}", ("c",)), consent="{2}")
    change(world)
    world.put("a")
    grant = world.grant()
    assert len(grant.intents) == 1
    assert grant.target is not None
    assert (grant.target.registry, grant.target.consent, grant.target.usable) == ("{1}", "{2}", True)


def test_two_lanes_that_change_into_each_other_do_not_wait_for_each_other(world: World) -> None:
    first = change(world, "a", "t")
    second = change(world, "t", "a")
    order = []
    for _ in range(2):
        [grant] = world.grants()
        order.append(grant.head.id)
        world.settle(grant)
    assert order == [first, second]


def test_a_contact_that_left_is_to_be_read_by_the_lane_that_knew_it(world: World) -> None:
    world.put("a")
    world.settle(world.grant(), registry=StoredEntry("{1}", ("c",)))
    change(world)
    grant = world.grant()
    world.wait(7)
    world.settle(
        grant,
        registry=StoredEntry("{2}", ("c",)),
        left=(Left("c", "a", "t"),),
        target=TargetEnd(StoredEntry("{3}", ("c",)), None),
    )
    for lane in "at":
        world.put(lane)
    told = {grant.lane: grant for grant in world.grants()}
    assert told["a"].moved == {"c": world.now_ms}
    assert told["a"].outdated == {"c": world.now_ms}
    assert told["t"].moved == told["t"].outdated == {}


def test_a_change_that_is_buried_gives_its_place_up_and_leaves_a_pointer_where_nobody_is_known(
    world: World,
) -> None:
    change(world)
    behind = world.put("t")
    world.bury(world.grant(), target_pointer=StoredEntry('{"p":1}', ("c",)))
    assert world.queue("t") == [behind]
    assert world.place("t") == "interactive"
    grant = world.grant()
    assert grant.registry == '{"p":1}'
    world.settle(grant, registry=StoredEntry("{1}", ("d",)))
    change(world)
    world.bury(world.grant(), target_pointer=StoredEntry('{"p":2}', ("c",)))
    assert world.snapshot()["registry:t"] == "{1}"


def test_a_change_that_is_replayed_gets_a_new_marker_at_the_tail(world: World) -> None:
    id_ = change(world)
    world.bury(world.grant())
    behind = world.put("t")
    assert world.replay(id_).word == "accepted"
    assert world.queue("t") == [behind, "~" + id_]


def test_a_change_that_is_withdrawn_gives_its_place_up(world: World) -> None:
    id_ = change(world)
    behind = world.put("t", bulk=1)
    assert world.withdraw(id_) == "ok"
    assert world.queue("t") == [behind]
    assert world.place("t") == "bulk"


def test_a_lane_that_waits_for_the_marker_goes_on_when_the_marker_leaves(world: World) -> None:
    first = world.put("t")
    change(world)
    second = change(world, "b", "t")
    world.grants()
    assert world.lane("b")["waits"] == "l:t"
    world.withdraw(world.queue("a")[0])
    assert world.queue("t") == [first, "~" + second]
    assert world.lane("b")["waits"] == "l:t"


def test_a_lease_does_not_go_on_past_a_marker(world: World) -> None:
    world.put("t")
    change(world)
    [grant] = world.grants()
    assert world.settle(grant, more=1).word == "left"
    assert world.place("a") == "interactive"
