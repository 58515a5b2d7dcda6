"""The circuit breaker: an outage stops the line, costs nobody an attempt, and ends by probes."""

from __future__ import annotations

from collections.abc import Callable

from tests.world.workers import Knobs
from tests.world.world import World

from onelane import LeadCapture
from onelane_worker.engine.lane import Timing
from onelane_worker.planner import operations as op

PEOPLE = [f"person{n}@example.test" for n in range(6)]
MakeWorld = Callable[..., World]
FEW = Knobs(timing=Timing(max_attempts=2))


def state(world: World) -> str:
    return world.hash("breaker").get("state", "closed")


def everybody(world: World, count: int = 6) -> None:
    world.enqueue(*(LeadCapture(email=email, name="Ann") for email in PEOPLE[:count]))


class TestOpening:
    def test_a_refused_token_stops_the_line_at_once(self, world: World) -> None:
        world.sandbox.add_fault("unauthorized", times=None)
        everybody(world, 1)
        world.run(1)
        assert state(world) == "open"

    def test_failures_of_one_lane_are_not_everybodys(self, world: World) -> None:
        world.intercom.outage = "all"
        everybody(world, 1)
        world.run(30)
        assert state(world) == "closed"

    def test_failures_in_a_row_on_several_lanes_stop_the_line(self, world: World) -> None:
        world.intercom.outage = "all"
        everybody(world)
        world.run(30)
        assert state(world) == "open"

    def test_a_success_between_failures_breaks_the_row(self, world: World) -> None:
        world.fault("intercom", op.Search, "not_sent", times=4)
        everybody(world, 4)
        world.until(lambda: len(world.seen.events) >= 4)
        world.rest()
        world.fault("intercom", op.Search, "not_sent", times=1)
        world.enqueue(LeadCapture(email="later@example.test"))
        world.run(0.5)
        assert state(world) == "closed"


class TestWhileOpen:
    def test_only_probes_call(self, world: World) -> None:
        world.intercom.outage = "all"
        everybody(world)
        world.until(lambda: state(world) == "open")
        world.run(60)
        world.calls()
        world.enqueue(LeadCapture(email="new@example.test"))
        world.run(300)
        asked = world.intercom.log.refused[-15:]
        assert {type(one).__name__ for one in asked} == {"Probe"}

    def test_probes_come_ever_later_up_to_fifteen_seconds(self, world: World) -> None:
        world.intercom.outage = "all"
        everybody(world)
        world.until(lambda: state(world) == "open")
        before = len(world.intercom.log.refused)
        world.run(31)
        first = len(world.intercom.log.refused) - before
        world.run(300)
        assert 4 <= first <= 6  # after 1, 2, 4, 8 and 15 s
        assert 300 / 15 - 2 <= len(world.intercom.log.refused) - before - first <= 300 / 15 + 2

    def test_a_short_outage_is_over_within_seconds(self, world: World) -> None:
        world.intercom.outage = "all"
        everybody(world)
        world.until(lambda: state(world) == "open")
        world.intercom.outage = None
        assert world.rest() < 8
        assert state(world) == "closed"

    def test_it_burns_no_attempts_and_makes_no_dead_letters(self, make_world: MakeWorld) -> None:
        world = make_world(knobs=FEW)
        world.intercom.outage = "all"
        everybody(world)
        world.run(3_600)
        world.intercom.outage = None
        world.rest()
        assert {world.outcome(one).result for one in world.accepted} == {"created"}  # type: ignore[union-attr]
        assert state(world) == "closed"

    def test_a_single_lane_survives_an_outage_too(self, make_world: MakeWorld) -> None:
        """Too few fail for the breaker: before it is buried, a probe finds out that no call gets through."""
        world = make_world(knobs=FEW)
        world.intercom.outage = "all"
        everybody(world, 1)
        world.run(3_600)
        world.intercom.outage = None
        world.rest()
        assert {world.outcome(one).result for one in world.accepted} == {"created"}  # type: ignore[union-attr]

    def test_parked_intents_say_so(self, world: World) -> None:
        world.sandbox.add_fault("unauthorized", times=None)
        everybody(world, 1)
        world.run(3)
        [receipt] = world.accepted
        assert (world.status(receipt).state, world.status(receipt).attempts) == ("parked", 0)


class TestHalfOpen:
    def test_one_lane_at_a_time_until_a_write_is_answered(self, make_world: MakeWorld) -> None:
        """Reads and probes work, writes do not: each time one lane finds out, and no other."""
        world = make_world(knobs=Knobs(timing=Timing(max_attempts=20)))
        world.intercom.outage = "all"
        everybody(world)
        world.until(lambda: state(world) == "open")
        world.intercom.outage = "writes"
        world.calls()
        world.run(120)
        assert world.calls().count("Create") <= 10
        world.intercom.outage = None
        world.rest()
        assert state(world) == "closed"


class TestByHand:
    def test_pause_stops_and_resume_starts(self, world: World) -> None:
        world.call(lambda store: store.breaker("pause", problem="upgrade"))
        everybody(world, 1)
        world.run(60)
        assert (world.calls(), state(world)) == ([], "paused")
        world.call(lambda store: store.breaker("resume"))
        world.rest(within_s=10)

    def test_no_success_ends_a_pause(self, world: World) -> None:
        world.when(op.Search, lambda: world.begin(lambda store: store.breaker("pause", problem="x")))
        everybody(world, 1)
        world.run(60)
        assert state(world) == "paused"

    def test_resuming_what_runs_says_so(self, world: World) -> None:
        assert not world.call(lambda store: store.breaker("resume")).changed
