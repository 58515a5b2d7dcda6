"""What one intent asks for, read from its JSON form alone."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from .history import Accepted, Json

PLAIN = ("name", "phone", "avatar", "owner_id", "signed_up_at", "last_seen_at")
ATTRIBUTE = "custom_attributes."
ALL_MAIL = "all"
"""The channel of `unsubscribed_from_emails`; the others are ids of subscription types."""
APPLIED = frozenset({"created", "updated", "converted", "unchanged"})
RESULTS = APPLIED | {"skipped", "superseded", "erased", "rejected"}
MAY_HAVE_WRITTEN = frozenset({"upstream_error", "killed_worker"})
"""Reasons for which a dead letter's write may have been made all the same."""

Fields = dict[str, Any]
Words = dict[str, bool]


def fields_of(source: Json) -> Fields:
    """Path → value of what a JSON object names: an intent, a field map, or a request's body."""
    named = {path: source[path] for path in PLAIN if path in source}
    return named | {ATTRIBUTE + key: value for key, value in (source.get("custom_attributes") or {}).items()}


def asked(one: Accepted) -> Fields:
    """Path → value that must be written; None clears."""
    source = one.intent.get("set") or {} if one.kind == "contact_upsert" else one.intent
    return fields_of(source) | dict.fromkeys(one.intent.get("unset") or (), None)


def asked_on_insert(one: Accepted) -> Fields:
    """Path → value written only by a create."""
    return fields_of(one.intent.get("set_on_insert") or {})


def implied(one: Accepted) -> Fields:
    """What may be written for it though it is not named: a sign-up says when it happened."""
    if one.kind != "product_sign_up" or one.intent.get("signed_up_at") is not None:
        return {}
    return {"signed_up_at": int(one.acted)}


def spoken(one: Accepted, newsletter_types: Iterable[str] = ()) -> Words:
    """Channel → whether the person wants it: explicit consent, of two kinds only."""
    types = tuple(one.intent.get("subscription_types") or newsletter_types)
    if one.kind == "newsletter_opt_in":
        lifts = one.intent.get("lift_unsubscribe_all", True)
        return dict.fromkeys((*((ALL_MAIL,) if lifts else ()), *types), True)
    if one.kind == "newsletter_opt_out":
        return dict.fromkeys(types or (ALL_MAIL,), False)
    return {}


def is_form(one: Accepted) -> bool:
    """Whether anybody may have filled it in. Where two accounts share an address, it may be about either."""
    return one.kind in ("lead_capture", "newsletter_opt_in", "newsletter_opt_out")


def makes_user(one: Accepted) -> bool:
    """Whether nobody can be a lead after it."""
    named = one.external_id is not None
    match one.kind:
        case "product_sign_up":
            return True
        case "contact_sync":
            return named
        case "contact_upsert":
            return one.intent.get("role") == "user"
    return False


def same_picture(one: Accepted, other: Accepted) -> bool:
    """Whether versions of the two can be compared: one source speaks of one identity, which is the external
    id, else the address."""
    same = all(one.intent.get(name) == other.intent.get(name) for name in ("external_id", "source"))
    return same and (one.external_id is not None or one.address == other.address)


def key(value: Any) -> str:
    """Equal values have equal keys; True, 1 and "1" differ, 1 and 1.0 do not."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def held(contact: Json, path: str) -> Any:
    """The value of a field in a contact's true state."""
    if path.startswith(ATTRIBUTE):
        return contact.get("custom_attributes", {}).get(path.removeprefix(ATTRIBUTE))
    value = contact.get(path)
    if path == "avatar" and isinstance(value, Mapping):
        return value.get("image_url")
    return value
