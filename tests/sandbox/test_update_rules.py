"""PUT /contacts/{id}: partial, null, conversion, takeover."""

from __future__ import annotations

import pytest

A, B = "ann@example.test", "bob@example.test"


def test_absent_fields_stay(world):
    user = world.user(email=A, name="Ann", phone="+1")
    world.now += 5
    updated = world.ok("PUT", f"/contacts/{user}", {"name": "Anna"})
    assert (updated["name"], updated["phone"], updated["email"]) == ("Anna", "+1", A)
    assert updated["updated_at"] == updated["created_at"] + 5
    assert world.read(user) == updated


def test_null_clears_name_and_phone(world):
    user = world.user(email=A, name="Ann", phone="+1")
    updated = world.ok("PUT", f"/contacts/{user}", {"name": None, "phone": None})
    assert (updated["name"], updated["phone"]) == (None, None)


def test_a_cleared_email_is_empty_in_the_answer_and_null_afterwards(world):
    user = world.user(email=A, external_id="X")
    assert world.ok("PUT", f"/contacts/{user}", {"email": None})["email"] == ""
    world.sandbox.catch_up()
    assert world.search({"field": "external_id", "operator": "=", "value": "X"})["data"][0]["email"] is None


@pytest.mark.parametrize("role", ["user", "lead"])
def test_a_null_external_id_is_ignored(world, role):
    contact = world.ok("POST", "/contacts", {"role": role, "email": A, "external_id": "X"})
    updated = world.ok("PUT", f"/contacts/{contact['id']}", {"external_id": None})
    assert updated["external_id"] == contact["external_id"] is not None


def test_custom_attributes_merge_by_key_and_null_unsets(world):
    world.attribute("plan")
    world.attribute("seats", "integer")
    user = world.user(email=A, custom_attributes={"plan": "pro", "seats": 3})
    updated = world.ok("PUT", f"/contacts/{user}", {"custom_attributes": {"plan": None}})
    assert updated["custom_attributes"] == {"plan": None, "seats": 3}


def test_a_lead_becomes_a_user_and_keeps_its_id(world):
    lead = world.lead(email=A)
    updated = world.ok("PUT", f"/contacts/{lead}", {"role": "user", "external_id": "X"})
    assert (updated["id"], updated["role"], updated["external_id"]) == (lead, "user", "X")
    assert world.ok("GET", "/contacts/find_by_external_id/X")["id"] == lead


def test_a_leads_external_id_cannot_be_set_while_it_is_a_lead(world):
    lead = world.lead(email=A)
    minted = world.read(lead)["external_id"]
    assert world.ok("PUT", f"/contacts/{lead}", {"external_id": "X"})["external_id"] == minted


def test_a_user_does_not_become_a_lead(world):
    user = world.user(email=A)
    expected = (400, "client_error", "Contact with user role can't be converted to a lead")
    assert world.error("PUT", f"/contacts/{user}", {"role": "lead"}) == expected


def test_an_email_only_user_takes_an_external_id(world):
    user = world.user(email=A)
    assert world.ok("PUT", f"/contacts/{user}", {"external_id": "X"})["external_id"] == "X"


def test_a_live_users_external_id_is_not_given_away(world):
    holder, lead = world.user(external_id="X"), world.lead(email=A)
    message = f"A contact matching those details already exists with id={holder}"
    body = {"role": "user", "external_id": "X"}
    assert world.error("PUT", f"/contacts/{lead}", body) == (409, "conflict", message)
    assert world.read(lead)["role"] == "lead"


def test_leads_may_take_any_address(world):
    world.sandbox.switch("put_email_conflict", "409")
    world.user(email=B)
    lead = world.lead(email=A)
    assert world.ok("PUT", f"/contacts/{lead}", {"email": B})["email"] == B


def test_what_was_merged_into_a_user_does_not_stand_in_its_way(world):
    world.sandbox.switch("put_email_conflict", "409")
    lead, user = world.lead(email=A), world.user(email=B)
    world.ok("POST", "/contacts/merge", {"from": lead, "into": user})
    assert world.ok("PUT", f"/contacts/{user}", {"email": A})["email"] == A


@pytest.mark.parametrize("end", ["archive", "block", "delete", "unknown"])
def test_a_contact_that_is_gone_cannot_be_written(world, end):
    user = world.user(email=A)
    if end == "delete":
        world.ok("DELETE", f"/contacts/{user}")
    elif end == "unknown":
        user = "0" * 24
    else:
        world.ok("POST", f"/contacts/{user}/{end}")
    for method, path, body in (
        ("GET", f"/contacts/{user}", None),
        ("PUT", f"/contacts/{user}", {"name": "x"}),
        ("GET", f"/contacts/{user}/subscriptions", None),
        ("POST", f"/contacts/{user}/tags", {"id": "1"}),
    ):
        assert world.error(method, path, body) == (404, "not_found", "User Not Found")


def test_a_refused_update_changes_nothing(world):
    user = world.user(email=A, name="Ann")
    before = world.read(user)
    body = {"name": "Anna", "custom_attributes": {"nope": 1}}
    assert world.error("PUT", f"/contacts/{user}", body)[0] == 400
    assert world.read(user) == before


def test_an_external_id_may_hold_a_slash(world):
    user = world.user(external_id="team/7 a")
    assert world.ok("GET", "/contacts/find_by_external_id/team%2F7%20a")["id"] == user
