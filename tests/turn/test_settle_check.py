"""The settle check: whom somebody else made beside our lead, unseen, is found when the index shows them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from onelane.identity import lane_id
from redis import Redis
from tests.lanes.laws import check_laws, check_nothing_empty

from onelane import ContactErasure, LeadCapture, NewsletterOptIn, Outcome, ProductSignUp, keyspace
from onelane_worker.planner import operations as op
from onelane_worker.planner.policy import Policy

from .world import World

ANN = "ann@example.test"
LANE = lane_id(ANN)
WINDOW_MS = 40


@pytest.fixture
def world(redis: Redis) -> Iterator[World]:
    world = World(
        redis, policy=Policy(settle_check=True, settle_window_ms=WINDOW_MS, registry_ttl_ms=900_000)
    )
    yield world
    world.close()


def owed(world: World) -> bool:
    return bool(world.redis.hexists(keyspace.lane(LANE), "check_at"))


def laws(world: World) -> None:
    seconds, micros = world.redis.time()  # type: ignore[misc]
    check_laws(world.redis, int(seconds) * 1000 + int(micros) // 1000)
    check_nothing_empty(world.redis)


def checked(world: World) -> list[Outcome]:
    """Wait for the check; the outcomes of all that ended."""
    world.seen.events.clear()
    world.run_until(lambda: bool(world.seen.events))
    laws(world)
    return [outcome for what, _, outcome in world.seen.events if what == "ended"]


def live(world: World) -> list[dict[str, Any]]:
    return [contact for contact in world.contacts(ANN) if not contact["merged_into"]]


def _in_real_time(world: World) -> World:
    """Intercom's clock is ours, as far as whole seconds tell; the window is long enough for that."""
    policy = replace(world.deps.policy, settle_window_ms=1_200)
    world.now, world.deps = time.time(), replace(world.deps, policy=policy)
    return world


class TestFinds:
    def test_user_made_unseen_gets_our_lead(self, world: World) -> None:
        world = _in_real_time(world)
        lead = world.do(LeadCapture(email=ANN, phone="+353871234567"))
        user = world.seed(role="user", email=ANN, external_id="u-1")
        world.sandbox.catch_up()
        [outcome] = checked(world)
        assert (outcome.contact_id, outcome.merged) == (user["id"], (lead.contact_id,))
        assert [(one["id"], one["phone"]) for one in live(world)] == [(user["id"], "+353871234567")]
        assert world.do(LeadCapture(email=ANN)).contact_id == user["id"]
        assert not owed(world)

    def test_another_lead_is_reported(self, world: World) -> None:
        lead = world.do(NewsletterOptIn(email=ANN))
        other = world.seed(role="lead", email=ANN)
        world.sandbox.catch_up()
        [outcome] = checked(world)
        assert {outcome.contact_id, *outcome.other_contacts} == {lead.contact_id, other["id"]}
        assert len(live(world)) == 2

    def test_nobody_else_costs_one_search(self, world: World) -> None:
        world.do(LeadCapture(email=ANN))
        world.calls()
        assert [outcome.result for outcome in checked(world)] == ["unchanged"]
        assert world.calls() == ["Search"]
        assert world.store.describe(LANE).intents == ()

    def test_guarded_create_owes_nothing(self, world: World) -> None:
        world.do(ProductSignUp(email=ANN, external_id="u-1"))
        assert not owed(world)
        world.do(LeadCapture(email=ANN))
        assert not owed(world)


class TestDisturbsNobody:
    def test_the_lane_is_empty_until_then_and_wakes_at_once(self, redis: Redis) -> None:
        world = World(redis, policy=Policy(settle_check=True))
        world.do(LeadCapture(email=ANN))
        laws(world)
        assert world.store.describe(LANE).intents == ()
        [receipt] = world.enqueue(LeadCapture(email=ANN, name="Ann"))
        world.run()
        assert world.outcome(receipt) is not None
        assert owed(world)
        laws(world)
        world.store.claim(LANE, "interactive", 0, "late")
        assert world.store.hand_out(keyspace.partition_of(LANE), 10, {}) == []
        laws(world)
        world.close()

    @pytest.mark.parametrize(
        "reply", [op.Unknown(op.Problem("server_error", 503)), op.Stopped(op.Problem("unauthorized", 401))]
    )
    def test_trouble_ends_it_for_now(self, world: World, reply: op.Reply) -> None:
        world.do(LeadCapture(email=ANN))
        world.gateway.before = lambda operation: reply
        world.calls()
        assert [(one.result, one.reason) for one in checked(world)] == [("skipped", "later")]
        assert world.calls() == ["Search"]
        assert owed(world)
        world.gateway.before = lambda operation: None
        world.run_until(lambda: not owed(world) and not world.store.describe(LANE).intents)
        assert world.calls()[-1:] == ["Search"]
        laws(world)

    def test_it_is_given_up_after_some_tries(self, world: World) -> None:
        world.do(LeadCapture(email=ANN))
        world.calls()
        world.gateway.before = lambda operation: op.NotSent(op.Problem("network"))
        world.run_until(lambda: not owed(world) and not world.store.describe(LANE).intents)
        assert set(world.calls()) == {"Search"}
        laws(world)

    def test_merge_whose_answer_is_lost(self, world: World) -> None:
        world = _in_real_time(world)
        world.do(LeadCapture(email=ANN))
        world.seed(role="user", email=ANN, external_id="u-1")
        world.sandbox.catch_up()
        lost: list[op.Reply] = [op.Unknown(op.Problem("timeout"))]
        world.gateway.after = lambda operation, reply: (
            lost.pop() if isinstance(operation, op.Merge) and lost else reply
        )
        world.run_until(lambda: not owed(world) and not world.store.describe(LANE).intents)
        assert [contact["role"] for contact in live(world)] == ["user"]
        laws(world)

    def test_erased_person_is_not_looked_for(self, world: World) -> None:
        world.do(LeadCapture(email=ANN))
        assert owed(world)
        world.do(ContactErasure(email=ANN))
        assert not owed(world)
        assert "ann@" not in str(world.redis.hgetall(keyspace.lane(LANE)))
