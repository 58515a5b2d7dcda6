"""Contact bodies in the planner's terms."""

from __future__ import annotations

from typing import Any

import pytest

from onelane_worker.intercom.contact_body import candidate_of, facts_of
from onelane_worker.planner.registry import Facts

ID = "6a0f00000000000000000001"
UNKNOWN = object()


def facts(**body: Any) -> Facts:
    found = facts_of({"id": ID, "role": "user", **body}, as_of_ms=5, source="read")
    assert found is not None
    return found


def test_a_whole_contact() -> None:
    found = facts(
        type="contact",
        external_id="u-17",
        email="Ann@Example.test",
        name="Ann",
        phone=None,
        avatar={"type": "avatar", "image_url": "https://x.test/a.png"},
        owner_id=17,
        signed_up_at=1_700_000_000,
        last_seen_at=None,
        unsubscribed_from_emails=False,
        created_at=1_700_000_001,
        updated_at=1_700_000_002,
        custom_attributes={"plan": "pro", "seats": 3, "old": None},
        location={"type": "location", "country": None},
    )
    assert found == Facts(
        id=ID,
        role="user",
        external_id="u-17",
        email="Ann@Example.test",
        fields={
            "name": "Ann",
            "phone": None,
            "avatar": "https://x.test/a.png",
            "owner_id": 17,
            "signed_up_at": 1_700_000_000,
            "last_seen_at": None,
            "unsubscribed_from_emails": False,
            "custom_attributes.plan": "pro",
            "custom_attributes.seats": 3,
            "custom_attributes.old": None,
        },
        created_at=1_700_000_001,
        updated_at=1_700_000_002,
        as_of_ms=5,
        source="read",
    )


@pytest.mark.parametrize(
    ("field", "value", "read"),
    [
        ("owner_id", "17", 17),  # a string from 2.16 on
        ("owner_id", "team", UNKNOWN),
        ("owner_id", True, UNKNOWN),
        ("owner_id", "9" * 5000, UNKNOWN),
        ("signed_up_at", "2026-01-10T04:22:28.240+00:00", 1_768_018_948),
        ("signed_up_at", "2026-01-10T04:22:28.000Z", 1_768_018_948),
        ("signed_up_at", "2026-01-10T04:22:28", 1_768_018_948),
        ("signed_up_at", "1768018948", 1_768_018_948),
        ("signed_up_at", 1_768_018_948.9, 1_768_018_948),
        ("signed_up_at", "yesterday", UNKNOWN),
        ("last_seen_at", None, None),
        ("last_seen_at", float("inf"), UNKNOWN),
        ("avatar", "https://x.test/a.png", "https://x.test/a.png"),
        ("avatar", None, None),
        ("avatar", {"image_url": None}, None),
        ("avatar", {"type": "avatar"}, UNKNOWN),
        ("avatar", 3, UNKNOWN),
        ("name", "", ""),
        ("name", ["Ann"], UNKNOWN),
        ("unsubscribed_from_emails", True, True),
        ("unsubscribed_from_emails", "true", UNKNOWN),
    ],
)
def test_field(field: str, value: object, read: object) -> None:
    fields = facts(**{field: value}).fields
    assert (fields == {}) if read is UNKNOWN else (fields == {field: read})


def test_a_field_that_is_not_in_the_answer_is_unknown_not_null() -> None:
    assert facts().fields == {}


@pytest.mark.parametrize(("attributes", "known"), [({}, True), (None, False), ([], False)])
def test_custom_attributes_may_be_missing_altogether(attributes: object, known: bool) -> None:
    assert facts(custom_attributes=attributes).attributes_known is known
    assert facts().attributes_known is False


@pytest.mark.parametrize(
    ("role", "read"),
    [("user", "user"), ("contact", "user"), ("lead", "lead"), ("visitor", None), (None, None)],
)
def test_role(role: object, read: str | None) -> None:
    found = facts_of({"id": ID, "role": role}, as_of_ms=0, source="read")
    candidate = candidate_of({"id": ID, "role": role})
    assert (found and found.role) == (candidate and candidate.role) == read


@pytest.mark.parametrize(("value", "read"), [(None, None), ("", None), (17, "17"), ("17", "17"), ([], None)])
def test_identifiers_are_text_or_none(value: object, read: str | None) -> None:
    assert facts(external_id=value).external_id == read
    assert facts(email=value).email == read


def listing(*ids: object, **more: Any) -> dict[str, Any]:
    data = [{"type": "subscription", "id": i} for i in ids]
    return {"type": "list", "data": data, "total_count": len(ids), "has_more": False, **more}


def attached(opted_in: object, opted_out: object) -> frozenset[str] | None:
    lists = {"opted_in_subscription_types": opted_in, "opted_out_subscription_types": opted_out}
    return facts(**lists).attached


def test_subscriptions_are_known_if_both_lists_are_complete() -> None:
    assert attached(listing("1"), listing("2", 3)) == frozenset({"1", "2", "3"})
    assert attached(listing(), listing()) == frozenset()


@pytest.mark.parametrize(
    "incomplete",
    [
        None,
        [],
        {},
        {"data": []},
        listing("1", has_more=True),
        listing("1", total_count=11),
        listing(None),
        listing("1", data=None),
        listing("1", data=[None]),
    ],
)
def test_subscriptions_are_unknown_otherwise(incomplete: object) -> None:
    assert attached(listing(), incomplete) is None
    assert attached(incomplete, listing()) is None
    assert facts().attached is None


@pytest.mark.parametrize("body", [None, [], "x", 3, {"role": "user"}])
def test_no_contact_at_all(body: object) -> None:
    assert facts_of(body, as_of_ms=0, source="read") is None
    assert candidate_of(body) is None
