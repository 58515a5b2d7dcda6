"""The settle check: what another writer made beside a lead of ours, while the index hid it."""

from __future__ import annotations

from typing import Any

import pytest
from tests.world.world import World

from onelane import ContactErasure, LeadCapture, NewsletterOptIn, Outcome, ProductSignUp
from onelane_worker.planner import operations as op

ANN = "ann@example.test"


@pytest.fixture
def seeing(make_world: Any) -> World:
    """The index shows everything two minutes later."""
    made: World = make_world(lag_s=120.0)
    return made


def owed(world: World) -> bool:
    return "check" in world.lane(ANN)


def checked(world: World) -> Outcome:
    """Go on until the check has ended; its outcome."""
    world.until(lambda: checks(world))
    [outcome] = checks(world)
    return outcome


def checks(world: World) -> list[Outcome]:
    """The outcomes of all checks so far."""
    records = world.family("intent").values()
    told = [one["outcome"] for one in records if one["kind"] == "settle_check" and "outcome" in one]
    return [Outcome.model_validate_json(one) for one in told]


class TestFinds:
    def test_a_user_gets_our_lead(self, seeing: World) -> None:
        world = seeing
        lead = world.do(LeadCapture(email=ANN, phone="+353871234567"))
        user = world.seed(role="user", email=ANN, external_id="u-1")
        outcome = checked(world)
        assert (outcome.contact_id, outcome.merged) == (user["id"], (lead.contact_id,))
        assert [(one["id"], one["phone"]) for one in world.contacts(ANN)] == [(user["id"], "+353871234567")]
        assert world.do(LeadCapture(email=ANN)).contact_id == user["id"]
        assert not owed(world)

    def test_another_lead_is_reported(self, seeing: World) -> None:
        world = seeing
        lead = world.do(NewsletterOptIn(email=ANN))
        other = world.seed(role="lead", email=ANN)
        outcome = checked(world)
        assert {outcome.contact_id, *outcome.other_contacts} == {lead.contact_id, other["id"]}
        assert len(world.contacts(ANN)) == 2

    def test_nobody_else_costs_one_search(self, world: World) -> None:
        world.do(LeadCapture(email=ANN))
        world.calls()
        assert checked(world).result == "unchanged"
        assert world.calls() == ["Search"]

    def test_a_create_with_an_external_id_owes_nothing(self, world: World) -> None:
        world.do(ProductSignUp(email=ANN, external_id="u-1"))
        assert not owed(world)
        world.do(LeadCapture(email=ANN))
        assert not owed(world)


class TestDisturbsNobody:
    def test_who_comes_meanwhile_is_served_at_once(self, world: World) -> None:
        world.do(LeadCapture(email=ANN))
        world.run(60)
        began = world.now
        world.do(LeadCapture(email=ANN, name="Ann"))
        assert world.now - began < 1
        assert owed(world)

    @pytest.mark.parametrize("fault", ["not_sent", "error_before", "throttled"])
    def test_trouble_ends_it_for_now(self, world: World, fault: str) -> None:
        world.do(LeadCapture(email=ANN))
        world.fault("intercom", op.Search, fault)
        world.calls()
        outcome = checked(world)
        assert (outcome.result, outcome.reason) == ("skipped", "later")
        assert owed(world)
        world.calls()
        world.until(lambda: not owed(world))
        world.run(5)
        assert "Search" in world.calls()

    def test_it_is_given_up_after_some_tries(self, world: World) -> None:
        world.do(LeadCapture(email=ANN))
        world.calls()
        world.fault("intercom", op.Search, "not_sent", times=1_000)
        lane = world.workspace.lane(ANN)
        world.until(lambda: not owed(world) and lane not in world.family("queue"), 864_000)
        assert set(world.calls()) <= {"Search", "Probe"}

    def test_a_merge_whose_answer_is_lost(self, seeing: World) -> None:
        world = seeing
        world.do(LeadCapture(email=ANN))
        world.seed(role="user", email=ANN, external_id="u-1")
        world.fault("intercom", op.Merge, "unanswered")
        world.run(3_600)
        assert not owed(world)
        assert [contact["role"] for contact in world.contacts(ANN)] == ["user"]

    def test_an_erased_person_is_not_looked_for(self, world: World) -> None:
        world.do(LeadCapture(email=ANN))
        assert owed(world)
        world.do(ContactErasure(email=ANN))
        assert not owed(world)
        assert "ann@" not in str(world.lane(ANN))

    def test_its_engine_dies(self, seeing: World) -> None:
        world = seeing
        world.do(LeadCapture(email=ANN))
        user = world.seed(role="user", email=ANN, external_id="u-1")
        world.fault("intercom", op.Merge, "crash_before")
        world.until(lambda: not world.workers[0].process.alive)
        world.hire()
        world.run(60)
        assert [contact["id"] for contact in world.contacts(ANN)] == [user["id"]]
        assert not owed(world)
