"""Stories about who is who: browsers, support and other systems make, move and merge contacts too."""

from __future__ import annotations

from onelane import ContactSync, ContactUpsert, LeadCapture, NewsletterOptIn, ProductSignUp

from .story import Story, is_live, scenario

# ── 9: made a second ago by somebody else ─────────────────────────────────────────────────────────────────


@scenario(9)
def test_09_sign_up_of_a_user_that_the_browser_has_just_made(story: Story) -> None:
    # Given a user that the browser SDK made a second ago
    email, external_id = story.email(), story.external_id()
    contact_id = story.made_elsewhere(role="user", email=email, external_id=external_id)

    # When the back-end's first intent arrives
    with story.calls() as calls:
        outcome = story.do(ProductSignUp(email=email, external_id=external_id, name="Ann"))

    # Then the 409 is adopted: no failure, and the index is not polled
    assert calls == ["search", "create", "read", "update"]
    assert (outcome.result, outcome.adopted, outcome.contact_id) == ("updated", True, contact_id)
    assert story.one(email)["name"] == "Ann"


@scenario(9)
def test_09_sync_of_a_user_that_the_browser_has_just_made(story: Story) -> None:
    email, external_id = story.email(), story.external_id()
    contact_id = story.made_elsewhere(role="user", email=email, external_id=external_id)
    with story.calls() as calls:
        outcome = story.do(ContactSync(email=email, external_id=external_id, name="Ann"))
    if story.switch("find_by_external_id") == "strong":
        assert calls == ["find", "update"]
    else:  # the look-up lags like the search; the 409 tells
        assert calls == ["find", "search", "create", "read", "update"]
    assert (outcome.result, outcome.contact_id) == ("updated", contact_id)
    assert story.one(email)["name"] == "Ann"


@scenario(9)
def test_09_user_without_external_id_that_somebody_has_just_made(story: Story) -> None:
    """Role user by address alone: the 409 names the contact, and the address settles who it is."""
    email = story.email()
    contact_id = story.made_elsewhere(role="user", email=email)
    with story.calls() as calls:
        outcome = story.do(ContactUpsert(email=email, role="user", set={"name": "Ann"}))
    assert calls == ["search", "create", "update"]
    assert (outcome.result, outcome.adopted, outcome.contact_id) == ("updated", True, contact_id)
    assert story.one(email)["name"] == "Ann"


# ── 16: a lead and a user of one address ──────────────────────────────────────────────────────────────────


@scenario(16, seeded=True)
def test_16_the_user_is_chosen(story: Story) -> None:
    # Given a lead and a user of one address, both of them strangers to us
    email = story.email()
    lead_id = story.made_elsewhere(role="lead", email=email)
    user_id = story.made_elsewhere(role="user", email=email)
    story.indexed()
    # When a form is filled in
    with story.calls() as calls:
        outcome = story.do(LeadCapture(email=email, name="Ann"))
    # Then the user gets the data; the lead is not ours to merge, and is reported
    assert calls == ["search", "read", "update"]
    assert (outcome.contact_id, outcome.other_contacts) == (user_id, (lead_id,))
    assert story.contact(user_id)["name"] == "Ann"
    assert is_live(story.contact(lead_id))
    assert story.contact(lead_id)["name"] is None


@scenario(16)
def test_16_a_lead_of_our_own_is_merged(story: Story) -> None:
    # Given our own lead, and a user of that address whom the browser has just made
    email, external_id = story.email(), story.external_id()
    lead = story.do(LeadCapture(email=email, custom_attributes={"seats": 5}))
    user_id = story.made_elsewhere(role="user", email=email, external_id=external_id)
    # When a sync brings the external id
    outcome = story.do(ContactSync(email=email, external_id=external_id, name="Ann"))
    # Then the user is the person, and the lead goes into it with what it had
    assert (outcome.contact_id, outcome.merged) == (user_id, (lead.contact_id,))
    person = story.one(email)
    assert (person["id"], person["name"], person["custom_attributes"]["seats"]) == (user_id, "Ann", 5)
    assert story.contact(lead.contact_id)["merged_into"] == user_id


@scenario(16, world="stormy")
def test_16_a_stored_lead_id_is_resolved_again(story: Story) -> None:
    # Given our own lead, merged by the Messenger into a user
    email = story.email()
    lead = story.do(LeadCapture(email=email))
    user_id = story.made_elsewhere(role="user", email=email)
    story.elsewhere("POST", "/contacts/merge", {"from": lead.contact_id, "into": user_id})
    # When a form is filled in
    outcome = story.do(LeadCapture(email=email, name="Ann"))
    # Then it finds the user; no second lead is made
    assert outcome.contact_id == user_id
    assert story.one(email)["name"] == "Ann"


# ── 17: two users of one address ──────────────────────────────────────────────────────────────────────────


def two_users(story: Story, email: str) -> dict[str, str]:
    """External id → contact id of two users of one address.

    Whatever the rules are today, an address may have come to be shared: here by an update.
    """
    users = {}
    for address in (email, story.email("moving")):
        external_id = story.external_id()
        users[external_id] = story.made_elsewhere(role="user", email=address, external_id=external_id)
    moving = list(users.values())[1]
    with story.world.weather:
        rule = story.switch("put_email_conflict")
        story.sandbox.switch("put_email_conflict", "allow")
        story.changed_elsewhere(moving, email=email)
        story.sandbox.switch("put_email_conflict", rule)
    return users


@scenario(17, seeded=True)
def test_17_the_one_with_the_intents_external_id(story: Story) -> None:
    email = story.email()
    users = two_users(story, email)
    story.indexed()
    for external_id, contact_id in users.items():
        outcome = story.do(ContactSync(email=email, external_id=external_id, name=external_id))
        assert outcome.contact_id == contact_id
    assert {c["external_id"]: c["name"] for c in story.live(email)} == {x: x for x in users}


@scenario(17, seeded=True)
def test_17_an_intent_without_external_id_chooses_the_same_one_each_time(story: Story) -> None:
    # Given two users of one address
    email = story.email()
    users = [story.contact(contact_id) for contact_id in two_users(story, email).values()]
    story.indexed()
    # When nothing tells which of them is meant, then the oldest is; of two of one second, the smaller id
    oldest, other = (one["id"] for one in sorted(users, key=lambda one: (one["created_at"], one["id"])))
    with story.calls() as calls:
        ends = [story.do(LeadCapture(email=email, name=name)) for name in ("Ann", "Anna")]
    assert calls == ["search", "read", "update", "update"]
    assert [(end.contact_id, end.ambiguous) for end in ends] == [(oldest, True)] * 2
    assert story.contact(oldest)["name"] == "Anna"
    assert story.contact(other)["name"] is None


@scenario(17, seeded=True)
def test_17_an_external_id_that_no_user_has_is_another_account(story: Story) -> None:
    # Given two users of one address, and an intent with a third external id
    email = story.email()
    users = two_users(story, email)
    story.indexed()
    third = story.external_id()
    outcome = story.do(ContactSync(email=email, external_id=third, name="Third"))

    # Then neither of the others is touched
    others = [c for c in story.live(email) if c["id"] in users.values()]
    assert [c["name"] for c in others] == [None, None]
    if story.switch("email_conflict") == "strict":  # no second user of an address can be made
        assert (outcome.result, outcome.reason) == ("rejected", "address_taken")
        assert len(story.live(email)) == 2
    else:
        assert (outcome.result, outcome.ambiguous) == ("created", True)
        assert story.contact(outcome.contact_id)["external_id"] == third


# ── 18: ghosts ────────────────────────────────────────────────────────────────────────────────────────────


@scenario(18, seeded=True, world="strict")
def test_18_a_ghost_that_was_archived(story: Story) -> None:
    # Given a lead that the index still shows, though it has been archived
    email = story.email()
    ghost = story.made_elsewhere(role="lead", email=email, name="Ghost")
    story.indexed()
    story.archived_elsewhere(ghost)
    # When a form is filled in
    with story.calls() as calls:
        outcome = story.do(LeadCapture(email=email, name="Ann"))
    # Then the ghost is read and left alone; a lead is made once a miss proves something
    assert calls.names[:2] == ["search", "read"]
    assert calls.names.count("create") == 1
    assert "update" not in calls.names
    assert (outcome.result, story.one(email)["id"]) == ("created", outcome.contact_id)
    assert story.contact(ghost)["archived"]
    assert story.contact(ghost)["name"] == "Ghost"


@scenario(18, seeded=True)
def test_18_a_ghost_that_moved_to_another_address(story: Story) -> None:
    email, new_email = story.email(), story.email("new")
    moved = story.made_elsewhere(role="user", email=email, name="Moved")
    story.indexed()
    story.changed_elsewhere(moved, email=new_email)
    outcome = story.do(LeadCapture(email=email, name="Ann"))
    assert (outcome.result, story.one(email)["id"]) == ("created", outcome.contact_id)
    assert story.one(new_email)["name"] == "Moved"


@scenario(18, seeded=True)
def test_18_a_ghost_of_the_intents_own_user(story: Story) -> None:
    """The index shows the user as live. The sign-up's create is refused, and that says where the user is."""
    email, external_id = story.email(), story.external_id()
    ghost = story.made_elsewhere(role="user", email=email, external_id=external_id)
    story.indexed()
    story.archived_elsewhere(ghost)
    outcome = story.do(ProductSignUp(email=email, external_id=external_id, name="Ann"))
    assert (outcome.contact_id, outcome.revived) == (ghost, True)
    assert story.one(email)["name"] == "Ann"


# ── 23, 24: external ids and leads ────────────────────────────────────────────────────────────────────────


@scenario(23)
def test_23_a_lead_is_found_by_the_external_id_that_intercom_ignored(story: Story) -> None:
    # Given a lead made with an external id, which Intercom drops
    email, external_id = story.email(), story.external_id()
    with story.calls() as calls:
        made = story.do(ContactUpsert(email=email, external_id=external_id, role="lead"))
    assert calls == ["find", "search", "create"]
    assert story.one(email)["external_id"] != external_id

    # When another intent names it, and then the person signs up
    with story.calls() as calls:
        named = story.do(
            ContactUpsert(email=email, external_id=external_id, role="lead", set={"name": "Ann"})
        )
        sign_up = story.do(ProductSignUp(email=email, external_id=external_id))

    # Then both find the contact without asking
    assert calls == ["update", "update"]
    assert {named.contact_id, sign_up.contact_id} == {made.contact_id}
    person = story.one(email)
    assert (person["role"], person["external_id"], person["name"]) == ("user", external_id, "Ann")


@scenario(24)
def test_24_conversion_refused_because_the_browser_made_the_user(story: Story) -> None:
    # Given a quote, and a user whom the browser SDK has just made with the external id
    email, external_id = story.email(), story.external_id()
    lead = story.do(LeadCapture(email=email, name="Ann"))
    user_id = story.made_elsewhere(role="user", email=email, external_id=external_id)

    # When the sign-up tries to convert the lead, Intercom refuses
    with story.calls() as calls:
        outcome = story.do(ProductSignUp(email=email, external_id=external_id, phone="+4930123456"))

    # Then the user named by the refusal is the person; the lead is merged into it
    assert calls == ["update", "read", "update", "merge"]
    assert (outcome.contact_id, outcome.adopted, outcome.merged) == (user_id, True, (lead.contact_id,))
    person = story.one(email)
    assert (person["id"], person["phone"], person["name"]) == (user_id, "+4930123456", "Ann")

    # And later intents know it
    with story.calls() as calls:
        assert story.do(NewsletterOptIn(email=email)).contact_id == user_id
    assert calls == ["update"]


# ── 25: addresses move ────────────────────────────────────────────────────────────────────────────────────


@scenario(25)
def test_25_a_sync_moves_the_contact_to_its_new_address(story: Story) -> None:
    # Given a user known by our own sync
    old, new, external_id = story.email("old"), story.email("new"), story.external_id()
    made = story.do(ContactSync(email=old, external_id=external_id, name="Ann"))

    # When the next sync brings the same external id with a new address
    with story.calls() as calls:
        moved = story.do(ContactSync(email=new, external_id=external_id, name="Ann"))

    # Then the same contact has moved
    assert (moved.result, moved.contact_id) == ("updated", made.contact_id)
    assert calls.names.count("create") == 0
    assert story.one(new)["id"] == made.contact_id
    assert story.live(old) == []

    # And the old address no longer finds it: it is somebody else's now
    outcome = story.do(LeadCapture(email=old, name="Bob"))
    assert outcome.contact_id != made.contact_id
    assert story.one(new)["name"] == "Ann"
    assert story.one(old)["name"] == "Bob"


@scenario(25)
def test_25_a_stranger_with_a_known_external_id_moves_too(story: Story) -> None:
    old, new, external_id = story.email("old"), story.email("new"), story.external_id()
    contact_id = story.made_elsewhere(role="user", email=old, external_id=external_id)
    outcome = story.do(ContactSync(email=new, external_id=external_id, name="Ann"))
    assert (outcome.result, outcome.contact_id) == ("updated", contact_id)
    assert story.one(new)["id"] == contact_id
    assert story.live(old) == []


@scenario(25)
def test_25_a_sign_up_under_another_address_takes_the_quotes_contact_along(story: Story) -> None:
    # Given a quote under one address
    old, new, external_id = story.email("old"), story.email("new"), story.external_id()
    quote = story.do(LeadCapture(email=old, name="Ann"))

    # When the person signs up under another one, and the producer knows the quote's contact
    intent = ProductSignUp(email=new, external_id=external_id, contact_id=quote.contact_id)
    with story.calls() as calls:
        sign_up = story.do(intent)

    # Then it is one contact, under its new address
    assert calls == ["read", "update"]
    assert (sign_up.result, sign_up.contact_id) == ("converted", quote.contact_id)
    assert (story.one(new)["id"], story.one(new)["name"]) == (quote.contact_id, "Ann")

    # And whoever comes with the old address is somebody else
    assert story.do(LeadCapture(email=old, name="Bob")).contact_id != quote.contact_id
    assert (story.one(old)["name"], story.one(new)["name"]) == ("Bob", "Ann")


# ── 34: the same address in another form ──────────────────────────────────────────────────────────────────

FORMS = {
    "native": ("{}@b\u00fccher.example", "{}@xn--bcher-kva.example"),
    "decomposed": ("{}.rene\u0301@example.test", "{}.ren\u00e9@example.test"),
}


@scenario(34, seeded=True, form=sorted(FORMS))
def test_34_a_contact_stored_in_another_form_is_the_same_contact(story: Story, form: str) -> None:
    # Given a contact whose address others stored with native letters, or with its accents apart
    name = story.email().partition("@")[0]
    stored, asked = (pattern.format(name) for pattern in FORMS[form])
    contact_id = story.made_elsewhere(role="user", email=stored, name="Ann")
    story.indexed()

    # When a service names the person by the normalised address
    outcome = story.do(LeadCapture(email=asked, phone="+4930123456"))

    # Then it is that contact, its address as it was, and there is no other one
    assert (outcome.result, outcome.contact_id) == ("updated", contact_id)
    contact = story.contact(contact_id)
    assert (contact["phone"], contact["email"]) == ("+4930123456", stored)
    assert [one["id"] for one in story.sandbox.contacts() if name in str(one["email"])] == [contact_id]
