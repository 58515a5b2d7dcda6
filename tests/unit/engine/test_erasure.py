"""Erasing a person: in Intercom, and in everything that Redis keeps."""

from __future__ import annotations

import pytest
from tests.world.world import World

from onelane import ContactErasure, ContactSync, EmailChange, LeadCapture, NewsletterOptOut, ProductSignUp
from onelane_worker.planner import operations as op

from .dead_letters import bury, send_back

ANN, BOB, CAT = "ann@example.test", "bob@example.test", "cat@example.test"
NAME, PHONE = "Annabella", "+353871234567"


def traces(world: World) -> list[str]:
    """Keys under which something still names the person."""
    words = ("ann@", NAME.lower(), PHONE, "u-1")
    found = {key: f"{key} {value}".lower() for key, value in world.dump().items()}
    return [key for key, text in found.items() if any(word in text for word in words)]


def living(world: World) -> list[str]:
    states = ("archived", "deleted", "merged_into")
    return [c["id"] for c in world.sandbox.contacts() if not any(c[state] for state in states)]


class TestWhoGoes:
    def test_lead_and_user(self, world: World) -> None:
        world.seed(role="lead", email=ANN)
        world.seed(role="user", email=ANN, external_id="u-1")
        world.catch_up()
        outcome = world.do(ContactErasure(email=ANN))
        assert (outcome.result, outcome.contact_id) == ("erased", None)
        assert living(world) == []
        assert world.calls() == ["Search", "Read", "Read", "Delete", "Delete"]

    def test_other_accounts_stay_unless_everyone_is_meant(self, world: World) -> None:
        world.sandbox.switch("email_conflict", "external_id_wins")
        for external_id in ("u-1", "u-2"):
            world.seed(role="user", email=ANN, external_id=external_id)
        world.catch_up()
        assert world.do(ContactErasure(email=ANN)).reason == "ambiguous"
        assert len(living(world)) == 2
        outcome = world.do(ContactErasure(email=ANN, external_id="u-1"))
        assert (outcome.result, outcome.other_contacts) == ("erased", tuple(living(world)))
        assert world.do(ContactErasure(email=ANN, everyone=True)).result == "erased"
        assert living(world) == []

    def test_the_external_id_wherever_it_lives(self, world: World) -> None:
        world.do(ProductSignUp(email=BOB, external_id="u-1", name=NAME))
        assert world.do(ContactErasure(email=ANN, external_id="u-1")).result == "erased"
        assert living(world) == []
        assert world.queue.latest(BOB) is None

    def test_an_archived_one_that_we_know(self, world: World) -> None:
        made = world.do(LeadCapture(email=ANN))
        world.intercom.foreign("POST", f"/contacts/{made.contact_id}/archive")
        assert world.do(ContactErasure(email=ANN)).result == "erased"
        assert [contact["deleted"] for contact in world.sandbox.contacts()] == [True]

    def test_that_nobody_is_there_is_believed_only_a_settle_window_later(self, world: World) -> None:
        [receipt] = world.enqueue(ContactErasure(email=ANN))
        world.run(60)
        assert world.outcome(receipt) is None
        world.seed(role="lead", email=ANN, name=NAME)
        world.catch_up()
        assert world.ended(receipt).result == "erased"
        assert living(world) == []


class TestUnknown:
    def test_a_create_that_surfaces_later(self, world: World) -> None:
        """The answer of a create is lost; the erasure behind it waits until the lead can be found."""
        world.fault("intercom", op.Create, "unanswered")
        receipts = world.enqueue(LeadCapture(email=ANN, name=NAME), ContactErasure(email=ANN))
        world.run(20)
        world.catch_up()
        assert [world.ended(one).result for one in receipts] == ["created", "erased"]
        assert living(world) == []

    def test_a_delete_whose_answer_is_lost(self, world: World) -> None:
        """It is sent again and answers 404, as if somebody else had been there before: a second look."""
        world.do(LeadCapture(email=ANN))
        world.fault("intercom", op.Delete, "unanswered")
        assert world.do(ContactErasure(email=ANN)).result == "erased"
        assert living(world) == []


class TestGone:
    """A DELETE that answers 404: the contact may live on in another one."""

    @pytest.mark.parametrize("others", [False, True])
    def test_merged_into_a_user_whom_the_index_hides(self, world: World, others: bool) -> None:
        lead = world.do(LeadCapture(email=ANN, name=NAME)).contact_id
        if others:
            world.seed(role="lead", email=ANN)
        world.catch_up()
        user = world.seed(role="user", email=ANN, external_id="u-1")["id"]
        world.intercom.foreign("POST", "/contacts/merge", {"from": lead, "into": user})
        [receipt] = world.enqueue(ContactErasure(email=ANN))
        world.run(30)
        assert world.outcome(receipt) is None  # nobody says where the lead has gone to
        assert living(world) == [user]
        world.catch_up()
        assert world.ended(receipt).result == "erased"
        assert living(world) == []

    def test_merged_into_one_whom_intercom_names(self, world: World) -> None:
        """The answer says who lives on: nothing needs to wait for the index."""
        lead = world.do(LeadCapture(email=ANN, name=NAME)).contact_id
        world.catch_up()
        user = world.seed(role="user", email=ANN, external_id="u-1")["id"]
        world.intercom.foreign("POST", "/contacts/merge", {"from": lead, "into": user})
        world.answer(op.Delete, op.Gone(merged_into=user))
        assert world.do(ContactErasure(email=ANN)).result == "erased"
        assert living(world) == []

    def test_nobody_then_either(self, world: World) -> None:
        lead = world.do(LeadCapture(email=ANN)).contact_id
        world.intercom.foreign("DELETE", f"/contacts/{lead}")
        [receipt] = world.enqueue(ContactErasure(email=ANN))
        world.run(30)
        assert world.outcome(receipt) is None
        world.catch_up()
        assert world.ended(receipt).result == "erased"


def test_no_dead_letter_from_before_comes_back_behind_it(world: World) -> None:
    letter = bury(world, LeadCapture(email=ANN, name=NAME))
    [receipt] = world.enqueue(ContactErasure(email=ANN))
    world.run(30)  # nobody is there: it waits for its second look
    assert send_back(world, letter) == "erasing"
    assert world.ended(receipt).result == "erased"
    outcome = world.outcome(letter)
    assert outcome is not None
    assert outcome.reason == "erased"
    assert living(world) == []


class TestTraces:
    @pytest.mark.parametrize("named", ["u-1", None])
    def test_the_lane_of_another_address_forgets_them(self, world: World, named: str | None) -> None:
        world.do(ContactSync(email=ANN, external_id="u-1", name=NAME))
        world.do(LeadCapture(email=BOB, external_id="u-1", phone=PHONE))
        world.do(LeadCapture(email=BOB, external_id="u-1", phone=PHONE))
        assert world.do(ContactErasure(email=ANN, external_id=named)).result == "erased"
        assert traces(world) == []

    def test_nothing_of_the_person_is_left(self, world: World) -> None:
        world.attributes("plan")
        receipts = world.enqueue(
            ProductSignUp(email=ANN, external_id="u-1", name=NAME, dedupe_key="ann@example.test"),
            NewsletterOptOut(email=ANN),
            ContactSync(email=ANN, external_id="u-1", name=NAME, custom_attributes={"plan": NAME}),
            LeadCapture(email=ANN, name=NAME, custom_attributes={"unknown": NAME}),
        )
        world.rest()
        assert traces(world)
        assert world.do(ContactErasure(email=ANN, external_id="u-1")).result == "erased"
        assert traces(world) == []
        assert [world.status(receipt).state for receipt in receipts] == ["done"] * 4

    def test_what_comes_later_stays(self, world: World) -> None:
        world.do(LeadCapture(email=ANN, name=NAME, dedupe_key="k"))
        receipts = world.enqueue(ContactErasure(email=ANN), LeadCapture(email=ANN, name="Anew"))
        assert [world.ended(one).result for one in receipts] == ["erased", "created"]
        assert [contact["name"] for contact in world.contacts(ANN)] == ["Anew"]

    def test_an_old_opt_out_is_forgotten_too(self, world: World) -> None:
        for intent in (LeadCapture, NewsletterOptOut, ContactErasure, LeadCapture):
            world.do(intent(email=ANN))
        assert [contact["unsubscribed_from_emails"] for contact in world.contacts(ANN)] == [False]

    def test_after_a_change_of_address(self, world: World) -> None:
        world.do(ProductSignUp(email=BOB, external_id="u-9", name=NAME))
        world.do(EmailChange(email=BOB, new_email=ANN))
        world.do(ContactErasure(email=ANN))
        assert (living(world), traces(world)) == ([], [])

    @pytest.mark.parametrize("script", ["scrub", "settle"])
    @pytest.mark.parametrize(
        ("moment", "times"), [("crash_before", 1), ("crash_before", 2), ("crash_after", 1)]
    )
    def test_its_engine_dies(self, world: World, moment: str, times: int, script: str) -> None:
        world.do(LeadCapture(email=ANN, name=NAME))
        [receipt] = world.enqueue(ContactErasure(email=ANN))
        for _ in range(times):
            world.fault("redis", script, moment)
            world.after_death()
        assert world.ended(receipt).result == "erased"
        assert traces(world) == []
