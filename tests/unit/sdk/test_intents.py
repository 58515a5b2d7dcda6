"""What an intent may hold: bad input is refused at the door, in words, and nobody's address is shown."""

from __future__ import annotations

import copy
import json
import pickle
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any

import pytest

from onelane import (
    ContactSync,
    ContactUpsert,
    InvalidIntent,
    LeadCapture,
    NewsletterOptIn,
    NewsletterOptOut,
    ProductSignUp,
    json_schema,
    parse_intent,
)
from onelane.intents import KINDS, FieldMap

ANN = "ann@example.test"
MS = 1_800_000_000_000


class Plan(StrEnum):
    PRO = "pro"


class Level(IntEnum):
    HIGH = 3


# kind, fields, the field that is named, words of the complaint
REFUSED: list[tuple[type[Any], dict[str, Any], str, str]] = [
    (LeadCapture, {"email": None}, "email", "must be a string"),
    (LeadCapture, {"email": 7}, "email", "must be a string"),
    (LeadCapture, {"email": b"ann@example.test"}, "email", "must be a string"),
    (LeadCapture, {"email": "ann"}, "email", "is no email address: it has no @"),
    (LeadCapture, {"name": 123}, "name", "must be a string"),
    (LeadCapture, {"name": ""}, "name", "name it in unset"),
    (LeadCapture, {"phone": "  "}, "phone", "name it in unset"),
    (LeadCapture, {"name": "x" * 256}, "name", "longer than 255"),
    (LeadCapture, {"name": "\ud800"}, "name", "surrogate"),
    (LeadCapture, {"nmae": "Ann"}, "nmae", "is not a field"),
    (LeadCapture, {"self": "Ann"}, "self", "is not a field"),
    (LeadCapture, {"unsubscribed_from_emails": False}, "unsubscribed_from_emails", "is not a field"),
    (LeadCapture, {"kind": "contact_sync"}, "kind", "must be 'lead_capture'"),
    (LeadCapture, {"external_id": ""}, "external_id", "is empty"),
    (LeadCapture, {"external_id": " "}, "external_id", "is empty"),
    (LeadCapture, {"external_id": 42}, "external_id", "must be a string"),
    (LeadCapture, {"dedupe_key": ""}, "dedupe_key", "is empty"),
    (LeadCapture, {"dedupe_key": "x" * 201}, "dedupe_key", "longer than 200"),
    (LeadCapture, {"source": "x" * 101}, "source", "longer than 100"),
    (LeadCapture, {"occurred_at": datetime(2026, 1, 1)}, "occurred_at", "aware"),
    (LeadCapture, {"occurred_at": "2026-01-01T00:00:00"}, "occurred_at", "aware"),
    (LeadCapture, {"occurred_at": "yesterday"}, "occurred_at", "aware"),
    (LeadCapture, {"occurred_at": 1_700_000_000}, "occurred_at", "aware"),
    (LeadCapture, {"occurred_at": True}, "occurred_at", "aware"),
    (LeadCapture, {"occurred_at": datetime(1969, 1, 1, tzinfo=UTC)}, "occurred_at", "before 1970"),
    (LeadCapture, {"occurred_at": "9999-12-31T23:59:59-10:00"}, "occurred_at", "beyond the year 9999"),
    (LeadCapture, {"custom_attributes": []}, "custom_attributes", "names and values"),
    (LeadCapture, {"custom_attributes": {"a": None}}, "custom_attributes.a", "name it in unset"),
    (LeadCapture, {"custom_attributes": {"a": [1]}}, "custom_attributes.a", "scalars"),
    (LeadCapture, {"custom_attributes": {"a": {}}}, "custom_attributes.a", "scalars"),
    (LeadCapture, {"custom_attributes": {"a": Decimal(1)}}, "custom_attributes.a", "scalars"),
    (LeadCapture, {"custom_attributes": {"a": b"x"}}, "custom_attributes.a", "scalars"),
    (LeadCapture, {"custom_attributes": {"a": float("nan")}}, "custom_attributes.a", "finite"),
    (LeadCapture, {"custom_attributes": {"a": float("inf")}}, "custom_attributes.a", "finite"),
    (LeadCapture, {"custom_attributes": {"a": 2**63}}, "custom_attributes.a", "64 bits"),
    (LeadCapture, {"custom_attributes": {"a": "x" * 256}}, "custom_attributes.a", "longer than 255"),
    (LeadCapture, {"custom_attributes": {"a": "\udfff"}}, "custom_attributes.a", "surrogate"),
    (LeadCapture, {"custom_attributes": {"a.b": 1}}, "custom_attributes.a.b", "attribute name"),
    (LeadCapture, {"custom_attributes": {"a$": 1}}, "custom_attributes.a$", "attribute name"),
    (LeadCapture, {"custom_attributes": {" ": 1}}, "custom_attributes. ", "attribute name"),
    (LeadCapture, {"custom_attributes": {"k" * 256: 1}}, "custom_attributes.…", "attribute name"),
    (LeadCapture, {"custom_attributes": {7: 1}}, "custom_attributes.7", "must be a string"),
    (NewsletterOptIn, {"subscription_types": "101"}, "subscription_types", "must be a list"),
    (NewsletterOptIn, {"subscription_types": ["x"]}, "subscription_types.0", "digits"),
    (NewsletterOptIn, {"subscription_types": ["1", True]}, "subscription_types.1", "digits"),
    (NewsletterOptIn, {"subscription_types": [1.5]}, "subscription_types.0", "digits"),
    (NewsletterOptIn, {"lift_unsubscribe_all": "yes"}, "lift_unsubscribe_all", "true or false"),
    (NewsletterOptIn, {"lift_unsubscribe_all": 1}, "lift_unsubscribe_all", "true or false"),
    (NewsletterOptOut, {"name": "Ann"}, "name", "is not a field"),
    (ProductSignUp, {}, "external_id", "is required"),
    (ProductSignUp, {"external_id": None}, "external_id", "must be a string"),
    (ProductSignUp, {"external_id": "7", "signed_up_at": True}, "signed_up_at", "unix seconds"),
    (ProductSignUp, {"external_id": "7", "signed_up_at": "soon"}, "signed_up_at", "unix seconds"),
    (ProductSignUp, {"external_id": "7", "signed_up_at": date(2026, 1, 1)}, "signed_up_at", "unix seconds"),
    (ProductSignUp, {"external_id": "7", "signed_up_at": datetime(2026, 1, 1)}, "signed_up_at", "aware"),
    (ProductSignUp, {"external_id": "7", "signed_up_at": float("nan")}, "signed_up_at", "unix seconds"),
    (ProductSignUp, {"external_id": "7", "signed_up_at": -1}, "signed_up_at", "before 1970"),
    (ProductSignUp, {"external_id": "7", "signed_up_at": 10**400}, "signed_up_at", "beyond the year 9999"),
    (ProductSignUp, {"external_id": "7", "signed_up_at": "9" * 400}, "signed_up_at", "beyond the year 9999"),
    (ProductSignUp, {"external_id": "7", "signed_up_at": 1_700_000_000_000}, "signed_up_at", "milliseconds"),
    (ProductSignUp, {"external_id": "7", "contact_id": "6A0F"}, "contact_id", "24 hex digits"),
    (ContactSync, {"owner_id": True}, "owner_id", "whole number"),
    (ContactSync, {"owner_id": 1.0}, "owner_id", "whole number"),
    (ContactSync, {"owner_id": "x"}, "owner_id", "whole number"),
    (ContactSync, {"owner_id": -1}, "owner_id", "at least 0"),
    (ContactSync, {"version": True}, "version", "whole number"),
    (ContactSync, {"version": "3"}, "version", "whole number"),
    (ContactSync, {"version": 2**53}, "version", "at most"),
    (ContactSync, {"avatar": ""}, "avatar", "name it in unset"),
    (ContactSync, {"create": "false"}, "create", "true or false"),
    (ContactSync, {"unset": "name"}, "unset", "must be a list"),
    (ContactSync, {"unset": ["email"]}, "unset.0", "cannot be unset"),
    (ContactSync, {"unset": ["custom_attributes."]}, "unset.0", "attribute name"),
    (ContactSync, {"name": "Ann", "unset": ["name"]}, "name", "both unset and set"),
    (ContactUpsert, {"set": 3}, "set", "names and values"),
    (ContactUpsert, {"set": {"name": None}}, "set.name", "name it in unset"),
    (ContactUpsert, {"set": {"name": 3}}, "set.name", "must be a string"),
    (ContactUpsert, {"set": {"email": ANN}}, "set.email", "is not a field"),
    (ContactUpsert, {"set": {"custom_attributes": {"a": None}}}, "set.custom_attributes.a", "unset"),
    (ContactUpsert, {"set": {"name": "A"}, "set_on_insert": {"name": "B"}}, "name", "both set and set_on"),
    (
        ContactUpsert,
        {"set_on_insert": {"custom_attributes": {"a": 1}}, "unset": ["custom_attributes.a"]},
        "custom_attributes.a",
        "both unset and set_on_insert",
    ),
    (ContactUpsert, {"role": "admin"}, "role", "'keep', 'lead' or 'user'"),
    (ContactUpsert, {"create": True}, "create", "'create_or_update'"),
    (LeadCapture, {"trusted": "yes"}, "trusted", "true or false"),
    (ContactSync, {"trusted": True}, "trusted", "is not a field"),
    (LeadCapture, {"custom_attributes": {"paid_at": MS}}, "custom_attributes.paid_at", "milliseconds"),
    (LeadCapture, {"custom_attributes": {"paid_at": float(MS)}}, "custom_attributes.paid_at", "milliseconds"),
    (
        ContactUpsert,
        {"set_on_insert": {"custom_attributes": {"paid_at": MS}}},
        "set_on_insert.custom_attributes.paid_at",
        "milliseconds",
    ),
    (LeadCapture, {"custom_attributes": {"x": datetime(2026, 1, 1)}}, "custom_attributes.x", "aware"),
    (LeadCapture, {"custom_attributes": {"x": date(2026, 1, 1)}}, "custom_attributes.x", "must be a string"),
    (LeadCapture, {"custom_attributes": {"\x1b[2J": 1}}, "custom_attributes.…", "control character"),
    (ContactSync, {"unset": ["custom_attributes.\x9b"]}, "unset.0", "control character"),
]


@pytest.mark.parametrize(("make", "fields", "field", "words"), REFUSED)
def test_refused_at_the_door(make: type[Any], fields: dict[str, Any], field: str, words: str) -> None:
    with pytest.raises(InvalidIntent) as caught:
        make(**{"email": ANN, **fields})
    assert caught.value.field == field
    assert words in caught.value.message
    assert isinstance(caught.value, ValueError)
    assert ANN not in str(caught.value)


# kind, fields, the field that is looked at, what it holds then
ACCEPTED: list[tuple[type[Any], dict[str, Any], str, Any]] = [
    (LeadCapture, {"email": " Ann@Example.test "}, "email", "Ann@Example.test"),
    (LeadCapture, {"name": None}, "name", None),
    (LeadCapture, {"custom_attributes": {"a": Plan.PRO}}, "custom_attributes", {"a": "pro"}),
    (LeadCapture, {"custom_attributes": {"a": Level.HIGH}}, "custom_attributes", {"a": 3}),
    (LeadCapture, {"custom_attributes": {"a": ""}}, "custom_attributes", {"a": ""}),
    (LeadCapture, {"custom_attributes": {"views": MS}}, "custom_attributes", {"views": MS}),
    (
        LeadCapture,
        {"custom_attributes": {"paid_at": MS // 1000}},
        "custom_attributes",
        {"paid_at": MS // 1000},
    ),
    (
        LeadCapture,
        {"custom_attributes": {"seen_at": "2026-01-01"}},
        "custom_attributes",
        {"seen_at": "2026-01-01"},
    ),
    (
        LeadCapture,
        {"custom_attributes": {"paid": datetime(1970, 1, 1, 0, 1, tzinfo=UTC)}},
        "custom_attributes",
        {"paid": 60},
    ),
    (LeadCapture, {"name": "\u202bאבא\u202c"}, "name", "\u202bאבא\u202c"),
    (
        LeadCapture,
        {"occurred_at": "2026-01-01T02:00:00+02:00"},
        "occurred_at",
        datetime(2026, 1, 1, tzinfo=UTC),
    ),
    (NewsletterOptIn, {"subscription_types": [102, "101", "102"]}, "subscription_types", ("101", "102")),
    (ProductSignUp, {"external_id": "7", "signed_up_at": 1.9}, "signed_up_at", 1),
    (ProductSignUp, {"external_id": "7", "signed_up_at": "1700000000"}, "signed_up_at", 1_700_000_000),
    (
        ProductSignUp,
        {"external_id": "7", "signed_up_at": datetime(1970, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))},
        "signed_up_at",
        0,
    ),
    (ProductSignUp, {"external_id": "7", "signed_up_at": "1970-01-01T00:01:00Z"}, "signed_up_at", 60),
    (ProductSignUp, {"external_id": "7", "signed_up_at": "0" * 22 + "60"}, "signed_up_at", 60),
    (ContactSync, {"owner_id": "0" * 22 + "60"}, "owner_id", 60),
    (ContactSync, {"owner_id": "17"}, "owner_id", 17),
    (
        ContactSync,
        {"unset": ["phone", "custom_attributes.a", "phone"]},
        "unset",
        ("custom_attributes.a", "phone"),
    ),
]


@pytest.mark.parametrize(("make", "fields", "field", "held"), ACCEPTED)
def test_accepted_as(make: type[Any], fields: dict[str, Any], field: str, held: Any) -> None:
    intent = make(**{"email": ANN, **fields})
    assert getattr(intent, field) == held
    assert parse_intent(json.loads(intent.to_json())) == intent


@pytest.mark.parametrize(
    "sign", ["\x00", "\n", "\x1b", "\x7f", "\x85", "\x9b", "\u202e", "\u2066", "\u200f", "\u2028"]
)
@pytest.mark.parametrize("field", ["external_id", "dedupe_key", "source"])
def test_identifiers_hold_no_control_characters_C15(field: str, sign: str) -> None:
    with pytest.raises(InvalidIntent, match=f"^{field}: contains a control character$") as caught:
        LeadCapture(email=ANN, **{field: f"a{sign}b"})
    assert sign not in str(caught.value)


@pytest.mark.parametrize("sign", ["\x1b", "\u202e"])
def test_a_name_of_the_callers_data_is_never_shown_with_its_control_characters_C15(sign: str) -> None:
    for fields in ({f"a{sign}b": 1}, {"custom_attributes": {f"a{sign}b": None}}):
        with pytest.raises(InvalidIntent) as caught:
            LeadCapture(email=ANN, **fields)
        assert sign not in str(caught.value) + caught.value.field


def test_plain_types_are_stored_whatever_came_in() -> None:
    attributes = LeadCapture(email=ANN, custom_attributes={"a": Plan.PRO, "b": Level.HIGH}).custom_attributes
    assert [type(value) for value in attributes.values()] == [str, int]


def test_an_address_used_as_a_name_is_not_repeated() -> None:
    for fields in ({ANN: 1}, {"custom_attributes": {ANN: 1}}, {"kind": ANN}):
        with pytest.raises(InvalidIntent) as caught:
            parse_intent({"kind": "lead_capture", "email": ANN, **fields})
        assert ANN not in str(caught.value)


def test_repr_shows_what_was_given_and_masks_addresses() -> None:
    shown = repr(LeadCapture(email=ANN, external_id=ANN, name="Ann"))
    assert shown == "LeadCapture(email='a***@example.test', external_id='a***@example.test', name='Ann')"


def test_repr_masks_addresses_in_every_depth() -> None:
    fields = FieldMap(name=f"{ANN} or <{ANN}>", custom_attributes={"manager": ANN})
    for shown in (repr(ContactUpsert(email=ANN, set=fields)), repr(fields), str(fields)):
        assert ANN not in shown
        assert "manager" in shown


@pytest.mark.parametrize("data", [None, 3, "lead_capture", ["lead_capture"]])
def test_only_intents_and_objects_are_parsed(data: Any) -> None:
    with pytest.raises(InvalidIntent, match="intent: must be"):
        parse_intent(data)


@pytest.mark.parametrize("kind", [None, 3, "", "lead-capture", "Base", []])
def test_the_kind_must_be_known(kind: Any) -> None:
    with pytest.raises(InvalidIntent, match="kind: must be one of newsletter_opt_in"):
        parse_intent({"kind": kind, "email": ANN})


def test_unchecked_copies_are_checked_when_parsed() -> None:
    intent = ContactUpsert(email=ANN, set={"name": "Ann"}, unset=["phone"])
    changes: list[dict[str, Any]] = [
        {"email": "ann"},
        {"email": None},
        {"nmae": "Bo"},
        {"set": intent.set.model_copy(update={"name": 3})},
        {"set": intent.set.model_copy(update={"nmae": "Bo"})},
        {"unset": ("name",)},
        {"kind": "lead_capture"},
    ]
    for change in changes:
        with pytest.raises(InvalidIntent):
            parse_intent(intent.model_copy(update=change))
    held = LeadCapture(email=ANN, custom_attributes={"a": 1})
    held.custom_attributes["b"] = None
    with pytest.raises(InvalidIntent, match=r"custom_attributes\.b"):
        parse_intent(held)
    with pytest.raises(InvalidIntent, match="email: is required"):
        parse_intent(LeadCapture.model_construct(**dict[str, Any]()))


def test_intents_are_frozen_and_can_be_copied_and_pickled() -> None:
    intent = ContactUpsert(email=ANN, set={"custom_attributes": {"a": 1.0}}, occurred_at=datetime.now(UTC))
    with pytest.raises(ValueError, match="frozen"):
        setattr(intent, "role", "user")  # noqa: B010 - mypy knows that it is frozen
    for other in (copy.deepcopy(intent), pickle.loads(pickle.dumps(intent)), parse_intent(intent)):
        assert other == intent
        assert other.to_json() == intent.to_json()
    assert intent.model_copy(update={"role": "user"}).role == "user"


@pytest.mark.parametrize("make", [LeadCapture, NewsletterOptIn])
def test_only_what_names_trusted_has_the_newer_form_of_payload(make: type[Any]) -> None:
    plain = make(email=ANN)
    assert (plain.payload_schema, "trusted" in plain.to_json()) == (1, False)
    for trusted in (True, False):
        said = make(email=ANN, trusted=trusted)
        assert (said.payload_schema, json.loads(said.to_json())["trusted"]) == (3, trusted)
        assert said.content() != plain.content()


def test_the_content_leaves_out_what_a_retried_request_may_change() -> None:
    first = NewsletterOptIn(email=ANN, name="Ann", subscription_types=["101", "102"], dedupe_key="k")
    again = NewsletterOptIn(
        email="ANN@example.test",
        name="Ann",
        subscription_types={"102", "101"},
        dedupe_key="other",
        occurred_at=datetime.now(UTC),
    )
    other = NewsletterOptIn(email=ANN, name="Bo", subscription_types=["101", "102"], dedupe_key="k")
    assert first.content() == again.content() != other.content()
    assert first.address == again.address


def test_json_is_canonical_and_holds_only_what_was_named() -> None:
    assert LeadCapture(email=ANN, name="Ärn", phone=None).to_json() == (
        '{"email":"ann@example.test","kind":"lead_capture","name":"Ärn"}'
    )


def test_only_syncs_travel_in_bulk() -> None:
    assert [kind for kind, make in KINDS.items() if make.bulk] == ["contact_sync"]


def test_json_schema_names_every_kind() -> None:
    schema = json_schema()
    assert set(schema["discriminator"]["mapping"]) == set(KINDS)
    for definition in schema["$defs"].values():
        if "kind" in definition["properties"]:
            assert definition["required"][:2] == ["kind", "email"]
            assert definition["additionalProperties"] is False
