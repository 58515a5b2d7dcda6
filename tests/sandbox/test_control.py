"""The control interface over HTTP, and its client."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest

from onelane_sandbox.client import SandboxControl, SandboxControlError


def _raw(control, method, path, content=None):
    """Status and body of a request without token and without the client's help."""
    request = urllib.request.Request(control.url + path, content, method=method)
    try:
        with urllib.request.urlopen(request) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_the_true_state_of_every_contact(onelane_sandbox):
    _, user = onelane_sandbox.call("POST", "/contacts", {"email": "ann@x.test"})
    _, lead = onelane_sandbox.call("POST", "/contacts", {"role": "lead"})
    path = f"/contacts/{user['id']}"
    onelane_sandbox.call("POST", f"{path}/subscriptions", {"id": "102", "consent_type": "opt_in"})
    onelane_sandbox.call("POST", "/contacts/merge", {"from": lead["id"], "into": user["id"]})
    onelane_sandbox.call("POST", f"{path}/archive")
    first, second = onelane_sandbox.contacts()
    assert first["id"] == user["id"]
    assert first["subscriptions"] == [{"id": "102", "consent_type": "opt_in"}]
    hidden = ("archived", "deleted", "blocked", "merged_into")
    assert [first[name] for name in hidden] == [True, False, False, None]
    assert [second[name] for name in hidden] == [False, False, False, user["id"]]


def test_control_needs_no_token_meets_no_fault_and_is_not_logged(onelane_sandbox):
    onelane_sandbox.fault("drop_request", times=None)
    status, body = _raw(onelane_sandbox, "GET", "/_sandbox/contacts")
    assert (status, body) == (200, {"contacts": []})
    assert _raw(onelane_sandbox, "GET", "/_sandbox/requests") == (200, {"requests": []})
    assert len(onelane_sandbox.faults()) == 1


def test_lag_and_catch_up(onelane_sandbox):
    everyone = {"query": {"field": "role", "operator": "=", "value": "user"}}

    def seen():
        return onelane_sandbox.call("POST", "/contacts/search", everyone)[1]["total_count"]

    assert _raw(onelane_sandbox, "GET", "/_sandbox/index") == (200, {"lag": 1.0, "pending": 0})
    onelane_sandbox.lag((1000, 2000))
    onelane_sandbox.call("POST", "/contacts", {"external_id": "1"})
    onelane_sandbox.lag(0)
    assert (seen(), onelane_sandbox.pending()) == (0, 1)
    onelane_sandbox.call("POST", "/contacts", {"external_id": "2"})
    assert seen() == 1
    onelane_sandbox.catch_up()
    assert (seen(), onelane_sandbox.pending()) == (2, 0)


def test_faults_are_listed_with_what_is_left(onelane_sandbox):
    options = {
        "times": 3,
        "method": "POST",
        "path": "^/contacts$",
        "seconds": 0,
        "after": 1,
        "probability": 0.5,
    }
    registered = onelane_sandbox.fault("slow", **options)
    assert onelane_sandbox.faults() == [registered]
    assert registered == {"fault": "slow", **options, "method": "post"}
    onelane_sandbox.clear_faults()
    assert onelane_sandbox.faults() == []


def test_switches(onelane_sandbox):
    onelane_sandbox.switch("email_conflict", "loose")
    listed = {one["name"]: one for one in onelane_sandbox.switches()}
    assert listed["email_conflict"]["value"] == "loose"
    assert listed["email_conflict"]["values"] == ["strict", "external_id_wins", "loose"]
    assert set(listed["email_conflict"]) == {"name", "value", "values", "default", "about", "section"}


def test_subscription_types(onelane_sandbox):
    made = onelane_sandbox.subscription_type("7", "Weekly", "opt_in")
    assert made["id"] == "7"
    ids = [one["id"] for one in onelane_sandbox.call("GET", "/subscription_types")[1]["data"]]
    assert ids == ["101", "102", "7"]
    status, body = _raw(onelane_sandbox, "GET", "/_sandbox/subscription_types")
    assert (status, [one["id"] for one in body["subscription_types"]]) == (200, ids)


def test_custom_attributes(onelane_sandbox):
    made = onelane_sandbox.attribute("plan")
    assert (made["name"], made["data_type"], made["model"]) == ("plan", "string", "contact")
    assert onelane_sandbox.attribute("plan") == made
    onelane_sandbox.attribute("seats", "integer")
    values = {"plan": "pro", "seats": 12}
    ann = {"email": "ann@x.test", "custom_attributes": values}
    assert onelane_sandbox.call("POST", "/contacts", ann)[1]["custom_attributes"] == values
    assert [one["path"] for one in onelane_sandbox.requests()] == ["/contacts"]


def test_an_attribute_of_another_type_is_no_longer_to_be_had(onelane_sandbox):
    onelane_sandbox.attribute("seats", "integer")
    with pytest.raises(SandboxControlError, match="already an attribute 'seats'"):
        onelane_sandbox.attribute("seats")


def test_the_log_can_be_emptied(onelane_sandbox):
    onelane_sandbox.call("GET", "/me")
    assert [one["path"] for one in onelane_sandbox.requests()] == ["/me"]
    onelane_sandbox.clear_requests()
    assert onelane_sandbox.requests() == []


def test_reset(onelane_sandbox):
    onelane_sandbox.call("POST", "/contacts", {"external_id": "1"})
    onelane_sandbox.call("POST", "/data_attributes", {"name": "p", "model": "contact", "data_type": "string"})
    onelane_sandbox.fault("drop_request")
    onelane_sandbox.switch("blocked_create", "409")
    onelane_sandbox.reset()
    assert onelane_sandbox.contacts() == onelane_sandbox.requests() == onelane_sandbox.faults() == []
    attributes = onelane_sandbox.call("GET", "/data_attributes")[1]["data"]
    assert not [one for one in attributes if one["custom"]]


@pytest.mark.parametrize(
    ("name", "body", "field"),
    [
        ("index", {}, None),
        ("index", {"lag": -1}, "lag"),
        ("index", {"lag": "long"}, "lag"),
        ("index", {"lag": [1]}, "lag"),
        ("index", {"lag": [2, 1]}, "lag"),
        ("index", {"lag": True}, "lag"),
        ("index", {"catch_up": 1}, "catch_up"),
        ("index", {"delay": 1}, "delay"),
        ("faults", {}, "fault"),
        ("faults", {"fault": "slow", "seconds": "1"}, "seconds"),
        ("faults", {"fault": "slow", "seconds": 1, "path": "("}, "path"),
        ("faults", {"fault": ["slow"]}, "fault"),
        ("switches", {"colour": "red"}, "colour"),
        ("switches", {"email_conflict": "mild"}, "email_conflict"),
        ("switches", [], None),
        ("subscription_types", {"name": "x", "consent_type": "opt_in"}, "id"),
        ("subscription_types", {"id": "7", "consent_type": "opt_in"}, "name"),
        ("subscription_types", {"id": "7", "name": "x", "consent_type": "maybe"}, "consent_type"),
        ("attributes", {}, "name"),
        ("attributes", {"name": "a.b"}, "name"),
        ("attributes", {"name": "plan", "data_type": "colour"}, "data_type"),
        ("attributes", {"name": "plan", "data_type": ["string"]}, "data_type"),
        ("attributes", {"name": "plan", "model": "company"}, "model"),
        ("reset", {"really": True}, "really"),
    ],
)
def test_bad_input_is_refused_by_name(onelane_sandbox, name, body, field):
    status, answer = _raw(onelane_sandbox, "POST", f"/_sandbox/{name}", json.dumps(body).encode())
    assert (status, answer["field"]) == (400, field)
    assert (field or "the body" if name == "switches" else field or "give") in answer["error"]


def test_a_body_that_is_no_json_is_refused(onelane_sandbox):
    assert _raw(onelane_sandbox, "POST", "/_sandbox/index", b"{")[0] == 400


@pytest.mark.parametrize(("method", "name"), [("GET", "nothing"), ("DELETE", "contacts"), ("PUT", "index")])
def test_an_unknown_control_request_lists_the_known_ones(onelane_sandbox, method, name):
    status, answer = _raw(onelane_sandbox, method, f"/_sandbox/{name}")
    assert status == 404
    assert "POST faults" in answer["error"]


def test_the_client_raises_what_the_sandbox_refuses(onelane_sandbox):
    with pytest.raises(SandboxControlError, match="must be one of") as caught:
        onelane_sandbox.switch("email_conflict", "mild")
    assert (caught.value.status, caught.value.field) == (400, "email_conflict")


def test_the_fixture_gives_every_test_a_clean_world(onelane_sandbox):
    assert isinstance(onelane_sandbox, SandboxControl)
    assert onelane_sandbox.url.startswith("http://127.0.0.1:")
    assert onelane_sandbox.token
    assert onelane_sandbox.contacts() == []
