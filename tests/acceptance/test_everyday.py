"""Everyday stories: opt-ins, quotes, sign-ups and re-syncs, all faster than Intercom's index."""

from __future__ import annotations

from datetime import UTC, datetime

from onelane import ContactSync, ContactUpsert, LeadCapture, NewsletterOptIn, ProductSignUp

from .story import Story, scenario


@scenario(1)
def test_01_sign_up_then_newsletter_opt_in(story: Story) -> None:
    # Given a person who signed up for the product, and has unsubscribed from all mail
    email, external_id = story.email(), story.external_id()
    with story.calls() as calls:
        signed_up = story.do(ProductSignUp(email=email, external_id=external_id, name="Ann"))
    assert (signed_up.result, signed_up.role) == ("created", "user")
    assert calls == ["search", "create"]
    story.changed_elsewhere(signed_up.contact_id, unsubscribed_from_emails=True)

    # When they subscribe, too, a few seconds later
    with story.calls() as calls:
        opted_in = story.do(NewsletterOptIn(email=email))

    # Then the user is updated: no lead appears, and the opt-out is lifted
    assert (opted_in.result, opted_in.contact_id) == ("updated", signed_up.contact_id)
    assert calls == ["update"]
    person = story.one(email)
    assert (person["role"], person["external_id"]) == ("user", external_id)
    assert person["unsubscribed_from_emails"] is False


@scenario(2)
def test_02_two_opt_ins_make_one_lead(story: Story) -> None:
    # Given an opt-in that the index does not show yet
    email = story.email()
    with story.calls() as calls:
        first = story.do(NewsletterOptIn(email=email, name="Ann"))
    assert calls == ["search", "create"]

    # When the same person opts in again, in capitals
    with story.calls() as calls:
        second = story.do(NewsletterOptIn(email=email.upper(), name="Ann B."))

    # Then there is one lead, known without asking
    assert calls == ["update"]
    assert (first.result, second.result) == ("created", "updated")
    lead = story.one(email)
    assert (lead["id"], lead["role"], lead["name"]) == (second.contact_id, "lead", "Ann B.")


@scenario(2)
def test_02_two_opt_ins_at_the_same_moment_make_one_lead(story: Story) -> None:
    email = story.email()
    receipts = story.queue.enqueue_many([NewsletterOptIn(email=email) for _ in range(2)])
    ends = [story.end(receipt) for receipt in receipts]
    assert ends[0].result == "created"
    assert {end.contact_id for end in ends} == {story.one(email)["id"]}


@scenario(4)
def test_04_quote_then_sign_up_is_one_contact(story: Story) -> None:
    # Given a price quote
    email, external_id = story.email(), story.external_id()
    quote = story.do(LeadCapture(email=email, name="Ann", custom_attributes={"seats": 5}))
    assert (quote.result, quote.role) == ("created", "lead")

    # When the person signs up before the index shows the lead
    with story.calls() as calls:
        sign_up = story.do(ProductSignUp(email=email, external_id=external_id, signed_up_at=1_700_000_000))

    # Then the same contact is a user now, with the external id and all it had
    assert calls == ["update"]
    assert (sign_up.result, sign_up.contact_id) == ("converted", quote.contact_id)
    person = story.one(email)
    assert (person["role"], person["external_id"]) == ("user", external_id)
    assert (person["name"], person["custom_attributes"]["seats"]) == ("Ann", 5)
    assert person["signed_up_at"] == 1_700_000_000


@scenario(7)
def test_07_no_change_is_lost_as_a_no_op(story: Story) -> None:
    # Given a nightly re-sync that has made the contact
    email, external_id = story.email(), story.external_id()

    def sync(name: str) -> ContactSync:
        return ContactSync(email=email, external_id=external_id, name=name, custom_attributes={"plan": "pro"})

    with story.calls() as calls:
        story.do(sync("Ann"))
    assert calls == ["find", "search", "create"]

    # When it comes again and again, nothing is asked of Intercom
    with story.calls() as calls:
        again = [story.do(sync("Ann")) for _ in range(5)]
    assert {end.result for end in again} == {"unchanged"}
    assert calls == []

    # When one value changes, and then changes back, both changes are written
    for name in ("Anna", "Ann"):
        with story.calls() as calls:
            assert story.do(sync(name)).result == "updated"
        assert calls.bodies("update") == [{"name": name}]
        assert story.one(email)["name"] == name


@scenario(8, seeded=True)
def test_08_latest_never_comes_from_the_index(story: Story) -> None:
    # Given a contact that the index shows with its old name
    email = story.email()
    contact_id = story.made_elsewhere(role="user", email=email, name="Old")
    story.indexed()
    story.changed_elsewhere(contact_id, name="New")
    assert story.queue.latest(email) is None

    # When one of our intents touches it
    before = datetime.now(UTC)
    with story.calls() as calls:
        story.do(LeadCapture(email=email, phone="+4930123456"))
    assert calls == ["search", "read", "update"]

    # Then the reader gets what Intercom itself said in answer to the write
    latest = story.queue.latest(email)
    assert latest is not None
    assert (latest.contact_id, latest.role, latest.source) == (contact_id, "user", "written")
    assert (latest.fields["name"], latest.fields["phone"]) == ("New", "+4930123456")
    assert latest.as_of >= before.replace(microsecond=0)


@scenario(8, seeded=True)
def test_08_latest_after_a_no_op_is_what_was_read(story: Story) -> None:
    email = story.email()
    contact_id = story.made_elsewhere(role="user", email=email, name="Old")
    story.indexed()
    story.changed_elsewhere(contact_id, name="New")
    with story.calls() as calls:
        assert story.do(LeadCapture(email=email, name="New")).result == "unchanged"
    assert calls == ["search", "read"]
    latest = story.queue.latest(email)
    assert latest is not None
    assert (latest.source, latest.fields["name"]) == ("read", "New")


@scenario(10)
def test_10_set_on_insert_is_written_on_a_create_only(story: Story) -> None:
    # Given an upsert with fields for every time, and fields for the first time
    email = story.email()

    def upsert(plan: str, seats: int, name: str) -> ContactUpsert:
        return ContactUpsert(
            email=email,
            set={"custom_attributes": {"plan": plan}},
            set_on_insert={"name": name, "custom_attributes": {"seats": seats}},
        )

    # When nobody is there, both are written
    with story.calls() as calls:
        assert story.do(upsert("free", 1, "Ann")).result == "created"
    assert calls == ["search", "create"]
    person = story.one(email)
    assert (person["name"], person["custom_attributes"]) == ("Ann", {"plan": "free", "seats": 1})

    # When somebody is there, only the first
    with story.calls() as calls:
        assert story.do(upsert("pro", 99, "Nobody")).result == "updated"
    assert calls.bodies("update") == [{"custom_attributes": {"plan": "pro"}}]
    person = story.one(email)
    assert (person["name"], person["custom_attributes"]) == ("Ann", {"plan": "pro", "seats": 1})


@scenario(10, seeded=True)
def test_10_set_on_insert_is_not_written_to_a_strangers_contact(story: Story) -> None:
    email = story.email()
    story.made_elsewhere(role="lead", email=email, name="Ann")
    story.indexed()
    with story.calls() as calls:
        story.do(ContactUpsert(email=email, set={"phone": "+4930123456"}, set_on_insert={"name": "Nobody"}))
    assert calls == ["search", "read", "update"]
    person = story.one(email)
    assert (person["name"], person["phone"]) == ("Ann", "+4930123456")


@scenario(12)
def test_12_the_write_is_at_intercom_before_the_intent_ends(story: Story) -> None:
    # Given an index that lags by minutes
    email, external_id = story.email(), story.external_id()

    # When a sign-up ends
    with story.calls() as calls:
        outcome = story.do(ProductSignUp(email=email, external_id=external_id, name="Ann"))

    # Then support sees the contact; the index was asked once, and nobody waited for it
    status, shown = story.sandbox.call("GET", f"/contacts/{outcome.contact_id}")
    assert (status, shown["name"]) == (200, "Ann")
    assert calls == ["search", "create"]
    assert outcome.calls == 2
