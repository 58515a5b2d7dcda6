"""POST /contacts: what is created, and who stands in the way."""

from __future__ import annotations

import re
import uuid

import pytest

LIVE = "A contact matching those details already exists with id="
GONE = "An archived contact matching those details already exists with id="
E, F = "ann@example.test", "other@example.test"


def test_a_user_comes_back_whole(world):
    world.attribute("plan")
    body = {"external_id": "u-17", "email": E, "name": "Ann", "custom_attributes": {"plan": "pro"}}
    contact = world.ok("POST", "/contacts", body)
    assert re.fullmatch("[0-9a-f]{24}", contact["id"])
    expected = {**body, "type": "contact", "role": "user", "created_at": int(world.now), "phone": None}
    assert {key: contact[key] for key in expected} == expected
    assert contact["unsubscribed_from_emails"] is False
    assert contact["tags"] == {
        "type": "list",
        "data": [],
        "url": f"/contacts/{contact['id']}/tags",
        "total_count": 0,
        "has_more": False,
    }


@pytest.mark.parametrize(
    ("body", "role"),
    [
        ({"email": "a@x.test"}, "user"),  # the default role is user
        ({"external_id": "1"}, "user"),
        ({"role": "contact", "email": "a@x.test"}, "user"),  # accepted and stored as user in 2021
        ({"role": "lead"}, "lead"),
    ],
)
def test_role(world, body, role):
    assert world.ok("POST", "/contacts", body)["role"] == role


@pytest.mark.parametrize("body", [{}, {"name": "Ann"}, {"role": "user"}, {"role": "user", "email": None}])
def test_a_create_needs_an_identity(world, body):
    assert world.error("POST", "/contacts", body)[:2] == (400, "parameter_missing")


@pytest.mark.parametrize(
    "body",
    [
        {"email": 5},
        {"email": "a@x.test", "role": "king"},
        {"email": "a@x.test", "name": ["Ann"]},
        {"email": "a@x.test", "signed_up_at": "yesterday"},
        {"email": "a@x.test", "unsubscribed_from_emails": "yes"},
        {"email": "a@x.test", "owner_id": 0},
        {"email": "a@x.test", "custom_attributes": [1]},
        {"external_id": True},
    ],
)
def test_a_field_of_the_wrong_type_is_refused(world, body):
    assert world.error("POST", "/contacts", body)[:2] == (400, "parameter_invalid")
    assert world.sandbox.contacts() == []


def test_a_leads_external_id_is_minted_and_the_sent_one_dropped(world):
    contact = world.ok("POST", "/contacts", {"role": "lead", "external_id": "mine"})
    assert uuid.UUID(contact["external_id"]).version == 4


def test_an_avatar_goes_in_as_a_string_and_comes_back_as_an_object(world):
    contact = world.ok("POST", "/contacts", {"email": "a@x.test", "avatar": "https://x.test/a.png"})
    assert contact["avatar"] == {"type": "avatar", "image_url": "https://x.test/a.png"}


# --- uniqueness: the existing record, what happened to it, the new request, and the answer ---


@pytest.mark.parametrize(
    ("existing", "fate", "new", "text"),
    [
        ({"external_id": "X"}, None, {"external_id": "X"}, LIVE),
        ({"email": E}, None, {"email": E}, LIVE),
        ({"email": E}, None, {"email": "ANN@example.test"}, LIVE),
        ({"external_id": "X", "email": E}, None, {"external_id": "X", "email": F}, LIVE),
        ({"external_id": "X", "email": E}, "archive", {"external_id": "X", "email": E}, GONE),
        ({"external_id": "X"}, "delete", {"external_id": "X"}, GONE),
        ({"role": "lead", "email": E}, "merge", {"email": E}, GONE),
        ({"role": "lead", "email": E}, None, {"email": E}, None),
        ({"role": "lead", "email": E}, "archive", {"email": E}, None),
        ({"role": "lead", "email": E}, "delete", {"email": E}, None),
        ({"email": E}, None, {"role": "lead", "email": E}, None),
        ({"email": E}, "archive", {"role": "lead", "email": E}, None),
        ({"role": "lead", "email": E}, None, {"role": "lead", "email": E}, None),
        ({"external_id": "X", "email": E}, None, {"external_id": "Y", "email": F}, None),
    ],
)
def test_uniqueness(world, existing, fate, new, text):
    first = world.ok("POST", "/contacts", existing)["id"]
    if fate == "archive":
        world.ok("POST", f"/contacts/{first}/archive")
    elif fate == "delete":
        world.ok("DELETE", f"/contacts/{first}")
    elif fate == "merge":
        world.ok("POST", "/contacts/merge", {"from": first, "into": world.user(email="heir@x.test")})
    if text is None:
        assert world.ok("POST", "/contacts", new)["id"] != first
    else:
        assert world.error("POST", "/contacts", new) == (409, "conflict", text + first)


def test_a_live_holder_is_named_before_one_that_is_gone(world):
    lead = world.lead(email=E)
    user = world.user(email=E)
    world.ok("POST", "/contacts/merge", {"from": lead, "into": user})
    assert world.error("POST", "/contacts", {"email": E}) == (409, "conflict", LIVE + user)


def test_a_deleted_users_identifiers_are_free_after_the_lock(world):
    user = world.user(email=E, external_id="X")
    world.ok("DELETE", f"/contacts/{user}")
    world.now += 7 * 24 * 3600 - 1
    assert world.error("POST", "/contacts", {"email": E, "external_id": "X"})[0] == 409
    world.now += 1
    assert world.user(email=E, external_id="X") != user


def test_the_same_seed_makes_the_same_world(new_world):
    first, second = new_world(), new_world()
    body = {"role": "lead", "email": E}
    assert first.send("POST", "/contacts", body) == second.send("POST", "/contacts", body)
