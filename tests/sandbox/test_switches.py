"""Every value of every switch changes something that a client can see."""

from __future__ import annotations

import pytest

from onelane_sandbox.switches import SWITCHES

A, B = "ann@example.test", "bob@example.test"


def _email_conflict(world):
    """Statuses of creating a user with a held address: which side has an external id?"""
    statuses = []
    for number, (old, new) in enumerate([(None, None), (None, "n"), ("o", None), ("o", "n")]):
        email = f"{number}@x.test"
        world.ok("POST", "/contacts", {"email": email, "external_id": old and f"{old}{number}"})
        statuses.append(
            world.call("POST", "/contacts", {"email": email, "external_id": new and f"{new}{number}"})[0]
        )
    return statuses


def _put_email_conflict(world):
    """Statuses of taking over a live user's address, an archived user's external id, a live user's one."""
    world.user(email=A, external_id="live")
    gone = world.user(external_id="gone")
    world.ok("POST", f"/contacts/{gone}/archive")
    path = f"/contacts/{world.user(email=B)}"
    bodies = [{"email": A}, {"external_id": "gone"}, {"external_id": "live"}]
    return [world.call("PUT", path, body)[0] for body in bodies]


def _find_by_external_id(world):
    world.user(external_id="X")
    first = world.call("GET", "/contacts/find_by_external_id/X")[0]
    world.now += 60
    return [first, world.call("GET", "/contacts/find_by_external_id/X")[0]]


def _email_search_case(world):
    world.sandbox.set_lag(0.0)
    world.user(email="Ann@Example.test")
    asked = ["Ann@Example.test", "ann@example.test"]
    return [len(world.find("email", operator, one)) for operator in ("=", "^") for one in asked]


def _email_store_case(world):
    path = f"/contacts/{world.user(email='Ann@Example.test')}"
    return [world.ok("GET", path)["email"], world.ok("PUT", path, {"email": "Bob@Example.test"})["email"]]


def _unknown_attribute(world):
    create = world.error("POST", "/contacts", {"email": A, "custom_attributes": {"x": 1}})
    update = world.error("PUT", f"/contacts/{world.user(email=A)}", {"custom_attributes": {"x": None}})
    return [create[:2], update[0]]


def _deleted_unarchive(world):
    user = world.user(email=A)
    world.ok("DELETE", f"/contacts/{user}")
    return [world.error("POST", f"/contacts/{user}/unarchive")[:2]]


def _blocked_create(world):
    world.ok("POST", f"/contacts/{world.user(email=A)}/block")
    return [world.error("POST", "/contacts", {"email": A})]


def _merge_role_error(world):
    body = {"from": world.user(email=A), "into": world.user(email=B)}
    return [world.error("POST", "/contacts/merge", body)[:2]]


def _consent_type_mismatch(world):
    path = f"/contacts/{world.user(email=A)}/subscriptions"
    status = world.call("POST", path, {"id": "101", "consent_type": "opt_in"})[0]
    return [status, world.sandbox.contacts()[0]["subscriptions"]]


def _opt_in_lifts_unsubscribe_all(world):
    user = world.user(email=A, unsubscribed_from_emails=True)
    path = f"/contacts/{user}/subscriptions"
    flags = []
    world.ok("POST", path, {"id": "101", "consent_type": "opt_out"})
    flags.append(world.read(user)["unsubscribed_from_emails"])
    world.ok("POST", path, {"id": "102", "consent_type": "opt_in"})
    flags.append(world.read(user)["unsubscribed_from_emails"])
    return flags


def _subscription_lists(world):
    world.sandbox.set_lag(0.0)
    body = world.ok("POST", "/contacts", {"email": A})
    (found,) = world.ok("GET", "/contacts")["data"]
    return ["opted_in_subscription_types" in one for one in (body, found)]


def _delete_lock_s(world):
    """After 100 s: may the identifiers be used again, and what does unarchive say?"""
    user = world.user(email=A)
    world.ok("DELETE", f"/contacts/{user}")
    world.now += 100
    unarchive = world.call("POST", f"/contacts/{user}/unarchive")[0]
    return [world.call("POST", "/contacts", {"email": A})[0], unarchive]


BLOCKED = "This user was blocked and cannot be recreated"
OPTED_OUT = [{"id": "101", "consent_type": "opt_out"}]
TABLE = [
    (_email_conflict, "strict", [409, 409, 409, 409]),
    (_email_conflict, "external_id_wins", [409, 409, 409, 200]),
    (_email_conflict, "loose", [409, 200, 200, 200]),
    (_put_email_conflict, "allow", [200, 200, 409]),
    (_put_email_conflict, "409", [409, 409, 409]),
    (_find_by_external_id, "strong", [200, 200]),
    (_find_by_external_id, "lagging", [404, 200]),
    (_email_search_case, "insensitive", [1, 1, 1, 1]),
    (_email_search_case, "sensitive", [1, 0, 1, 1]),
    (_email_store_case, "preserve", ["Ann@Example.test", "Bob@Example.test"]),
    (_email_store_case, "lower", ["ann@example.test", "bob@example.test"]),
    (_unknown_attribute, "400", [(400, "parameter_invalid"), 400]),
    (_unknown_attribute, "422", [(422, "data_invalid"), 422]),
    (_deleted_unarchive, "400", [(400, "bad_request")]),
    (_deleted_unarchive, "500", [(500, "server_error")]),
    (_blocked_create, "400", [(400, "not_restorable", BLOCKED)]),
    (_blocked_create, "409", [(409, "not_restorable", BLOCKED)]),
    (_merge_role_error, "400", [(400, "invalid_merge")]),
    (_merge_role_error, "422", [(422, "invalid_merge")]),
    (_consent_type_mismatch, "400", [400, []]),
    (_consent_type_mismatch, "accept", [200, OPTED_OUT]),
    (_opt_in_lifts_unsubscribe_all, "false", [True, True]),
    (_opt_in_lifts_unsubscribe_all, "true", [True, False]),
    (_subscription_lists, "present", [True, True]),
    (_subscription_lists, "absent", [False, False]),
    (_delete_lock_s, "604800", [409, 400]),
    (_delete_lock_s, 100, [200, 404]),
]


def _name(observe):
    return observe.__name__.removeprefix("_")


@pytest.mark.parametrize(
    ("observe", "value", "seen"), TABLE, ids=[f"{_name(observe)}={value}" for observe, value, _ in TABLE]
)
def test_value(world, observe, value, seen):
    world.sandbox.switch(_name(observe), value)
    assert observe(world) == seen


def test_every_value_has_a_row():
    rows = {(_name(observe), str(value)) for observe, value, _ in TABLE}
    wanted = {(name, value) for name, switch in SWITCHES.items() for value in switch.values}
    assert wanted <= rows
    assert {name for name, _ in rows} == set(SWITCHES)


@pytest.mark.parametrize("name", [name for name, switch in SWITCHES.items() if switch.values])
def test_the_first_value_is_the_default(world, name):
    listed = {one["name"]: one for one in world.sandbox.switches()}
    assert listed[name]["value"] == listed[name]["default"] == SWITCHES[name].values[0]
    assert listed[name]["about"]
    assert listed[name]["section"]


def test_values_may_come_as_json_numbers_and_booleans(world):
    world.sandbox.switch_all(
        {"unknown_attribute": 422, "opt_in_lifts_unsubscribe_all": True, "delete_lock_s": "9.5"}
    )
    values = {one["name"]: one["value"] for one in world.sandbox.switches()}
    assert values["unknown_attribute"] == "422"
    assert values["opt_in_lifts_unsubscribe_all"] == "true"
    assert values["delete_lock_s"] == 9.5


@pytest.mark.parametrize(
    ("name", "value"),
    [("colour", "red"), ("email_conflict", "mild"), ("delete_lock_s", "long"), ("delete_lock_s", -1)],
)
def test_a_bad_switch_is_refused_by_name_and_nothing_is_set(world, name, value):
    with pytest.raises(ValueError, match=f"^{name}: "):
        world.sandbox.switch_all({"unknown_attribute": "422", name: value})
    assert all(one["value"] == one["default"] for one in world.sandbox.switches())
