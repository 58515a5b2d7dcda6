"""Blocked lanes are looked at without an event, too; how often that was so is counted."""

from __future__ import annotations

from .world import World

BLOCKED_MS = 300_000


def test_the_timer_looks_at_a_blocked_lane_in_the_end_and_counts_it(world: World) -> None:
    world.put("t")
    world.grant()
    world.put("a", target="t")
    assert world.grants() == ()  # the change waits for what stands before its marker
    assert world.counter("backstops") == 0

    world.wait(BLOCKED_MS + 1)
    world.tick()

    assert world.place("a") == "interactive"
    assert world.counter("backstops") == 1


def test_only_those_behind_the_first_in_line_for_an_external_id_count(world: World) -> None:
    """The first looks when the lock ends by itself: that is no event that was missed."""
    world.put("a", ext="e")
    held = world.grant()
    world.checkpoint(held)
    for lane in ("b", "c"):
        world.put(lane, ext="e")
        assert world.grants() == ()

    world.die(held)
    world.wait(BLOCKED_MS + 1)
    world.tick()
    assert world.counter("backstops") == 1
