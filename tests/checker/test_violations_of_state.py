"""Broken final states: the true state of the contacts does not fit what was asked."""

from __future__ import annotations

from typing import Any

import pytest

from .story import BOB, Story, two_names

# ── persons ───────────────────────────────────────────────────────────────────────────────────────────────


def test_two_leads() -> None:
    story = two_names()
    story.create(name="B")
    assert story.kinds() == ["duplicate"]


def test_a_lead_beside_a_user() -> None:
    story = Story()
    story.intent("product_sign_up", "created", external_id="u1")
    story.intent("lead_capture", "created", outcome={"contact_id": "id2"})
    story.create(role="user", external_id="u1", signed_up_at=1001)
    story.create()
    assert story.kinds() == ["duplicate"]


def test_two_users_with_one_external_id() -> None:
    story = Story()
    story.intent("product_sign_up", "created", external_id="u1")
    for _ in range(2):
        story.create(role="user", external_id="u1", signed_up_at=1001)
    assert story.kinds() == ["duplicate"]


def test_a_duplicate_in_another_spelling() -> None:
    story = two_names()
    story.create(email="ANN@example.test", name="B")
    assert story.kinds() == ["duplicate"]


def test_a_second_account_that_nobody_named() -> None:
    story = Story()
    story.intent("product_sign_up", "created", external_id="u1")
    story.create(role="user", external_id="u1", signed_up_at=1001)
    story.create(role="user", external_id="u2", signed_up_at=1001)
    assert story.kinds() == ["duplicate"]


def test_our_duplicate_beside_a_foreign_contact() -> None:
    story = two_names()
    theirs = story.create(role="user", external_id="browser")
    story.create(name="B")
    assert story.kinds(foreign_contacts=frozenset({theirs})) == ["duplicate"]


def test_a_contact_that_vanished() -> None:
    story = two_names()
    story.contacts[0]["archived"] = True
    assert story.kinds() == ["missing"]


def test_a_sign_up_that_left_a_lead() -> None:
    story = two_names()
    story.intent("product_sign_up", "converted", external_id="u1")
    assert story.kinds() == ["field"]


# ── fields ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_lost_update() -> None:
    story = two_names()
    story.intent(result="unchanged", name="A")
    assert story.kinds() == ["field"]


def test_a_field_that_somebody_else_overwrote() -> None:
    story = two_names()
    story.contacts[0]["name"] = "Z"
    assert story.kinds() == ["field"]


def test_a_clearing_that_did_not_happen() -> None:
    story = two_names()
    story.intent("contact_sync", unset=["name"])
    assert story.kinds() == ["field"]


def test_an_insert_value_that_is_missing() -> None:
    story = Story()
    story.intent("contact_upsert", "created", set={"name": "A"}, set_on_insert={"phone": "+1"})
    story.create(name="A")
    assert story.kinds() == ["field"]


def test_a_rejected_value_that_stayed() -> None:
    story = two_names()
    refused = story.intent(result="rejected", name="C", outcome={"reason": "refused"})
    story.put(name="C")
    assert story.kinds(poison=frozenset({refused})) == ["field"]


def test_types_of_values_matter() -> None:
    story = Story()
    story.intent(result="created", custom_attributes={"seq": 1})
    story.create(custom_attributes={"seq": 1})
    for other in (True, "1"):
        story.contacts[0]["custom_attributes"]["seq"] = other
        assert story.kinds() == ["field"]
    story.contacts[0]["custom_attributes"]["seq"] = 1.0
    assert story.kinds() == []


# ── consent ───────────────────────────────────────────────────────────────────────────────────────────────


def test_an_opt_out_that_was_lost() -> None:
    story = two_names()
    story.intent("newsletter_opt_out", "updated")
    assert story.kinds() == ["consent"]


def test_an_opt_in_that_was_lost() -> None:
    story = Story()
    story.intent("newsletter_opt_out", "created")
    story.intent("newsletter_opt_in", "unchanged")
    story.create(unsubscribed_from_emails=True)
    assert story.kinds() == ["consent"]


def test_a_lead_that_loses_its_opt_out_by_a_sync() -> None:
    story = Story()
    story.intent("newsletter_opt_out", "created")
    story.intent("contact_sync", "updated", name="A")
    story.create(unsubscribed_from_emails=True)
    story.put(name="A", unsubscribed_from_emails=False)
    assert sorted(story.kinds()) == ["consent", "stray"]


def test_consent_touched_though_nobody_spoke() -> None:
    story = two_names()
    story.contacts[0]["unsubscribed_from_emails"] = True
    assert story.kinds() == ["consent"]


def test_a_subscription_nobody_chose() -> None:
    story = two_names()
    story.subscribe("id1", "102", "opt_in")
    assert sorted(story.kinds()) == ["consent", "stray"]


def test_a_type_opt_out_that_was_lost() -> None:
    story = two_names()
    story.intent("newsletter_opt_out", subscription_types=["101"])
    assert story.kinds() == ["consent"]


def test_a_newer_word_wins_over_a_later_accepted_one() -> None:
    story = Story()
    story.intent("newsletter_opt_out", "created")
    story.intent("newsletter_opt_in", "updated", occurred_at="1970-01-01T00:00:01+00:00")
    story.create(unsubscribed_from_emails=True)
    story.put(unsubscribed_from_emails=False)
    assert sorted(story.kinds()) == ["consent", "order"]


def test_an_opt_out_concerns_every_contact_of_the_address() -> None:
    story = Story()
    for number in (1, 2):
        story.intent(
            "product_sign_up", "created", external_id=f"u{number}", outcome={"contact_id": f"id{number}"}
        )
        story.create(role="user", external_id=f"u{number}", signed_up_at=int(story.accepted[-1].at))
    story.intent("newsletter_opt_out", outcome={"contact_id": "id1"})
    story.put("id1", unsubscribed_from_emails=True)
    assert story.kinds() == ["consent"]
    story.put("id2", unsubscribed_from_emails=True)
    assert story.kinds() == []


# ── results ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("contact_upsert", {"set": {"name": "B"}, "create": "update_only"}),
        ("contact_sync", {"name": "B", "create": False}),
        ("email_change", {"new_email": BOB}),
    ],
)
def test_not_found_though_somebody_lived_there_all_along(kind: str, fields: dict[str, Any]) -> None:
    story = two_names()
    story.intent(kind, "skipped", outcome={"reason": "not_found"}, **fields)
    assert story.kinds() == ["outcome"]


def test_archived_though_it_never_was() -> None:
    story = two_names()
    told = {"reason": "archived", "contact_id": "id1"}
    story.intent("contact_sync", "skipped", outcome=told, name="B")
    assert story.kinds() == ["outcome"]


def test_erased_and_still_there() -> None:
    story = two_names()
    story.intent("contact_erasure", "erased")
    assert story.kinds() == ["outcome"]


def test_a_contact_of_an_earlier_intent_that_an_erasure_left() -> None:
    """It was made after the erasure had been accepted, but before its turn."""
    story = Story()
    story.intent(result="created", name="A")
    story.intent("contact_erasure", "erased")
    story.create(name="A")
    assert story.kinds() == ["outcome"]


def test_everyone_is_erased_and_another_account_is_still_there() -> None:
    story = Story()
    story.intent("product_sign_up", "created", external_id="u2")
    story.create(role="user", external_id="u2", signed_up_at=1001)
    story.intent("contact_erasure", "erased", external_id="u1")
    assert story.kinds() == []
    story.intent("contact_erasure", "erased", external_id="u1", everyone=True)
    assert story.kinds() == ["outcome"]


@pytest.mark.parametrize("result", ["updated", "unchanged"])
def test_a_change_of_address_that_moved_nobody(result: str) -> None:
    story = two_names()
    story.intent("email_change", result, new_email=BOB)
    assert story.kinds() == ["outcome"]
