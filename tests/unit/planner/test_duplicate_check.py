"""A duplicate check (`onelane repair`): an operator's word to merge the leads of an address into its user."""

from __future__ import annotations

import pytest

from onelane.errors import InvalidIntent
from onelane.intents import DuplicateCheck, parse_intent
from onelane_worker.planner.policy import Policy

from .play import ANN, World


def check(*contact_ids: str) -> DuplicateCheck:
    return DuplicateCheck(email=ANN, contact_ids=contact_ids)


@pytest.mark.parametrize("policy", ["own", "all", "off"])
def test_leads_that_others_made_are_merged_into_the_user_whatever_the_policy(policy: str) -> None:
    world = World(Policy(merge_leads=policy))  # type: ignore[arg-type]
    world.seed("L1", role="lead", email=ANN)
    world.seed("L2", role="lead", email=ANN)
    world.seed("U", role="user", email=ANN, external_id="u-1")

    outcome = world.do(check())

    assert len(outcome.merged) == 2
    assert [one["role"] for one in world.live()] == ["user"]
    assert outcome.other_contacts == ()


def test_what_the_index_does_not_show_is_read_by_id() -> None:
    world = World()
    lead = world.hide("L", role="lead", email="Ann@Example.Test")
    user = world.hide("U", role="user", email=ANN, external_id="u-1")

    world.do(check(lead, user))

    assert world.calls()[:3] == ["get L", "get U", "search"]
    assert [one["role"] for one in world.live(None)] == ["user"]


def test_two_users_are_left_alone_and_told() -> None:
    world = World()
    world.seed("L", role="lead", email=ANN)
    world.seed("U1", role="user", email=ANN, external_id="u-1")
    second = world.seed("U2", role="user", email="bob@example.test", external_id="u-2")
    world.ask("PUT", f"/contacts/{second}", {"email": ANN})
    world.sandbox.catch_up()

    outcome = world.do(check())

    assert (outcome.merged, outcome.ambiguous) == ((), True)
    assert len(world.live()) == 3


def test_a_contact_of_another_address_is_not_touched() -> None:
    world = World()
    other = world.seed("L", role="lead", email="bob@example.test")
    world.seed("U", role="user", email=ANN, external_id="u-1")

    assert world.do(check(other)).merged == ()
    assert len(world.live("bob@example.test")) == 1


def test_one_that_is_gone_is_asked_for_once() -> None:
    world = World()
    world.seed("U", role="user", email=ANN, external_id="u-1")

    world.do(check("no-such-contact"))

    assert len([call for call in world.calls() if "no-such" in call]) == 1


def test_no_producer_may_send_it() -> None:
    with pytest.raises(InvalidIntent):
        parse_intent({"kind": "duplicate_check", "email": ANN})
