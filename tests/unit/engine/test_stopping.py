"""An engine that is asked to stop: what is at work is ended or handed back, and nothing else is begun."""

from __future__ import annotations

from typing import Any

import pytest
from tests.world.workers import Knobs
from tests.world.world import World

from onelane import LeadCapture, NewsletterOptIn
from onelane_worker.planner import operations as op
from onelane_worker.planner.policy import Policy

ANN = "ann@example.test"


@pytest.fixture
def world(make_world: Any) -> World:
    """Its intents are not folded."""
    made: World = make_world(knobs=Knobs(policy=Policy(fold_max=1), grace_s=5))
    return made


def ends(world: World, within_s: float = 60.0) -> float:
    """Until its engine has ended."""
    [worker] = world.workers
    took_s = world.until(worker.task.done, within_s)
    worker.task.result()
    return took_s


def test_what_is_at_work_is_ended_and_nothing_else_begun(world: World) -> None:
    receipts = world.enqueue(*(LeadCapture(email=ANN, name=f"N{n}") for n in range(3)))
    world.when(op.Create, world.workers[0].stop)
    ends(world)
    assert [world.outcome(receipt) is not None for receipt in receipts] == [True, False, False]
    assert {"token", "dirty"}.isdisjoint(world.lane(ANN))
    world.hire()
    world.rest(within_s=5)
    assert world.contacts(ANN)[0]["name"] == "N2"


def test_what_takes_longer_than_the_grace_is_handed_back(world: World) -> None:
    world.fault("intercom", op.Search, "slow")
    [receipt] = world.enqueue(LeadCapture(email=ANN, name="Ann"))
    world.when(op.Search, world.workers[0].stop)
    assert ends(world) < 20
    assert world.calls() == ["Search"]
    status = world.status(receipt)
    assert (status.state, status.attempts, status.error) == ("retrying", 0, None)
    assert "token" not in world.lane(ANN)
    world.hire()
    world.rest(within_s=5)
    assert [contact["name"] for contact in world.contacts(ANN)] == ["Ann"]


def test_what_was_written_before_it_was_handed_back_is_not_written_again(world: World) -> None:
    world.fault("intercom", op.Create, "slow")
    [receipt] = world.enqueue(NewsletterOptIn(email=ANN, name="Ann", subscription_types=("102",)))
    world.when(op.Create, world.workers[0].stop)
    ends(world)
    assert "Create" in world.calls()
    assert world.outcome(receipt) is None
    world.hire()
    world.rest(within_s=5)
    assert "Create" not in world.calls()
    [contact] = world.contacts(ANN)
    assert [choice["id"] for choice in contact["subscriptions"]] == ["102"]


def test_an_idle_engine_ends_at_once(world: World) -> None:
    world.run(5)
    world.workers[0].stop()
    assert ends(world) < 0.1


def test_an_engine_ends_though_redis_is_away(world: World) -> None:
    world.run(5)
    world.link.away_until_s = world.now + 1_000
    world.run(5)
    world.workers[0].stop()
    assert ends(world) < 60
