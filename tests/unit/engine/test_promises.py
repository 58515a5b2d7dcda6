"""What no other test of the engine says: dead workers, lost messages, poison, order, and discretion."""

from __future__ import annotations

from typing import Any

import pytest
import structlog
from tests.world.workers import Knobs
from tests.world.world import World

from onelane import ContactSync, EmailChange, LeadCapture, ProductSignUp
from onelane_worker.planner import operations as op

ANN, BOB = "ann@example.test", "bob@example.test"


class TestDeadWorker:
    """kill -9."""

    def test_another_one_goes_on_within_a_lease_and_some_seconds(self, world: World) -> None:
        world.fault("intercom", op.Search, "crash_before")
        world.enqueue(LeadCapture(email=ANN, name="Ann"))
        world.until(lambda: not world.workers[0].process.alive)
        world.hire()
        assert world.rest() <= world.knobs.timing.lease_s + 4

    def test_with_a_write_in_flight_when_that_can_no_longer_commit(self, world: World) -> None:
        world.do(LeadCapture(email=ANN, name="Ann"))
        world.fault("intercom", op.Update, "crash_in_flight")
        world.enqueue(LeadCapture(email=ANN, name="Anna"))
        world.until(lambda: not world.workers[0].process.alive)
        world.hire()
        commit_s = world.knobs.timing.commit_s
        assert commit_s - 1 <= world.rest() <= commit_s + 3
        assert [contact["name"] for contact in world.contacts(ANN)] == ["Anna"]

    def test_a_fold_whose_holder_died_goes_together_again(self, world: World) -> None:
        """Its head alone would write the older name over the newer one, which support has seen already."""
        world.do(LeadCapture(email=ANN, name="Ann"))
        world.fault("redis", "settle", "crash_before")
        world.enqueue(LeadCapture(email=ANN, name="Anna"), LeadCapture(email=ANN, name="Anne"))
        world.run(1)
        world.hire()
        world.rest()
        updates = [call for call in world.intercom.log.calls if isinstance(call, op.Update)]
        assert [call.body["name"] for call in updates] == ["Anne", "Anne"]


class TestWakeUps:
    def test_a_lost_one_costs_seconds(self, world: World) -> None:
        world.run(10)
        world.fault("wake", "wake", "lost")
        world.enqueue(LeadCapture(email=ANN))
        assert world.rest() < 4

    def test_doubled_and_late_ones_change_nothing(self, world: World) -> None:
        world.fault("wake", "wake", "doubled_late", times=9, delay_s=3)
        receipts = world.enqueue(*(LeadCapture(email=ANN, name=f"N{n}") for n in range(3)))
        receipts += world.enqueue(EmailChange(email=ANN, new_email=BOB))
        world.run(30)
        ended = [row.id for what, row, _ in world.seen.events if what == "ended"]
        assert ended == [receipt.id for receipt in receipts]
        assert [contact["name"] for contact in world.contacts(BOB)] == ["N2"]

    def test_their_number_is_bounded(self, make_world: Any) -> None:
        world = make_world(workers=0)
        world.enqueue(*(LeadCapture(email=f"p{n}@example.test") for n in range(200)))
        assert world.broker.sent == 64


class TestOrder:
    def test_intents_of_a_lane_end_in_their_order(self, make_world: Any) -> None:
        from onelane_worker.planner.policy import Policy

        world = make_world(workers=3, knobs=Knobs(policy=Policy(fold_max=1)))
        receipts = world.enqueue(*(LeadCapture(email=ANN, name=f"N{n}") for n in range(20)))
        world.rest()
        world.run(1)
        ended = [row.id for what, row, _ in world.seen.events if what == "ended"]
        assert ended == [receipt.id for receipt in receipts]

    def test_a_lane_that_waits_holds_no_other(self, world: World) -> None:
        world.fault("intercom", op.Create, "committed_late")
        world.enqueue(LeadCapture(email=ANN))
        world.run(1)
        began = world.now
        world.do(LeadCapture(email=BOB))
        assert world.now - began < 2


def test_a_user_made_by_another_writer_gets_our_lead_a_settle_window_later(make_world: Any) -> None:
    world = make_world(lag_s=120.0)
    user = world.seed(role="user", email=ANN, external_id="u-1")
    assert world.do(LeadCapture(email=ANN, name="Ann")).result == "created"
    world.run(world.knobs.policy.settle_window_ms / 1000 + 60)
    assert [(one["id"], one["name"]) for one in world.contacts(ANN)] == [(user["id"], "Ann")]


def is_poison(operation: object) -> bool:
    return isinstance(operation, op.Search) and ANN in operation.emails


class TestPoison:
    def test_what_kills_its_engine_again_and_again_is_a_dead_letter(self, world: World) -> None:
        """And nobody else: neither its lane-mate nor another lane of the same process."""
        poison, mate = world.enqueue(
            LeadCapture(email=ANN, name="Poison"), LeadCapture(email=ANN, name="Ann")
        )
        [other] = world.enqueue(LeadCapture(email=BOB))
        for _ in range(world.knobs.timing.max_kills):
            world.fault("intercom", is_poison, "crash_before")
            world.after_death()
        results = [world.ended(one).result for one in (poison, mate, other)]
        assert results == ["rejected", "created", "created"]
        assert world.ended(poison).reason == "killed_worker"
        assert [contact["name"] for contact in world.contacts(ANN)] == ["Ann"]

    def test_an_engine_that_stands_still_for_long_is_not_a_kill_twice(self, world: World) -> None:
        world.fault("intercom", op.Search, "freeze_in_flight", delay_s=60)
        [receipt] = world.enqueue(LeadCapture(email=ANN))
        world.run(1)
        world.hire()
        assert world.ended(receipt).result == "created"
        world.run(120)
        assert len(world.contacts(ANN)) == 1


@pytest.mark.parametrize("fault", ["unanswered", "crash_after"])
def test_no_address_is_seen_outside(world: World, fault: str) -> None:
    """In keys, log lines, what Flower is told, and the timeline."""
    world.seed(role="user", email=ANN, external_id="u-1")
    world.fault("intercom", op.Update, fault)
    with structlog.testing.capture_logs() as lines:
        world.enqueue(
            ProductSignUp(email=ANN, external_id="u-1", dedupe_key=ANN),
            ContactSync(email=ANN, external_id="u-1", name="Ann"),
            LeadCapture(email=ANN, custom_attributes={"unknown": ANN}),
        )
        world.run(5)
        world.hire()
        world.rest()
    timeline = world.workspace.keys.key("timeline", world.workspace.lane(ANN))
    told = world.redis.execute("LRANGE", timeline, 0, -1)
    outside = [*world.redis.all_keys(), *map(str, lines), *map(repr, world.seen.events), *told]
    assert world.workspace.lane(ANN) in str(outside)
    assert [text for text in outside if "ann@" in text.lower()] == []
