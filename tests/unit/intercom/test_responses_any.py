"""Whatever comes back, there is a reply, and never one that promises too much."""

from __future__ import annotations

import json
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onelane_worker.intercom.responses import to_reply
from onelane_worker.planner.operations import (
    Conflict,
    Create,
    Found,
    Gone,
    NotSent,
    Operation,
    Refused,
    Reply,
    Stopped,
    Throttled,
    Unknown,
    is_write,
)
from onelane_worker.planner.retry_policy import Absorb, StopTheLine, TryAgain, WaitFor, handle

ID = "6a0f00000000000000000001"
FIELDS = {"body": st.just({}), "emails": st.just((ID,))}
OPERATIONS = st.sampled_from(get_args(Operation)).flatmap(
    lambda kind: st.builds(kind, **{name: value for name, value in FIELDS.items() if name in kind.__slots__})
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(ID),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(
            st.sampled_from(["id", "role", "data", "errors", "code", "message"]) | st.text(), inner
        )
    ),
    max_leaves=30,
)
CONTACTLIKE = st.fixed_dictionaries(
    {"id": st.just(ID), "role": st.sampled_from(["user", "lead", "contact"])},
    optional=dict.fromkeys(
        [
            *("email", "external_id", "name", "phone", "avatar", "owner_id", "signed_up_at", "last_seen_at"),
            *("created_at", "updated_at", "unsubscribed_from_emails", "custom_attributes"),
            *("opted_in_subscription_types", "opted_out_subscription_types"),
        ],
        JSON,
    ),
)
ERRORS = st.lists(st.fixed_dictionaries({"code": JSON, "message": JSON | st.emails()}))
ERRORLIKE = st.fixed_dictionaries({"errors": ERRORS, "type": st.just("error.list") | JSON})
BODIES = st.binary() | (JSON | CONTACTLIKE | ERRORLIKE).map(lambda value: json.dumps(value).encode())
HEADERS = st.dictionaries(
    st.sampled_from(["Link", "Date", "X-RateLimit-Reset", "Retry-After"]), st.text() | st.integers().map(str)
)


@given(OPERATIONS, st.integers(0, 1000), HEADERS, BODIES)
def test_every_answer_has_a_reply(
    operation: Operation, status: int, headers: dict[str, str], body: bytes
) -> None:
    reply = to_reply(operation, status, headers, body, 0, wall_s=0.0)
    assert isinstance(reply, get_args(Reply))
    if isinstance(reply, Found):
        assert msgspec.json.encode(reply.facts)
    if isinstance(reply, Throttled):
        assert 0 < reply.retry_in_s <= 120


@given(OPERATIONS, BODIES)
def test_only_a_4xx_is_ever_taken_for_not_done(operation: Operation, body: bytes) -> None:
    for status in (200, 408, 500, 503):
        reply = to_reply(operation, status, {}, body, 0)
        assert not isinstance(reply, (NotSent, Refused, Throttled, Conflict, Gone, Stopped))


# ── what is not Intercom's own ────────────────────────────────────────────────────────────────────────────

PAGES = (
    b"",
    b"<html><h1>Blocked by the firewall</h1></html>",
    b"upstream connect error",
    b"null",
    b'"no"',
    b"[]",
    b"{}",
    b'{"error":"not found"}',
    b'{"message":"Forbidden"}',
    b'{"errors":[{"code":"not_found","message":"User Not Found"}]}',
    b'{"type":"error.list","errors":[]}',
    b'{"type":"error.list","errors":{"code":"conflict"}}',
    b'{"type":"page","data":[],"app":{"region":"EU"}}',
    b'{"data":[]}',
    b'{"status":"ok","id":"12"}',
)
"""Bodies as proxies, firewalls and captive portals send them."""
FOREIGN = (
    st.sampled_from(PAGES)
    | st.binary().filter(lambda body: b"type" not in body)
    | st.dictionaries(st.sampled_from(["data", "errors", "message", "app"]), JSON).map(
        lambda value: json.dumps(value).encode()
    )
)
STATUSES = (200, 201, 400, 401, 403, 404, 405, 406, 407, 408, 409, 410, 413, 415, 422, 429, 500, 502, 503)
OUTAGE = (TryAgain, WaitFor, StopTheLine)
"""Ways of handling that cost nobody a dead letter."""


@given(OPERATIONS, st.sampled_from(STATUSES) | st.integers(100, 999), FOREIGN)
def test_what_is_not_intercoms_own_is_an_outage_whatever_its_status(
    operation: Operation, status: int, body: bytes
) -> None:
    reply = to_reply(operation, status, {}, body, 0)
    handling = handle(operation, reply)
    if isinstance(operation, Create) and isinstance(reply, Unknown):
        assert isinstance(handling, Absorb)  # it is looked for before it is made again
    else:
        assert isinstance(handling, OUTAGE)


@given(OPERATIONS.filter(is_write), st.integers(200, 299) | st.integers(400, 999), FOREIGN)
def test_a_write_behind_a_foreign_page_may_have_been_done(
    operation: Operation, status: int, body: bytes
) -> None:
    assert isinstance(to_reply(operation, status, {}, body, 0), Unknown)


@pytest.mark.parametrize("status", STATUSES)
@pytest.mark.parametrize("body", PAGES)
def test_no_operation_takes_a_foreign_page_for_an_answer(status: int, body: bytes) -> None:
    for kind in get_args(Operation):
        values = {"body": {}, "emails": (ID,), "external_id": "u-1", "consent_type": "opt_in"}
        operation = kind(**{name: values.get(name, ID) for name in kind.__slots__})
        reply = to_reply(operation, status, {}, body, 0)
        assert isinstance(reply, Unknown) or (status == 429 and isinstance(reply, Throttled)), operation
