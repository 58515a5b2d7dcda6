"""A server that may have lost a moment: a hold, facts not believed, and a miss that proves nothing."""

from __future__ import annotations

from typing import Any

import pytest
from tests.world.workers import Knobs
from tests.world.world import World

from onelane import LeadCapture, ProductSignUp
from onelane_worker.lanes.types import LaneSettings
from onelane_worker.planner import operations as op

ANN = "ann@example.test"
HOLD_S = 31


def fail_over(world: World, lost_s: float = 0.0) -> None:
    """Another server takes over, without what was written in the last `lost_s`."""
    snapshot = world.redis.snapshot()
    world.run(lost_s)
    world.fail_over(snapshot)


def test_nothing_is_granted_for_a_hold(world: World) -> None:
    fail_over(world)
    [receipt] = world.enqueue(LeadCapture(email=ANN))
    world.run(HOLD_S - 1)
    assert (world.calls(), world.status(receipt).attempts) == ([], 0)


def test_resume_now_ends_it(world: World) -> None:
    fail_over(world)
    world.enqueue(ProductSignUp(email=ANN, external_id="u-1"))
    world.run(5)
    world.call(lambda store: store.breaker("resume", now=True))
    assert world.rest() < 3


def test_a_durable_redis_needs_none(make_world: Any) -> None:
    world = make_world(knobs=Knobs(lanes=LaneSettings(failover_hold_ms=0)))
    fail_over(world)
    world.enqueue(ProductSignUp(email=ANN, external_id="u-1"))
    assert world.rest() < 3


def test_facts_from_before_are_not_believed(world: World) -> None:
    world.do(LeadCapture(email=ANN, name="Ann"))
    fail_over(world)
    world.calls()
    assert world.do(LeadCapture(email=ANN, name="Ann")).result == "updated"
    assert world.calls() == ["Update"]


def test_a_lead_is_not_created_on_a_first_miss(world: World) -> None:
    fail_over(world)
    [receipt] = world.enqueue(LeadCapture(email=ANN))
    world.run(HOLD_S + 5)
    assert (world.status(receipt).state, world.contacts(ANN)) == ("reconciling", [])


def test_a_user_with_an_external_id_need_not_wait(world: World) -> None:
    fail_over(world)
    began = world.now
    assert world.do(ProductSignUp(email=ANN, external_id="u-1")).result == "created"
    assert world.now - began < HOLD_S + 5


def test_a_create_whose_record_was_lost_makes_no_second_lead(world: World) -> None:
    """Redis lost grant, journal and end; Intercom has the lead, and its index does not show it yet."""
    world.enqueue(LeadCapture(email=ANN, name="Ann"))
    fail_over(world, lost_s=2)
    assert len(world.contacts(ANN)) == 1
    world.run(300)
    world.catch_up()
    world.rest()
    assert len(world.contacts(ANN)) == 1


def test_an_engine_whose_grant_was_lost_writes_nothing_more(world: World) -> None:
    snapshot = world.redis.snapshot()
    world.when(op.Search, lambda: world.fail_over(snapshot))
    world.enqueue(LeadCapture(email=ANN, name="Ann"))
    world.run(5)
    assert world.calls() == ["Search"]


def test_a_holder_that_slept_past_its_lease_writes_nothing_although_the_new_server_knows_it(
    world: World,
) -> None:
    """While it slept another engine had the lane and wrote, and the server that knew of that was lost."""
    sleeps_s, before = 13.0, list[Any]()
    began = world.now

    def falls_asleep() -> None:
        before.append(world.redis.snapshot())
        world.freeze(world.workers[0].process, sleeps_s)

    world.when(op.Search, falls_asleep)
    world.fault("intercom", op.Search, "slow")  # it ticks before it reads the answer
    world.enqueue(LeadCapture(email=ANN, name="Ann"))
    world.run(1)
    world.hire()
    world.run(began + sleeps_s - 0.05 - world.now)
    assert len(world.contacts(ANN)) == 1
    world.fail_over(before[0])
    world.run(300)
    world.catch_up()
    world.rest()
    assert len(world.contacts(ANN)) == 1


def test_nobody_is_charged_for_it(world: World) -> None:
    """The intent's own engine is away for long, and a new server says so: no kill."""
    world.fault("redis", "settle", "freeze_before", delay_s=120)
    [receipt] = world.enqueue(ProductSignUp(email=ANN, external_id="u-1"))
    world.run(1)
    world.hire()
    fail_over(world)
    world.ended(receipt)
    assert int(world.hash("intent", receipt.id).get("kills", 0)) == 0


@pytest.mark.parametrize("workers", [1, 3])
def test_an_emptied_redis_is_an_epoch_too(make_world: Any, workers: int) -> None:
    world = make_world(workers=workers)
    world.do(LeadCapture(email=ANN, name="Ann"))
    world.fail_over()
    world.accepted.clear()
    world.run(3)
    began = world.now
    world.enqueue(LeadCapture(email=ANN, name="Anna"))
    world.run(60)
    world.catch_up()
    world.rest()
    assert world.now - began > HOLD_S - 5
    assert [contact["name"] for contact in world.contacts(ANN)] == ["Anna"]
