"""Whatever is sent, the sandbox answers in Intercom's words and keeps its own laws."""

from __future__ import annotations

import json
from collections import Counter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onelane_sandbox.rules import Request, Sandbox

EMAILS = st.sampled_from(["a@x.test", "A@x.test", "b@x.test", None])
EXTERNAL_IDS = st.sampled_from(["1", "2", None])
JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
NAMES = """
    role external_id email phone name avatar owner_id signed_up_at custom_attributes id consent_type from into
    query field operator value pagination per_page options
"""
WORDS = st.sampled_from(NAMES.split())
MESSY = st.dictionaries(WORDS, JUNK | st.sampled_from(["user", "lead", "=", "AND", "101"]), max_size=6)
PATHS = st.sampled_from(
    [
        "/contacts",
        "/contacts/search",
        "/contacts/merge",
        "/contacts/%s",
        "/contacts/%s/archive",
        "/contacts/%s/subscriptions",
        "/contacts/%s/tags",
        "/contacts/find_by_external_id/%s",
        "/tags",
        "/data_attributes",
        "/data_attributes/1",
    ]
)
RELAXED = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])


@RELAXED
@given(
    calls=st.lists(st.tuples(st.sampled_from(["GET", "POST", "PUT", "DELETE"]), PATHS, MESSY), max_size=12)
)
def test_no_input_breaks_it(calls):
    sandbox = Sandbox(index_lag=0.0)
    user = sandbox.handle(Request.of("POST", "/contacts", {"external_id": "1"}), 0.0).body["id"]
    attribute = {"name": "p", "model": "contact", "data_type": "date"}
    sandbox.handle(Request.of("POST", "/data_attributes", attribute), 0.0)
    for method, path, body in calls:
        response = sandbox.handle(Request.of(method, path.replace("%s", user), body), 1.0)
        assert response.status in (200, 400, 404, 409)
        assert json.loads(response.content) == response.body or "NaN" in str(body)
        assert (response.status == 200) == (response.body.get("type") != "error.list")


STEPS = st.one_of(
    st.tuples(st.just("create"), st.sampled_from(["user", "lead"]), EMAILS, EXTERNAL_IDS),
    st.tuples(st.just("update"), st.integers(0, 9), EMAILS, EXTERNAL_IDS),
    st.tuples(st.just("convert"), st.integers(0, 9), EMAILS, EXTERNAL_IDS),
    st.tuples(st.sampled_from(["archive", "unarchive", "delete", "block"]), st.integers(0, 9)),
    st.tuples(st.just("merge"), st.integers(0, 9), st.integers(0, 9)),
)


def _request(step, ids):
    verb, *rest = step
    if verb == "create":
        body = dict(zip(("role", "email", "external_id"), rest, strict=True))
        return Request.of("POST", "/contacts", body)
    contact = ids[rest[0] % len(ids)]
    if verb in ("update", "convert"):
        body = {"email": rest[1], "external_id": rest[2]} | ({"role": "user"} if verb == "convert" else {})
        return Request.of("PUT", f"/contacts/{contact}", body)
    if verb == "merge":
        return Request.of("POST", "/contacts/merge", {"from": contact, "into": ids[rest[1] % len(ids)]})
    if verb == "delete":
        return Request.of("DELETE", f"/contacts/{contact}")
    return Request.of("POST", f"/contacts/{contact}/{verb}")


@RELAXED
@given(steps=st.lists(STEPS, max_size=25), put=st.sampled_from(["allow", "409"]))
def test_laws_hold_after_any_history(steps, put):
    """One live user per external id, no lost contact, and an index that ends where the truth is."""
    sandbox = Sandbox(index_lag=(0.0, 50.0))
    sandbox.switch("put_email_conflict", put)
    ids = ["none"]
    for now, step in enumerate(steps):
        before = sandbox.contacts()
        response = sandbox.handle(_request(step, ids), float(now))
        if response.status != 200:
            assert sandbox.contacts() == before
        elif step[0] == "create":
            ids.append(response.body["id"])
    contacts = sandbox.contacts()
    assert [one["id"] for one in contacts] == ids[1:]
    live = [one for one in contacts if not (one["archived"] or one["deleted"] or one["merged_into"])]
    holders = Counter(one["external_id"] for one in live if one["role"] == "user" and one["external_id"])
    assert max(holders.values(), default=1) == 1
    listed = sandbox.handle(Request.of("GET", "/contacts", query={"per_page": "150"}), 1e6).body["data"]
    assert [one["id"] for one in listed] == [one["id"] for one in live]
    assert [one["email"] for one in listed] == [one["email"] for one in live]
