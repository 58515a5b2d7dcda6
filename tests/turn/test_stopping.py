"""A worker that is asked to stop: the wish at hand is ended or handed back, and no other is begun."""

from __future__ import annotations

from dataclasses import replace

import pytest
from onelane.identity import lane_id
from onelane_worker.stopping import Stop
from onelane_worker.turn import serve

from onelane import LeadCapture, NewsletterOptIn
from onelane_worker.planner import operations as op
from onelane_worker.planner.policy import Policy

from .world import World

ANN = "ann@example.test"
LANE = lane_id(ANN)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stop(world: World, clock: Clock) -> Stop:
    """The stop of the world's worker, not asked for yet; its wishes are not folded."""
    stop = Stop(10, clock)
    world.deps = replace(world.deps, stop=stop, policy=Policy(fold_max=1))
    return stop


def serve_one_turn(world: World) -> None:
    turn = world.broker.turns.pop(0)
    serve(world.deps, turn.lane, turn.queue, turn.seq, world.seen)


def another_worker(world: World) -> None:
    world.deps = replace(world.deps, stop=Stop())
    world.gateway.on_record = lambda operation: None
    world.gateway.after = lambda operation, reply: reply


def test_the_wish_at_hand_is_ended_and_no_other_begun(world: World, stop: Stop) -> None:
    receipts = world.enqueue(*(LeadCapture(email=ANN, name=f"N{n}") for n in range(3)))
    world.gateway.on_record = lambda operation: stop.ask()

    serve_one_turn(world)

    assert [world.outcome(receipt) is not None for receipt in receipts] == [True, False, False]
    view = world.store.describe(LANE)
    assert (view.holder, view.dirty) == (None, False)
    assert [turn.head for turn in world.broker.turns] == [receipts[1].id]

    another_worker(world)
    world.run()
    assert world.contacts(ANN)[0]["name"] == "N2"


def test_a_wish_that_takes_too_long_is_handed_back(world: World, stop: Stop, clock: Clock) -> None:
    [receipt] = world.enqueue(LeadCapture(email=ANN, name="Ann"))

    def found(operation: op.Operation, reply: op.Reply) -> op.Reply:
        stop.ask()
        clock.now += 10
        return reply

    world.gateway.after = found
    serve_one_turn(world)

    assert world.calls() == ["Search"]
    status = world.queue.status(receipt.id)
    assert status is not None
    assert (status.state, status.attempts, status.error) == ("retrying", 0, None)
    assert world.store.describe(LANE).holder is None
    assert world.seen.events[-1][0] == "put_back"

    another_worker(world)
    world.run_until(lambda: world.outcome(receipt) is not None)
    assert [contact["name"] for contact in world.contacts(ANN)] == ["Ann"]


def test_what_was_written_before_it_was_handed_back_is_not_written_again(
    world: World, stop: Stop, clock: Clock
) -> None:
    [receipt] = world.enqueue(NewsletterOptIn(email=ANN, name="Ann", subscription_types=("102",)))

    def created(operation: op.Operation, reply: op.Reply) -> op.Reply:
        if isinstance(operation, op.Create):
            stop.ask()
            clock.now += 10
        return reply

    world.gateway.after = created
    serve_one_turn(world)
    assert "Create" in world.calls()
    assert world.outcome(receipt) is None

    another_worker(world)
    world.run_until(lambda: world.outcome(receipt) is not None)

    assert "Create" not in world.calls()
    [contact] = world.contacts(ANN)
    assert [choice["id"] for choice in contact["subscriptions"]] == ["102"]


def test_within_the_grace_period_it_goes_on(clock: Clock) -> None:
    stop = Stop(10, clock)
    assert not stop.asked
    stop.ask()
    clock.now = 9.9
    assert (stop.asked, stop.overdue) == (True, False)
    stop.ask()
    clock.now = 10
    assert stop.overdue
