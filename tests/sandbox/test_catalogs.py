"""Data attributes, subscriptions and tags."""

from __future__ import annotations

import pytest

A = "ann@example.test"


def _attribute(**fields):
    return {"name": "plan", "model": "contact", "data_type": "string", **fields}


def test_an_attribute_must_exist_before_it_is_used(world):
    body = {"email": A, "custom_attributes": {"plan": "pro"}}
    message = "Custom attribute 'plan' does not exist"
    assert world.error("POST", "/contacts", body) == (400, "parameter_invalid", message)
    made = world.attribute("plan")
    assert (made["full_name"], made["custom"], made["id"]) == ("custom_attributes.plan", True, 1)
    assert world.ok("POST", "/contacts", body)["custom_attributes"] == {"plan": "pro"}


@pytest.mark.parametrize(
    ("data_type", "good", "bad"),
    [
        ("string", "x" * 255, "x" * 256),
        ("string", 5, {"a": 1}),
        ("integer", 5, "five"),
        ("integer", None, 5.5),
        ("float", 5.5, "x"),
        ("boolean", True, 1),
        ("date", 1_800_000_000, True),
        ("string", "x", ["x"]),
    ],
)
def test_attribute_values(world, data_type, good, bad):
    world.attribute("it", data_type)
    user = world.user(email=A)
    path = f"/contacts/{user}"
    assert world.ok("PUT", path, {"custom_attributes": {"it": good}})["custom_attributes"] == {"it": good}
    assert world.error("PUT", path, {"custom_attributes": {"it": bad}})[:2] == (400, "parameter_invalid")


@pytest.mark.parametrize("key", ["a.b", "a$b"])
def test_attribute_keys_hold_no_dot_or_dollar(world, key):
    body = {"email": A, "custom_attributes": {key: 1}}
    assert world.error("POST", "/contacts", body)[:2] == (400, "parameter_invalid")
    assert world.error("POST", "/data_attributes", _attribute(name=key))[:2] == (400, "parameter_invalid")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (_attribute(name=None), "parameter_missing"),
        (_attribute(model="shoe"), "parameter_invalid"),
        (_attribute(data_type="colour"), "parameter_invalid"),
        (_attribute(data_type=["string"]), "parameter_invalid"),
        (_attribute(data_type="options", options=[{"value": "one"}]), "parameter_invalid"),
        (_attribute(name="taken"), "parameter_invalid"),
    ],
)
def test_a_bad_attribute_is_refused(world, body, code):
    world.attribute("taken")
    assert world.error("POST", "/data_attributes", body)[:2] == (400, code)


def test_an_archived_attribute_is_unknown_to_contacts_and_free_to_make_again(world):
    world.attribute("plan")
    updated = world.ok(
        "PUT", "/data_attributes/1", {"archived": True, "description": "old", "data_type": "float"}
    )
    assert (updated["archived"], updated["description"], updated["data_type"]) == (True, "old", "string")
    assert world.error("POST", "/contacts", {"email": A, "custom_attributes": {"plan": "x"}})[0] == 400
    world.attribute("plan")


def test_attributes_are_listed_by_model(world):
    world.attribute("plan")
    world.ok("POST", "/data_attributes", _attribute(name="size", model="company"))
    world.ok("PUT", "/data_attributes/1", {"archived": True})

    def custom(**query):
        data = world.ok("GET", "/data_attributes", query=query)["data"]
        return [one["name"] for one in data if one["custom"]]

    assert custom() == ["size"]
    assert custom(model="contact", include_archived="true") == ["plan"]


def test_options_attribute(world):
    options = [{"value": "small"}, {"value": "big"}]
    made = world.ok("POST", "/data_attributes", _attribute(data_type="options", options=options))
    assert (made["data_type"], made["options"]) == ("string", ["small", "big"])


def test_an_unknown_attribute_cannot_be_updated(world):
    assert world.error("PUT", "/data_attributes/9", {})[:2] == (404, "field_not_found")


def test_two_hundred_and_fifty_attributes(world):
    for number in range(250):
        world.attribute(f"a{number}")
    assert world.error("POST", "/data_attributes", _attribute())[:2] == (400, "parameter_invalid")


def test_attaching_an_opt_out_type_opts_out_and_an_opt_in_type_in(world):
    user = world.user(email=A)
    path = f"/contacts/{user}/subscriptions"
    assert world.ok("GET", path)["data"] == []
    out = world.ok("POST", path, {"id": "101", "consent_type": "opt_out"})
    world.ok("POST", path, {"id": 102, "consent_type": "opt_in"})
    assert (out["type"], out["id"], out["consent_type"], out["state"]) == (
        "subscription",
        "101",
        "opt_out",
        "live",
    )
    assert [one["id"] for one in world.ok("GET", path)["data"]] == ["101", "102"]
    contact = world.read(user)
    assert [one["id"] for one in contact["opted_out_subscription_types"]["data"]] == ["101"]
    assert [one["id"] for one in contact["opted_in_subscription_types"]["data"]] == ["102"]
    assert world.ok("DELETE", f"{path}/101")["id"] == "101"
    assert world.sandbox.contacts()[0]["subscriptions"] == [{"id": "102", "consent_type": "opt_in"}]


def test_attaching_and_detaching_twice_is_the_same_as_once(world):
    path = f"/contacts/{world.user(email=A)}/subscriptions"
    for _ in range(2):
        world.ok("POST", path, {"id": "101", "consent_type": "opt_out"})
    for _ in range(2):
        world.ok("DELETE", f"{path}/101")
    assert world.ok("GET", path)["data"] == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"id": "101"}, (400, "parameter_missing")),
        ({"consent_type": "opt_in"}, (400, "parameter_missing")),
        ({"id": "101", "consent_type": "maybe"}, (400, "parameter_invalid")),
        ({"id": "999", "consent_type": "opt_in"}, (404, "not_found")),
    ],
)
def test_a_bad_subscription_is_refused(world, body, expected):
    path = f"/contacts/{world.user(email=A)}/subscriptions"
    assert world.error("POST", path, body)[:2] == expected
    assert world.error("DELETE", f"{path}/999") == (404, "not_found", "Resource Not Found")


def test_subscription_types_are_made_through_control(world):
    world.sandbox.put_subscription_type("7", "Weekly", "opt_in")
    listed = world.ok("GET", "/subscription_types")["data"]
    names = [(one["id"], one["consent_type"], one["default_translation"]["name"]) for one in listed]
    assert names == [
        ("101", "opt_out", "Newsletter"),
        ("102", "opt_in", "Product news"),
        ("7", "opt_in", "Weekly"),
    ]


def test_tags(world):
    made = world.ok("POST", "/tags", {"name": "vip"})
    assert made == {"type": "tag", "id": "1", "name": "vip"}
    assert world.ok("POST", "/tags", {"name": "vip"}) == made
    assert world.ok("POST", "/tags", {"id": "1", "name": "gold"})["name"] == "gold"
    assert world.ok("GET", "/tags/1") == world.ok("GET", "/tags")["data"][0]
    path = f"/contacts/{world.user(email=A)}/tags"
    attached = world.ok("POST", path, {"id": 1})
    assert (attached["name"], attached["applied_at"]) == ("gold", int(world.now))
    assert world.ok("GET", path)["data"] == [attached]
    assert world.ok("DELETE", f"{path}/1")["id"] == "1"
    assert world.ok("GET", path)["data"] == []


def test_an_unknown_tag_is_not_found(world):
    path = f"/contacts/{world.user(email=A)}/tags"
    for method, where, body in (
        ("POST", path, {"id": "9"}),
        ("DELETE", f"{path}/9", None),
        ("GET", "/tags/9", None),
    ):
        assert world.error(method, where, body) == (404, "not_found", "Resource Not Found")
    assert world.error("POST", "/tags", {})[:2] == (400, "parameter_invalid")


def test_only_ten_references_are_shown(world):
    user = world.user(email=A)
    for number in range(11):
        tag = world.ok("POST", "/tags", {"name": f"t{number}"})["id"]
        world.ok("POST", f"/contacts/{user}/tags", {"id": tag})
    tags = world.read(user)["tags"]
    assert (len(tags["data"]), tags["total_count"], tags["has_more"]) == (10, 11, True)
