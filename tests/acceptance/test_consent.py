"""Stories about consent: only the person's own word moves it, and the newest word stands."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from onelane import ContactSync, LeadCapture, NewsletterOptIn, NewsletterOptOut, ProductSignUp

from .story import Story, scenario

NEWSLETTER = "101"
"""An opt-out type: whom it is attached to gets no mail of it."""
NEWS = "102"
"""An opt-in type: whom it is attached to gets mail of it."""


def choices(story: Story, email: str) -> set[str]:
    """The subscription types with an explicit choice."""
    return {one["id"] for one in story.one(email)["subscriptions"]}


@scenario(11)
def test_11_opt_in_lifts_what_kept_the_mail_back(story: Story) -> None:
    # Given a user who is out of the newsletter, and of all mail
    email, external_id = story.email(), story.external_id()
    user = story.do(ProductSignUp(email=email, external_id=external_id, name="Ann"))
    choice = {"id": NEWSLETTER, "consent_type": "opt_out"}
    story.elsewhere("POST", f"/contacts/{user.contact_id}/subscriptions", choice)
    story.changed_elsewhere(user.contact_id, unsubscribed_from_emails=True)

    # When the person opts in to the newsletter and the news
    with story.calls() as calls:
        opted_in = story.do(NewsletterOptIn(email=email, subscription_types=[NEWSLETTER, NEWS]))

    # Then both are lifted; contact bodies without lists cost one question more
    asked = ["subscriptions"] if story.switch("subscription_lists") == "absent" else []
    assert calls == ["update", *asked, "detach", "attach"]
    assert opted_in.result == "updated"
    assert story.one(email)["unsubscribed_from_emails"] is False
    assert choices(story, email) == {NEWS}

    # And when the person changes their mind elsewhere, a re-sync does not change it back
    story.changed_elsewhere(user.contact_id, unsubscribed_from_emails=True)
    story.elsewhere("DELETE", f"/contacts/{user.contact_id}/subscriptions/{NEWS}")
    with story.calls() as calls:
        story.do(ContactSync(email=email, external_id=external_id, name="Ann"))
        story.do(ContactSync(email=email, external_id=external_id, name="Ann B."))
    assert calls.bodies("update") == [{"name": "Ann B."}]
    assert story.one(email)["unsubscribed_from_emails"] is True
    assert choices(story, email) == set()


@scenario(11, seeded=True)
def test_11_opt_out_reaches_every_contact_of_the_address(story: Story) -> None:
    # Given a user and a lead of one address: each would be mailed separately
    email = story.email()
    ids = {story.made_elsewhere(role=role, email=email) for role in ("user", "lead")}
    story.indexed()
    # When the person opts out
    story.do(NewsletterOptOut(email=email))
    # Then both are out
    assert {c["id"] for c in story.live(email) if c["unsubscribed_from_emails"]} == ids


@scenario(27)
def test_27_the_newest_word_stands(story: Story) -> None:
    # Given a subscriber
    email, external_id = story.email(), story.external_id()
    story.do(ProductSignUp(email=email, external_id=external_id))
    story.do(NewsletterOptIn(email=email))

    # When the person opts out, while a re-sync and a replayed old opt-in are waiting
    now = datetime.now(UTC)
    opt_out, sync, replayed = story.queue.enqueue_many(
        [
            NewsletterOptOut(email=email, occurred_at=now),
            ContactSync(email=email, external_id=external_id, name="Ann"),
            NewsletterOptIn(email=email, occurred_at=now - timedelta(days=1)),
        ]
    )

    # Then the opt-out stands, and the old word is told which newer one overruled it
    assert story.end(opt_out).result == "updated"
    assert story.end(sync).result == "updated"
    overruled = story.end(replayed)
    assert (overruled.result, overruled.superseded_by) == ("superseded", opt_out.id)
    person = story.one(email)
    assert (person["unsubscribed_from_emails"], person["name"]) == (True, "Ann")


@scenario(27)
def test_27_the_newest_word_stands_in_any_order(story: Story) -> None:
    """The replayed opt-in is accepted first, the opt-out second: the order of acting decides."""
    email = story.email()
    story.do(LeadCapture(email=email))
    now = datetime.now(UTC)
    receipts = story.queue.enqueue_many(
        [
            NewsletterOptIn(email=email, occurred_at=now - timedelta(days=1)),
            ContactSync(email=email, name="Ann"),
            NewsletterOptOut(email=email, occurred_at=now),
        ]
    )
    for receipt in receipts:
        story.end(receipt)
    assert story.one(email)["unsubscribed_from_emails"] is True


@scenario(28)
def test_28_opt_out_before_the_contact_is_created(story: Story) -> None:
    # Given an opt-out for a person whom nobody has seen: it waits, to look a second time
    email, external_id = story.email(), story.external_id()
    with story.calls() as calls:
        opt_out = story.queue.enqueue(NewsletterOptOut(email=email))
        story.wait_until(lambda: story.status(opt_out).state == "reconciling")

        # When the person signs up
        sign_up = story.do(ProductSignUp(email=email, external_id=external_id))

    # Then the contact is born opted out, and the opt-out need not wait any longer
    assert sign_up.result == "created"
    assert (story.end(opt_out).result, story.end(opt_out).reason) == ("skipped", "not_found")
    assert calls.bodies("create")[0]["unsubscribed_from_emails"] is True
    assert story.one(email)["unsubscribed_from_emails"] is True


@scenario(28)
def test_28_opt_out_before_the_contact_is_visible(story: Story) -> None:
    # Given a user made by the browser a second ago, and an opt-out that cannot see it
    email, external_id = story.email(), story.external_id()
    contact_id = story.made_elsewhere(role="user", email=email, external_id=external_id)
    opt_out = story.queue.enqueue(NewsletterOptOut(email=email))
    story.wait_until(lambda: story.status(opt_out).state == "reconciling")

    # When the sign-up meets the user
    sign_up = story.do(ProductSignUp(email=email, external_id=external_id))

    # Then it carries the opt-out
    assert sign_up.contact_id == contact_id
    assert story.one(email)["unsubscribed_from_emails"] is True


@scenario(28, world="stormy")
def test_28_opt_out_finds_the_contact_when_the_index_shows_it(story: Story) -> None:
    """Nobody else speaks of the person: the second look, after the settle window, finds the contact."""
    email = story.email()
    contact_id = story.made_elsewhere(role="lead", email=email)
    outcome = story.do(NewsletterOptOut(email=email))
    assert (outcome.result, outcome.contact_id) == ("updated", contact_id)
    assert story.one(email)["unsubscribed_from_emails"] is True
