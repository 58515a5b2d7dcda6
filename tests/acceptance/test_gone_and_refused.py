"""Stories about contacts that come back, contacts that cannot, and intents that Intercom refuses."""

from __future__ import annotations

import pytest

from onelane import ContactSync, LeadCapture, NewsletterOptIn, ProductSignUp

from .story import Story, scenario


def signed_up(story: Story, email: str, external_id: str) -> str:
    """A user made by our own sign-up; the contact id."""
    outcome = story.do(ProductSignUp(email=email, external_id=external_id, name="Ann"))
    assert outcome.contact_id is not None
    return outcome.contact_id


@scenario(14)
def test_14_an_archived_user_comes_back_by_an_act_of_their_own(story: Story) -> None:
    # Given a user whom we know, and whom support has archived
    email, external_id = story.email(), story.external_id()
    contact_id = signed_up(story, email, external_id)
    story.archived_elsewhere(contact_id)
    # When the person opts in
    with story.calls() as calls:
        outcome = story.do(NewsletterOptIn(email=email, name="Ann B."))
    # Then the same contact is back, and up to date; it was looked for first: it could have been merged
    assert calls == ["update", "search", "unarchive", "update"]
    assert (outcome.contact_id, outcome.revived) == (contact_id, True)
    assert story.one(email)["name"] == "Ann B."


@scenario(14)
def test_14_a_lead_that_the_registry_still_knows_comes_back(story: Story) -> None:
    email = story.email()
    lead = story.do(LeadCapture(email=email, name="Ann"))
    story.archived_elsewhere(lead.contact_id)
    outcome = story.do(LeadCapture(email=email, name="Ann B."))
    assert (outcome.contact_id, outcome.revived) == (lead.contact_id, True)
    assert story.one(email)["name"] == "Ann B."


@scenario(14, seeded=True)
def test_14_an_archived_stranger_comes_back(story: Story) -> None:
    """Nobody here knows the user, and the index is right that it is not live: only the 409 names it."""
    email, external_id = story.email(), story.external_id()
    contact_id = story.made_elsewhere(role="user", email=email, external_id=external_id)
    story.archived_elsewhere(contact_id)
    story.indexed()
    with story.calls() as calls:
        outcome = story.do(ProductSignUp(email=email, external_id=external_id, name="Ann"))
    # The answer to the first update shows that the time of the sign-up is missing.
    assert calls == ["search", "create", "unarchive", "update", "update"]
    assert (outcome.contact_id, outcome.revived) == (contact_id, True)
    assert story.one(email)["name"] == "Ann"


@scenario(14)
def test_14_a_nightly_sync_revives_nobody(story: Story) -> None:
    email, external_id = story.email(), story.external_id()
    contact_id = signed_up(story, email, external_id)
    story.archived_elsewhere(contact_id)
    with story.calls() as calls:
        outcome = story.do(ContactSync(email=email, external_id=external_id, name="Ann B."))
    assert (outcome.result, outcome.reason) == ("skipped", "archived")
    assert "unarchive" not in calls.names
    assert story.live(email) == []


@scenario(15)
def test_15_a_deleted_user_is_not_restorable(story: Story) -> None:
    # Given a user who was deleted for good
    email, external_id = story.email(), story.external_id()
    contact_id = story.made_elsewhere(role="user", email=email, external_id=external_id)
    story.elsewhere("DELETE", f"/contacts/{contact_id}")

    # When the person comes back
    with story.calls() as calls:
        receipt = story.queue.enqueue(ProductSignUp(email=email, external_id=external_id))
        outcome = story.end(receipt)

    if float(story.switch("delete_lock_s")) == 0:  # a deleted user's identifiers are free at once
        assert outcome.result == "created"
        assert story.one(email)["id"] == outcome.contact_id
        return
    # Then the intent is a dead letter that says why, and Intercom was not asked in a storm
    assert (outcome.result, outcome.reason) == ("rejected", "not_restorable")
    status = story.status(receipt)
    assert status.state == "dead"
    assert status.error is not None
    if story.switch("deleted_unarchive") == "400":
        assert calls == ["search", "create", "unarchive"]
        assert "not restorable" in str(outcome.message)
    else:  # a bare 500 may be a passing trouble: three tries tell
        assert calls == ["search", "create", "unarchive"] * 3 + ["search", "create"]
    # And the lane goes on
    assert story.do(LeadCapture(email=email)).result == "created"


@scenario(15)
def test_15_a_user_whom_somebody_has_blocked(story: Story) -> None:
    email, external_id = story.email(), story.external_id()
    contact_id = story.made_elsewhere(role="user", email=email, external_id=external_id)
    story.elsewhere("POST", f"/contacts/{contact_id}/block")
    with story.calls() as calls:
        outcome = story.do(ProductSignUp(email=email, external_id=external_id))
    assert (outcome.result, outcome.reason) == ("rejected", "not_restorable")
    assert calls == ["search", "create"]


@scenario(21)
def test_21_one_bad_intent_is_a_dead_letter_and_the_lane_goes_on(story: Story) -> None:
    # Given three intents for one person; the second names an attribute that does not exist
    email = story.email()
    story.do(LeadCapture(email=email))
    attributes = [{"seats": 5}, {"no_such_thing": 1}, {"plan": "pro"}]
    receipts = story.queue.enqueue_many([LeadCapture(email=email, custom_attributes=a) for a in attributes])

    # When they have ended
    first, bad, last = (story.end(receipt) for receipt in receipts)

    # Then only the bad one is a dead letter, with Intercom's own words
    assert (bad.result, bad.reason) == ("rejected", "refused")
    assert "no_such_thing" in str(bad.message)
    status = story.status(receipts[1])
    assert (status.state, status.error.http_status) == ("dead", int(story.switch("unknown_attribute")))
    assert (first.result, last.result) == ("updated", "updated")
    assert story.one(email)["custom_attributes"] == {"seats": 5, "plan": "pro"}


@pytest.mark.parametrize("kind", [LeadCapture, NewsletterOptIn])
def test_21_a_bad_first_intent_does_not_stop_the_second(story: Story, kind: type[LeadCapture]) -> None:
    email = story.email()
    bad, good = story.queue.enqueue_many(
        [kind(email=email, custom_attributes={"no_such_thing": 1}), kind(email=email, name="Ann")]
    )
    assert story.end(bad).result == "rejected"
    assert story.end(good).result == "created"
    assert story.one(email)["name"] == "Ann"
