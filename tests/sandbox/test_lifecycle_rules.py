"""Archive, delete, block, merge, the ways back, and the differences of version 2.16."""

from __future__ import annotations

import pytest

A, B = "ann@example.test", "bob@example.test"
GONE = (404, "not_found", "User Not Found")


def test_archive_and_back_is_the_same_contact(world):
    user = world.user(email=A, name="Ann", external_id="X")
    before = world.read(user)
    expected = {"type": "contact", "id": user, "external_id": "X", "archived": True}
    assert world.ok("POST", f"/contacts/{user}/archive") == expected
    assert world.ok("POST", f"/contacts/{user}/archive") == expected  # twice is 200 both times
    assert world.error("GET", f"/contacts/{user}") == GONE
    assert world.error("GET", "/contacts/find_by_external_id/X") == GONE
    assert world.ok("POST", f"/contacts/{user}/unarchive") == {**expected, "archived": False}
    assert world.read(user) == before


def test_two_leads_with_one_address_may_both_live(world):
    first = world.lead(email=A)
    world.ok("POST", f"/contacts/{first}/archive")
    second = world.lead(email=A)
    world.ok("POST", f"/contacts/{first}/unarchive")
    assert world.read(first)["email"] == world.read(second)["email"] == A


def test_unarchive_does_not_double_an_external_id(world):
    first = world.user(external_id="X")
    world.ok("POST", f"/contacts/{first}/archive")
    second = world.user(email=B)
    world.ok("PUT", f"/contacts/{second}", {"external_id": "X"})
    assert world.error("POST", f"/contacts/{first}/unarchive")[:2] == (409, "conflict")


def test_delete_is_for_good(world):
    user = world.user(email=A)
    answer = {"type": "contact", "id": user, "external_id": None, "deleted": True}
    assert world.ok("DELETE", f"/contacts/{user}") == answer
    assert world.error("GET", f"/contacts/{user}") == GONE
    message = "User has been marked for permanent deletion and is not restorable."
    assert world.error("POST", f"/contacts/{user}/unarchive") == (400, "bad_request", message)
    assert world.error("DELETE", f"/contacts/{user}") == GONE


def test_block(world):
    user = world.user(email=A)
    answer = {"type": "contact", "id": user, "external_id": None, "blocked": True}
    assert world.ok("POST", f"/contacts/{user}/block") == answer
    assert world.error("POST", f"/contacts/{user}/unarchive")[:2] == (400, "not_restorable")
    assert world.sandbox.contacts()[0]["blocked"] is True


def test_merge_fills_gaps_and_keeps_the_users_own(world):
    world.attribute("plan")
    world.attribute("city")
    lead = world.lead(email=A, name="Lead", phone="+1", custom_attributes={"plan": "free", "city": "Ulm"})
    user = world.user(external_id="X", name="User", custom_attributes={"plan": "pro"})
    world.ok("POST", f"/contacts/{lead}/subscriptions", {"id": "101", "consent_type": "opt_out"})
    merged = world.ok("POST", "/contacts/merge", {"from": lead, "into": user})
    kept = ("id", "email", "name", "phone", "custom_attributes")
    assert [merged[name] for name in kept] == [user, A, "User", "+1", {"plan": "pro", "city": "Ulm"}]
    assert [one["id"] for one in world.ok("GET", f"/contacts/{user}/subscriptions")["data"]] == ["101"]
    message = "User has been merged and is not restorable."
    assert world.error("POST", f"/contacts/{lead}/unarchive") == (400, "bad_request", message)
    assert world.sandbox.contacts()[0]["merged_into"] == user


@pytest.mark.parametrize("pair", [("user", "user"), ("lead", "lead"), ("user", "lead")])
def test_only_a_lead_merges_and_only_into_a_user(world, pair):
    ids = [
        world.ok("POST", "/contacts", {"role": role, "external_id": role + str(at)})["id"]
        for at, role in enumerate(pair)
    ]
    body = {"from": ids[0], "into": ids[1]}
    assert world.error("POST", "/contacts/merge", body)[:2] == (400, "invalid_merge")


def test_a_second_merge_finds_the_lead_gone(world):
    lead, user = world.lead(email=A), world.user(email=A)
    body = {"from": lead, "into": user}
    world.ok("POST", "/contacts/merge", body)
    assert world.error("POST", "/contacts/merge", body) == GONE


def test_reading_a_merged_contact_depends_on_the_version(world):
    lead, user = world.lead(email=A), world.user(email=A)
    world.ok("POST", "/contacts/merge", {"from": lead, "into": user})
    assert world.error("GET", f"/contacts/{lead}", version="2.15") == GONE
    new = world.send("GET", f"/contacts/{lead}", version="2.16")
    assert (new.status, new.body["errors"][0]["code"]) == (410, "contact_merged")
    assert new.headers["Link"] == f'</contacts/{user}>; rel="canonical"'


def test_version_2_16_shows_owners_as_strings(world):
    user = world.user(email=A, owner_id=7)
    assert world.ok("GET", f"/contacts/{user}", version="2.15")["owner_id"] == 7
    assert world.ok("GET", f"/contacts/{user}", version="2.16")["owner_id"] == "7"


def test_version_2_16_merges_duplicates_only(world):
    lead, user = world.lead(email=A), world.user(email=B)
    body = {"from": lead, "into": user}
    assert world.error("POST", "/contacts/merge", body, version="2.16")[:2] == (400, "invalid_merge")
    world.ok("POST", "/contacts/merge", {**body, "skip_duplicate_validation": True}, version="2.16")


def test_contacts_whose_address_has_a_sharp_s_are_duplicates_of_each_other(world):
    strasse = "straße@example.test"
    lead, user = world.lead(email=strasse), world.user(email=strasse)
    world.ok("POST", "/contacts/merge", {"from": lead, "into": user}, version="2.16")


def test_version_2_16_wants_an_email_with_email_verified(world):
    body = {"external_id": "X", "email_verified": True}
    assert world.error("POST", "/contacts", body, version="2.16")[0] == 400
    assert world.call("POST", "/contacts", body, version="2.15")[0] == 200


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/contacts/find_by_external_id/X"), ("POST", "/contacts/X/block")]
)
def test_endpoints_younger_than_the_version(world, method, path):
    message = "Requested resource is not available in current API version."
    assert world.error(method, path, version="2.12") == (400, "intercom_version_invalid", message)


def test_find_by_external_id_finds_users_only(world):
    lead = world.lead(email=A)
    minted = world.read(lead)["external_id"]
    assert world.error("GET", f"/contacts/find_by_external_id/{minted}") == GONE
