"""Consent (R50–R56): only explicit words move it, they reach every contact, and they are remembered.

Type 101 is opt_out by nature (attached = out), type 102 opt_in (attached = in).
"""

from __future__ import annotations

from typing import Any

import pytest

from onelane.intents import (
    ContactSync,
    ContactUpsert,
    LeadCapture,
    NewsletterOptIn,
    NewsletterOptOut,
    ProductSignUp,
)
from onelane_worker.planner.policy import Policy

from .oracle import consent_of
from .play import ANN, World

A: dict[str, Any] = {"email": ANN}
X: dict[str, Any] = {"email": ANN, "external_id": "u-1"}


def attach(world: World, contact_id: str, *types: str) -> None:
    for type_id, kind in (("101", "opt_out"), ("102", "opt_in")):
        if type_id in types:
            choice = {"id": type_id, "consent_type": kind}
            world.ask("POST", f"/contacts/{contact_id}/subscriptions", choice)


class TestTypes:
    """The four cells of the table, and what is done when there is nothing to do."""

    @pytest.mark.parametrize("lists", ["present", "absent"])
    @pytest.mark.parametrize(
        ("speaks", "attached", "calls"),
        [
            (NewsletterOptIn, (), ["attach L 102"]),
            (NewsletterOptIn, ("101",), ["detach L 101", "attach L 102"]),
            (NewsletterOptIn, ("102",), []),
            (NewsletterOptOut, (), ["attach L 101"]),
            (NewsletterOptOut, ("102",), ["attach L 101", "detach L 102"]),
            (NewsletterOptOut, ("101",), []),
        ],
    )
    def test_R55_attach_or_detach(
        self, speaks: Any, attached: tuple[str, ...], calls: list[str], lists: str
    ) -> None:
        world = World(switches={"subscription_lists": lists})
        attach(world, world.seed("L", role="lead"), *attached)
        world.do(speaks(**A, subscription_types=("101", "102")))
        look = ["list L"] if lists == "absent" else []
        assert world.calls() == ["search", "get L", *look, *calls]

    def test_on_a_new_contact_nothing_has_to_be_looked_up(self) -> None:
        world = World(switches={"subscription_lists": "absent"})
        world.do(NewsletterOptIn(**A, subscription_types=("101", "102")))
        world.name_new("L")
        assert world.calls() == ["search", "post lead", "attach L 102"]

    def test_R54_an_unknown_type_is_refused_before_anything_is_sent(self) -> None:
        world = World()
        outcome = world.do(NewsletterOptIn(**A, subscription_types=("999",)))
        assert (outcome.result, outcome.reason) == ("rejected", "unknown_subscription_type")
        assert world.calls() == []
        assert world.live() == []

    def test_R54_it_takes_nobody_with_it(self) -> None:
        world = World()
        ids = world.say(LeadCapture(**A), NewsletterOptIn(**A, subscription_types=("999",)), LeadCapture(**A))
        world.run()
        assert [world.outcomes[i].result for i in ids] == ["created", "rejected", "unchanged"]

    def test_R53_an_opt_out_of_types_leaves_the_flag_alone(self) -> None:
        world = World()
        world.seed("L", role="lead")
        world.do(NewsletterOptOut(**A, subscription_types=("101",)))
        assert consent_of(world.only()) == {"all": True, "101": False, "102": False}

    def test_R54_the_newsletters_types_are_a_setting(self) -> None:
        world = World(Policy(newsletter_subscription_types=("102",)))
        world.do(NewsletterOptIn(**A))
        world.do(NewsletterOptOut(**A))
        assert consent_of(world.only()) == {"all": True, "101": True, "102": False}


class TestFlag:
    def test_R52_an_opt_in_lifts_it_in_the_same_write(self) -> None:
        world = World()
        world.seed("U", role="user", unsubscribed_from_emails=True)
        world.do(NewsletterOptIn(**A, name="Ann"))
        assert world.calls() == ["search", "get U", "put U flag=in name"]

    def test_R52_unless_it_is_told_not_to(self) -> None:
        world = World()
        world.seed("U", role="user", unsubscribed_from_emails=True)
        world.do(NewsletterOptIn(**A, name="Ann", lift_unsubscribe_all=False))
        assert world.only()["unsubscribed_from_emails"] is True

    def test_R51_a_believed_fact_older_than_the_intent_proves_nothing(self) -> None:
        world = World()
        world.do(NewsletterOptIn(**A))
        lead = world.name_new("L")
        world.ask("PUT", f"/contacts/{lead}", {"unsubscribed_from_emails": True})
        world.calls()
        world.do(NewsletterOptIn(**A))
        assert world.calls() == ["put L flag=in"]
        assert world.only()["unsubscribed_from_emails"] is False

    @pytest.mark.parametrize(
        "intent",
        [
            LeadCapture(**A, name="b"),
            ContactSync(**X, name="b"),
            ContactUpsert(**X, set={"name": "b"}),
            ProductSignUp(**X, name="b"),
        ],
        ids=lambda intent: intent.kind,
    )
    def test_R50_nobody_else_touches_it(self, intent: Any) -> None:
        world = World()
        lead = world.seed("L", role="lead", unsubscribed_from_emails=True)
        attach(world, lead, "101", "102")
        world.do(intent)
        assert consent_of(world.only()) == {"all": False, "101": False, "102": True}


class TestEveryone:
    """R53: each record is mailed separately."""

    def test_a_pointer_by_external_id_has_not_looked_at_the_address(self) -> None:
        world = World()
        world.seed("L", role="lead")
        world.seed("U", role="user", external_id="u-1")
        world.do(ContactSync(**X, name="Ann"))
        world.calls()
        world.do(NewsletterOptOut(**A))
        assert world.calls() == ["search", "get L", "put U flag=out", "put L flag=out"]

    def test_by_type_as_well(self) -> None:
        world = World(switches={"subscription_lists": "absent"})
        world.seed("L", role="lead")
        world.seed("U", role="user")
        world.do(NewsletterOptOut(**A, subscription_types=("101",)))
        writes = [line for line in world.calls() if line.startswith(("attach", "list"))]
        assert writes == ["list U", "attach U 101", "list L", "attach L 101"]

    def test_one_of_them_is_gone_in_the_middle(self) -> None:
        world = World()
        lead = world.seed("L", role="lead")
        world.seed("U", role="user")
        world.do(NewsletterOptOut(**A))
        world.ask("POST", f"/contacts/{lead}/archive")
        world.calls()
        outcome = world.do(NewsletterOptOut(**A))
        assert outcome.result == "updated"
        assert world.calls() == ["put U flag=out", "put L flag=out"]
        world.do(NewsletterOptOut(**A))
        assert world.calls() == ["put U flag=out"]

    def test_a_subscription_of_one_that_is_gone(self) -> None:
        world = World(switches={"subscription_lists": "absent"})
        lead = world.seed("L", role="lead")
        world.seed("U", role="user")
        archived = False

        def archive_once() -> None:
            nonlocal archived
            if not archived and "attach U 101" in world.peek():
                archived = True
                world.ask("POST", f"/contacts/{lead}/archive")

        world.meddle = archive_once
        outcome = world.do(NewsletterOptOut(**A, subscription_types=("101",)))
        assert archived
        assert outcome.result == "updated"
        assert world.calls()[-2:] == ["attach U 101", "list L"]


class TestMemory:
    """R56: the person's last word is kept, and carried out on whoever appears."""

    def test_an_opt_out_of_somebody_not_visible_is_applied_to_the_contact_that_is_made(self) -> None:
        for intent in (LeadCapture(**A), ContactSync(**X), ProductSignUp(**X), ContactUpsert(**X)):
            world = World()
            world.do(NewsletterOptOut(**A))
            world.do(intent)
            assert world.only()["unsubscribed_from_emails"] is True

    def test_by_type_as_well(self) -> None:
        world = World()
        world.do(NewsletterOptOut(**A, subscription_types=("101",)))
        world.do(LeadCapture(**A))
        assert consent_of(world.only())["101"] is False

    def test_and_to_every_contact_that_appears(self) -> None:
        world = World(lag=10_000)
        world.hide("U", role="user", external_id="u-1")
        world.hide("L", role="lead")
        world.do(NewsletterOptOut(**A))
        world.sandbox.catch_up()
        world.calls()
        world.do(LeadCapture(**A, name="Ann"))
        assert world.calls() == ["search", "get U", "get L", "put U flag=out name", "put L flag=out"]
        world.do(LeadCapture(**A, name="Anne"))
        assert world.calls() == ["put U name"]

    def test_an_opt_in_replaces_it(self) -> None:
        world = World()
        world.do(NewsletterOptOut(**A))
        world.do(NewsletterOptIn(**A))
        assert world.only()["unsubscribed_from_emails"] is False

    def test_once_carried_out_it_is_not_forced_on_a_known_contact_again(self) -> None:
        world = World()
        lead = world.seed("L", role="lead")
        world.do(NewsletterOptOut(**A))
        world.ask("PUT", f"/contacts/{lead}", {"unsubscribed_from_emails": False})
        world.do(LeadCapture(**A, name="Ann"))
        assert world.only()["unsubscribed_from_emails"] is False

    def test_it_is_applied_to_a_contact_that_is_brought_back(self) -> None:
        world = World()
        lead = world.seed("L", role="lead")
        world.do(NewsletterOptOut(**A))
        world.ask("PUT", f"/contacts/{lead}", {"unsubscribed_from_emails": False})
        world.ask("POST", f"/contacts/{lead}/archive")
        assert world.do(LeadCapture(**A, name="Ann")).revived
        assert world.only()["unsubscribed_from_emails"] is True

    def test_and_to_a_lead_that_becomes_a_user(self) -> None:
        world = World()
        world.do(NewsletterOptOut(**A, subscription_types=("101",)))
        world.do(LeadCapture(**A))
        lead = world.name_new("L")
        world.ask("DELETE", f"/contacts/{lead}/subscriptions/101")
        world.do(ProductSignUp(**X))
        assert consent_of(world.only())["101"] is False

    @pytest.mark.parametrize("fate", ["throttled", "lost", "dropped", "crash_before", "crash_after"])
    def test_it_is_not_forgotten_if_the_worker_is_interrupted_after_the_create(self, fate: str) -> None:
        world = World()
        world.do(NewsletterOptOut(**A, subscription_types=("101",)))
        fates = [fate]
        world.fate = lambda call: fates.pop() if fates and type(call).__name__ == "Attach" else None
        outcome = world.do(LeadCapture(**A))
        assert fates == []
        assert consent_of(world.only())["101"] is False
        assert outcome.result == "created"

    def test_a_word_on_a_type_that_is_no_more_is_passed_over(self) -> None:
        world = World()
        world.sandbox.put_subscription_type("103", "Old news", "opt_out")
        world.do(NewsletterOptOut(**A, subscription_types=("103",)))
        gone = World()
        gone.lanes[ANN].memory = world.lanes[ANN].memory
        assert gone.do(LeadCapture(**A)).result == "created"

    def test_a_merge_cannot_undo_an_opt_in(self) -> None:
        """The lead's opt-out may come over with the merge; the person's word is carried out again."""
        world = World(Policy(merge_leads="all"))
        world.seed("U", role="user")
        world.seed("L", role="lead", unsubscribed_from_emails=True)
        world.do(NewsletterOptIn(**A))
        assert world.calls() == ["search", "get U", "get L", "merge L U", "put U flag=in"]
        assert world.only()["unsubscribed_from_emails"] is False
