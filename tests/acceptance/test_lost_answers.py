"""Stories about calls whose result nobody knows: done or not, the answer never came."""

from __future__ import annotations

import pytest

from onelane import ContactSync, ContactUpsert, NewsletterOptIn, ProductSignUp, Receipt

from .story import Story, scenario

DONE = ["lose_response", "status_502_after_commit", "slow"]
"""The create takes effect; with `slow` it does so after we have given up on it."""
FAULTS = [*DONE, "drop_request"]


def strike(story: Story, fault: str, intent: object) -> Receipt:
    """Enqueue an intent whose create meets the fault."""
    late_s = story.world.seconds("HTTP_TIMEOUT_S") + 0.2
    options = {"seconds": late_s} if fault == "slow" else {}
    with story.struck(fault, **options):
        return story.queue.enqueue(intent)


def wait_for_reconciling(story: Story, receipt: Receipt) -> None:
    """The lost answer is no secret: `status` tells of it while the result is being found out."""
    status = story.wait_until(lambda: next((s for s in [story.status(receipt)] if s.error), None))
    assert (status.state, status.finished_at) == ("reconciling", None)
    assert status.error is not None
    assert status.error.class_ in ("network", "server_error", "timeout")
    assert status.next_attempt_at is not None


@scenario(3, world="stormy", fault=FAULTS)
def test_03_lead_whose_create_is_lost(story: Story, fault: str) -> None:
    # Given a newsletter opt-in whose create is lost on the way
    email = story.email()
    with story.calls() as calls:
        receipt = strike(story, fault, NewsletterOptIn(email=email, name="Ann"))
        if story.alone:  # in a crowd nobody may have the time to look
            wait_for_reconciling(story, receipt)

        # When its result has been found out: by the index, a lead's only trace
        outcome = story.end(receipt)

    # Then there is one lead, and we know that it is ours
    assert (outcome.result, outcome.role) == ("created", "lead")
    assert story.one(email)["id"] == outcome.contact_id
    assert story.one(email)["name"] == "Ann"
    assert outcome.adopted is any(one in DONE for one in calls.faults), calls.faults
    committed = [
        r for r in calls.requests if r["method"] == "POST" and r["path"] == "/contacts" and r["committed"]
    ]
    assert len(committed) == 1
    if calls.faults == [fault] and fault in DONE:
        assert calls == ["search", "create", "search", "read"]


@scenario(3, world="stormy")
def test_03_what_waits_behind_a_lost_create_finds_the_lead(story: Story) -> None:
    email = story.email()
    first = strike(story, "lose_response", NewsletterOptIn(email=email))
    second = story.queue.enqueue(ContactUpsert(email=email, set={"name": "Ann"}))
    assert story.end(first).contact_id == story.end(second).contact_id
    assert story.one(email)["name"] == "Ann"


@scenario(5, world="stormy", fault=FAULTS)
def test_05_user_whose_create_is_lost(story: Story, fault: str) -> None:
    # Given a sign-up whose create is lost on the way
    email, external_id = story.email(), story.external_id()
    with story.calls() as calls:
        receipt = strike(story, fault, ProductSignUp(email=email, external_id=external_id, name="Ann"))

        # When its result has been found out: by the external id
        outcome = story.end(receipt)

    # Then there is one user
    assert (outcome.result, outcome.role) == ("created", "user")
    person = story.one(email)
    assert (person["id"], person["external_id"], person["name"]) == (outcome.contact_id, external_id, "Ann")
    assert outcome.adopted is any(one in DONE for one in calls.faults), calls.faults
    if calls.faults == [fault] and fault in ("lose_response", "status_502_after_commit"):
        looks = 1 if story.switch("find_by_external_id") == "strong" else 2  # the second is not too early
        assert calls == ["search", "create"] + ["find"] * looks


@scenario(26, world="strict")
def test_26_the_old_value_is_written_after_an_unknown_write_was_buried(story: Story) -> None:
    # Given a contact with a known value
    email, external_id = story.email(), story.external_id()

    def sync(name: str) -> ContactSync:
        return ContactSync(email=email, external_id=external_id, name=name)

    made = story.do(sync("Old"))
    assert made.contact_id is not None

    # When another value is written, but every answer is lost, until its intent is a dead letter
    with story.struck("lose_response", "put", f"^/contacts/{made.contact_id}$"):
        buried = story.end(story.queue.enqueue(sync("New")))
    assert (buried.result, buried.reason) == ("rejected", "upstream_error")
    assert story.one(email)["name"] == "New"

    # Then the old value is no no-op: it is written again
    with story.calls() as calls:
        restored = story.do(sync("Old"))
    assert restored.result == "updated"
    assert calls == ["update"]
    assert story.one(email)["name"] == "Old"


@pytest.mark.parametrize("fault", ["status_500", "status_503", "drop_request"])
def test_reads_are_asked_again_at_once(story: Story, fault: str) -> None:
    """A question changes nothing: nobody waits until it can no longer commit."""
    email = story.email()
    story.sandbox.fault(fault, path="/contacts/search")
    with story.calls() as calls:
        assert story.do(NewsletterOptIn(email=email)).result == "created"
    assert calls == ["search", "search", "create"]
