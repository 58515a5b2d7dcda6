"""Whatever comes back, there is a reply, and never one that promises too much."""

from __future__ import annotations

import json
from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from onelane_worker.core.operations import (
    Conflict,
    Found,
    Gone,
    NotSent,
    Operation,
    Refused,
    Reply,
    Stopped,
    Throttled,
)
from onelane_worker.intercom.wire import to_reply

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
ERRORLIKE = st.fixed_dictionaries(
    {"errors": st.lists(st.fixed_dictionaries({"code": JSON, "message": JSON | st.emails()}))}
)
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
        assert reply.facts.model_dump_json()
    if isinstance(reply, Throttled):
        assert 0 < reply.retry_in_s <= 120


@given(OPERATIONS, BODIES)
def test_only_a_4xx_is_ever_taken_for_not_done(operation: Operation, body: bytes) -> None:
    for status in (200, 408, 500, 503):
        reply = to_reply(operation, status, {}, body, 0)
        assert not isinstance(reply, (NotSent, Refused, Throttled, Conflict, Gone, Stopped))
