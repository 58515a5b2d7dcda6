"""A change of address: one person, two lanes, and whatever happens in between."""

from __future__ import annotations

from typing import Any

import pytest
from tests.world.world import World

from onelane import (
    ContactSync,
    EmailChange,
    InvalidIntent,
    LeadCapture,
    NewsletterOptOut,
    Outcome,
    ProductSignUp,
    Receipt,
)
from onelane_worker.planner import operations as op

ANN, BOB, CAT = "ann@example.test", "bob@example.test", "cat@example.test"
MOVE = EmailChange(email=ANN, new_email=BOB)


def ends(world: World, *intents: Any) -> list[Outcome]:
    """Enqueue all, go on until they have ended; their outcomes."""
    return outcomes(world, world.enqueue(*intents))


def outcomes(world: World, receipts: list[Receipt]) -> list[Outcome]:
    return [world.ended(receipt) for receipt in receipts]


class TestScenario19:
    """A moves to B; intents for A and for B follow within the index' lag."""

    def test_both_lanes_end_right(self, world: World) -> None:
        made = world.do(ProductSignUp(email=ANN, external_id="u-1", name="Ann"))
        moved, at_new, at_old, again = ends(
            world,
            MOVE,
            LeadCapture(email=BOB, name="Bob"),
            LeadCapture(email=ANN, name="Anew"),
            LeadCapture(email=BOB),
        )
        assert (moved.result, moved.contact_id) == ("updated", made.contact_id)
        assert (at_new.contact_id, again.contact_id) == (made.contact_id, made.contact_id)
        assert (at_old.result, at_old.contact_id) == ("created", world.contacts(ANN)[0]["id"])
        assert [contact["name"] for contact in world.contacts(BOB)] == ["Bob"]

    def test_the_index_goes_on_showing_the_old_address(self, world: World) -> None:
        user = world.seed(role="user", email=ANN, external_id="u-1")
        world.catch_up()
        assert world.do(MOVE).contact_id == user["id"]
        assert world.do(LeadCapture(email=BOB, name="Bob")).contact_id == user["id"]
        assert world.do(LeadCapture(email=ANN)).result == "created"

    def test_a_believed_change_costs_a_search_and_a_write(self, world: World) -> None:
        world.do(LeadCapture(email=ANN))
        world.calls()
        world.do(MOVE)
        world.do(LeadCapture(email=BOB))
        assert world.calls() == ["Search", "Update"]

    def test_an_external_id_moves_with_it(self, world: World) -> None:
        world.do(ProductSignUp(email=ANN, external_id="u-1"))
        moved = world.do(EmailChange(email=ANN, new_email=BOB, external_id="u-1"))
        synced = world.do(ContactSync(email=BOB, external_id="u-1", name="Bob"))
        assert moved.contact_id == synced.contact_id
        assert len(world.sandbox.contacts()) == 1

    def test_it_waits_for_the_external_id_that_the_contact_has(self, world: World) -> None:
        """Another address is at work on the same external id; its write may still commit."""
        world.do(ProductSignUp(email=ANN, external_id="u-1"))
        world.fault("intercom", op.Update, "dropped")
        world.enqueue(LeadCapture(email=CAT, external_id="u-1", name="Cat"))
        world.run(1)
        [receipt] = world.enqueue(MOVE)
        world.run(20)
        assert (world.outcome(receipt), world.calls().count("Update")) == (None, 1)
        assert world.ended(receipt).result == "updated"

    def test_the_last_word_on_consent_goes_along(self, world: World) -> None:
        world.do(LeadCapture(email=ANN))
        world.do(NewsletterOptOut(email=ANN))
        said = world.text("consent", ANN)
        assert said
        world.do(MOVE)
        assert world.text("consent", BOB) == said


class TestWhoIsThere:
    """The decision table, as far as two addresses meet."""

    def test_nobody_at_the_old_address_but_somebody_at_the_new(self, world: World) -> None:
        user = world.seed(role="user", email=BOB)
        world.catch_up()
        outcome = world.do(MOVE)
        assert (outcome.result, outcome.contact_id) == ("unchanged", user["id"])

    def test_nobody_anywhere(self, world: World) -> None:
        outcome = world.do(MOVE)
        assert (outcome.result, outcome.reason) == ("skipped", "not_found")

    def test_a_skipped_change_gives_the_external_id_back(self, world: World) -> None:
        assert world.do(EmailChange(email=ANN, new_email=BOB, external_id="u-1")).result == "skipped"
        began = world.now
        assert world.do(ProductSignUp(email=CAT, external_id="u-1")).result == "created"
        assert world.now - began < 2

    def test_who_lives_at_the_new_address_has_not_moved(self, world: World) -> None:
        """Nobody went from A to B; then whoever is at B goes to A, and is not taken for one who has left."""
        other = world.seed(role="user", email=BOB, external_id="u-2")
        world.catch_up()
        assert world.do(EmailChange(email=ANN, new_email=BOB, external_id="u-1")).result == "skipped"
        back = world.do(EmailChange(email=BOB, new_email=ANN))
        assert (back.result, back.contact_id) == ("updated", other["id"])

    def test_a_user_meets_a_lead_of_ours(self, world: World) -> None:
        user = world.do(ProductSignUp(email=ANN, external_id="u-1"))
        lead = world.do(LeadCapture(email=BOB, phone="+353871234567"))
        outcome = world.do(MOVE)
        assert (outcome.contact_id, outcome.merged) == (user.contact_id, (lead.contact_id,))
        assert [contact["phone"] for contact in world.contacts(BOB)] == ["+353871234567"]

    def test_a_user_meets_a_lead_of_others(self, world: World) -> None:
        world.do(ProductSignUp(email=ANN, external_id="u-1"))
        lead = world.seed(role="lead", email=BOB)
        world.catch_up()
        outcome = world.do(MOVE)
        assert (outcome.result, outcome.merged, outcome.other_contacts) == ("updated", (), (lead["id"],))

    def test_a_lead_meets_a_user(self, world: World) -> None:
        world.do(LeadCapture(email=ANN, phone="+353871234567"))
        user = world.do(ProductSignUp(email=BOB, external_id="u-1"))
        outcome = world.do(MOVE)
        assert (outcome.result, outcome.contact_id, len(outcome.merged)) == ("updated", user.contact_id, 1)
        assert world.do(LeadCapture(email=BOB)).contact_id == user.contact_id

    @pytest.mark.parametrize("role", ["lead", "user"])
    def test_the_address_is_taken(self, world: World, role: str) -> None:
        intents: dict[str, Any] = {"lead": LeadCapture, "user": ProductSignUp}
        named = [{"external_id": word} if role == "user" else {} for word in ("u-1", "u-2")]
        world.do(intents[role](email=ANN, **named[0]))
        holder = world.do(intents[role](email=BOB, **named[1]))
        outcome = world.do(MOVE)
        assert (outcome.reason, outcome.other_contacts) == ("address_taken", (holder.contact_id,))
        assert world.do(LeadCapture(email=BOB, name="Bob")).contact_id == holder.contact_id

    def test_a_holder_whom_the_index_hides_is_named_by_a_conflict(self, world: World) -> None:
        world.sandbox.switch("put_email_conflict", "409")
        world.do(ProductSignUp(email=ANN, external_id="u-1"))
        holder = world.seed(role="user", email=BOB, external_id="u-2")
        outcome = world.do(MOVE)
        assert (outcome.reason, outcome.other_contacts) == ("address_taken", (holder["id"],))

    def test_two_users_and_no_external_id(self, world: World) -> None:
        world.sandbox.switch("email_conflict", "external_id_wins")
        for external_id in ("u-1", "u-2"):
            world.seed(role="user", email=ANN, external_id=external_id)
        world.catch_up()
        assert world.do(MOVE).reason == "ambiguous"
        assert world.do(EmailChange(email=ANN, new_email=BOB, external_id="u-2")).result == "updated"
        assert [contact["external_id"] for contact in world.contacts(ANN)] == ["u-1"]
        assert [contact["external_id"] for contact in world.contacts(BOB)] == ["u-2"]

    def test_an_archived_contact_does_not_move(self, world: World) -> None:
        user = world.do(ProductSignUp(email=ANN, external_id="u-1"))
        world.intercom.foreign("POST", f"/contacts/{user.contact_id}/archive")
        assert world.do(MOVE).reason == "archived"


class TestMarkers:
    """What is accepted for the new address waits behind the change; no two changes wait for each other."""

    def test_later_intents_wait_and_earlier_ones_do_not(self, world: World) -> None:
        world.do(ProductSignUp(email=ANN, external_id="u-1"))
        world.fault("intercom", op.Update, "unanswered")  # the change takes half a minute
        before, move, after = world.enqueue(LeadCapture(email=BOB), MOVE, LeadCapture(email=BOB, name="Bob"))
        world.run(10)
        assert world.outcome(before) is not None
        assert world.outcome(after) is None
        outcomes(world, [move, after])
        assert [contact["name"] for contact in world.contacts(BOB)] == ["Bob"]

    @pytest.mark.parametrize("order", [(0, 1), (1, 0)])
    def test_two_that_cross_both_end(self, world: World, order: tuple[int, int]) -> None:
        world.do(ProductSignUp(email=ANN, external_id="u-1"))
        world.do(ProductSignUp(email=BOB, external_id="u-2"))
        moves = [MOVE, EmailChange(email=BOB, new_email=ANN)]
        assert {one.reason for one in ends(world, *(moves[i] for i in order))} == {"address_taken"}

    def test_three_in_a_ring_all_end_with_intents_between(self, world: World) -> None:
        ring = [(ANN, BOB), (BOB, CAT), (CAT, ANN)]
        for email, _ in ring:
            world.do(LeadCapture(email=email))
        moves = [EmailChange(email=a, new_email=b) for a, b in ring]
        assert len(ends(world, *moves, *(LeadCapture(email=email) for email, _ in ring))) == 6

    def test_a_dead_change_leaves_no_marker(self, world: World) -> None:
        world.answer(op.Search, op.Refused(op.Problem("refused", 400)))
        assert [one.result for one in ends(world, MOVE, LeadCapture(email=BOB))] == ["rejected", "created"]

    def test_a_duplicate_makes_no_second_marker(self, world: World) -> None:
        keyed = EmailChange(email=ANN, new_email=BOB, dedupe_key="k")
        first, second = world.enqueue(keyed, keyed)
        assert (second.id, second.duplicate) == (first.id, True)
        assert len(world.family("queue")[world.workspace.lane(BOB)]) == 1

    def test_many_at_once_keep_their_order(self, world: World) -> None:
        world.do(ProductSignUp(email=ANN, external_id="u-1"))
        found = ends(world, MOVE, EmailChange(email=BOB, new_email=CAT), LeadCapture(email=CAT))
        assert [one.result for one in found] == ["updated", "updated", "unchanged"]
        assert len(world.contacts(CAT)) == 1


class TestDeath:
    @pytest.mark.parametrize("moment", ["crash_in_flight", "crash_after"])
    def test_in_the_middle_of_the_write(self, world: World, moment: str) -> None:
        world.do(ProductSignUp(email=ANN, external_id="u-1"))
        world.fault("intercom", op.Update, moment)
        receipts = world.enqueue(MOVE, LeadCapture(email=BOB, name="Bob"))
        world.run(1)
        world.hire()
        assert [one.result in ("updated", "unchanged") for one in outcomes(world, receipts)] == [True] * 2
        assert [contact["name"] for contact in world.contacts(BOB)] == ["Bob"]

    @pytest.mark.parametrize("moment", ["crash_before", "crash_after"])
    def test_at_its_end(self, world: World, moment: str) -> None:
        world.do(ProductSignUp(email=ANN, external_id="u-1"))
        world.fault("redis", "settle", moment)
        receipts = world.enqueue(MOVE, LeadCapture(email=BOB))
        world.run(1)
        world.hire()
        assert {one.result for one in outcomes(world, receipts)} <= {"updated", "unchanged"}
        assert len(world.contacts(BOB)) == 1

    def test_a_killed_change_whose_write_took_effect_makes_no_second_contact(self, world: World) -> None:
        """It is buried unserved: both lanes keep the contact as a pointer, to be read before it is used."""
        made = world.do(ProductSignUp(email=ANN, external_id="u-1"))
        [move] = world.enqueue(MOVE)
        for _ in range(world.knobs.timing.max_kills):
            world.fault("redis", "settle", "crash_before")
            world.after_death()
        assert world.ended(move).reason == "killed_worker"
        assert world.do(LeadCapture(email=BOB, name="Bob")).contact_id == made.contact_id
        assert world.contacts(ANN) == []


def test_the_same_address_is_no_change() -> None:
    with pytest.raises(InvalidIntent) as refused:
        EmailChange(email=ANN, new_email="Ann@Example.Test")
    assert refused.value.field == "new_email"
