"""The breaker: an outage stops the line, burns nothing, and ends with every lane served in its order."""

from __future__ import annotations

from dataclasses import replace

from redis import Redis

from onelane import LeadCapture
from onelane_worker.planner import operations as op

from .world import TIMING, World

DOWN = op.NotSent(op.Problem("network"))
REFUSED = op.Stopped(op.Problem("unauthorized", 401))
PEOPLE = [f"person{n}@example.test" for n in range(6)]


def outage(world: World, reply: op.Reply) -> None:
    world.gateway.before = lambda operation: reply


def cured(world: World) -> None:
    world.gateway.before = lambda operation: None


class TestOpening:
    def test_a_refused_token_stops_the_line_at_once(self, world: World) -> None:
        outage(world, REFUSED)
        world.enqueue(LeadCapture(email=PEOPLE[0]))
        world.run()
        assert world.deps.breaker.look().word in ("open", "trial")

    def test_failures_of_one_lane_are_not_everybodys(self, world: World) -> None:
        outage(world, DOWN)
        world.enqueue(LeadCapture(email=PEOPLE[0]))
        for _ in range(8):
            world.run()
            world.tick()
        assert world.deps.breaker.look().word == "closed"

    def test_failures_in_a_row_on_several_lanes_stop_the_line(self, world: World) -> None:
        outage(world, DOWN)
        world.enqueue(*[LeadCapture(email=email) for email in PEOPLE])
        world.run()
        assert world.deps.breaker.look().word in ("open", "trial")

    def test_a_success_between_failures_breaks_the_row(self, world: World) -> None:
        outage(world, DOWN)
        world.enqueue(*[LeadCapture(email=email) for email in PEOPLE[:4]])
        world.run()
        cured(world)
        world.do(LeadCapture(email="lucky@example.test"))
        outage(world, DOWN)
        world.enqueue(LeadCapture(email="later@example.test"))
        world.run()
        assert world.deps.breaker.look().word == "closed"


class TestWhileOpen:
    def test_only_trials_call(self, redis: Redis) -> None:
        world = World(redis, breaker_pause_ms=60_000)
        outage(world, REFUSED)
        world.enqueue(LeadCapture(email=PEOPLE[0]))
        world.run()
        world.calls()
        world.enqueue(*[LeadCapture(email=email) for email in PEOPLE[1:]])
        world.run()
        assert world.calls() == []
        world.close()

    def test_outage_burns_no_attempts_and_makes_no_dead_letters(self, redis: Redis) -> None:
        world = World(redis, timing=replace(TIMING, max_attempts=2))
        outage(world, DOWN)
        receipts = world.enqueue(*[LeadCapture(email=email, name="Ann") for email in PEOPLE])
        for _ in range(60):
            world.run()
            world.tick()
        cured(world)
        world.run_until(lambda: all(world.outcome(receipt) for receipt in receipts))
        outcomes = [world.outcome(receipt) for receipt in receipts]
        assert {outcome.result for outcome in outcomes if outcome} == {"created"}
        assert world.deps.breaker.look().word == "closed"
        world.close()

    def test_a_single_lane_survives_an_outage_too(self, redis: Redis) -> None:
        world = World(redis, timing=replace(TIMING, max_attempts=2))
        outage(world, DOWN)
        [receipt] = world.enqueue(LeadCapture(email=PEOPLE[0], name="Ann"))
        for _ in range(50):
            world.run()
            world.tick()
        cured(world)
        world.run_until(lambda: world.outcome(receipt) is not None)
        outcome = world.outcome(receipt)
        assert outcome is not None
        assert outcome.result == "created"
        world.close()

    def test_its_attempts_are_not_held_against_an_intent(self, redis: Redis) -> None:
        world = World(redis, timing=replace(TIMING, max_attempts=3))
        outage(world, DOWN)
        [receipt] = world.enqueue(LeadCapture(email=PEOPLE[0], name="Ann"))
        world.run_until(lambda: world.queue.status(receipt.id).state == "parked")  # type: ignore[union-attr]
        left = [DOWN]  # one ordinary failure more, which is nobody's outage
        world.gateway.before = lambda operation: (
            left.pop() if left and not isinstance(operation, op.Probe) else None
        )
        world.run_until(lambda: world.outcome(receipt) is not None)
        outcome = world.outcome(receipt)
        assert outcome is not None
        assert (outcome.result, left) == ("created", [])
        world.close()

    def test_parked_intents_say_so(self, world: World) -> None:
        outage(world, REFUSED)
        [receipt] = world.enqueue(LeadCapture(email=PEOPLE[0]))
        world.run()
        status = world.queue.status(receipt.id)
        assert status is not None
        assert (status.state, status.attempts) == ("parked", 0)


class TestByHand:
    def test_pause_stops_and_resume_starts(self, world: World) -> None:
        world.deps.breaker.pause("upgrade")
        [receipt] = world.enqueue(LeadCapture(email=PEOPLE[0]))
        world.run()
        assert world.calls() == []
        assert world.deps.breaker.look().problem == "upgrade"
        assert world.deps.breaker.resume()
        world.run_until(lambda: world.outcome(receipt) is not None)

    def test_no_success_ends_a_pause(self, world: World) -> None:
        world.deps.breaker.pause("upgrade")
        world.deps.breaker.tell("lane", op.Create({}), op.Done(), "", world.deps.breaker.look())
        assert world.deps.breaker.look().word == "paused"

    def test_resuming_what_runs_says_so(self, world: World) -> None:
        assert not world.deps.breaker.resume()
