"""Reading the fields of a create or update body: types, nulls, and what is silently ignored."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from onelane_sandbox.contact import Role
from onelane_sandbox.messages import JsonObject, invalid
from onelane_sandbox.versions import HAS_EMAIL_VERIFIED, ApiVersion
from onelane_sandbox.workspace import Workspace

Reader = Callable[[str, Any], Any]


def read_role(body: JsonObject, default: Role) -> Role:
    """The role asked for. "contact" is stored as user (recorded traffic); other words: unverified."""
    role = body.get("role")
    if role is None:
        return default
    if role in ("user", "contact"):
        return "user"
    if role == "lead":
        return "lead"
    raise invalid("role must be user or lead", "role")


def read_external_id(body: JsonObject) -> str | None:
    """The external id asked for; null and "" are ignored. Evidence: recorded traffic (null)."""
    value = body.get("external_id")
    if isinstance(value, bool) or not isinstance(value, str | int | None):
        raise invalid("external_id must be a string", "external_id")
    return None if value is None or value == "" else str(value)


def read_fields(
    space: Workspace, body: JsonObject, old_attributes: Mapping[str, Any], version: ApiVersion
) -> dict[str, Any]:
    """The contact's fields that `body` writes; absent means unchanged, unknown keys are ignored."""
    fields = {
        target: reader(name, body[name])
        for name, (target, reader) in _FIELDS.items()
        if name in body and not (body[name] is None and name in _NULL_IGNORED)
    }
    if fields.get("email") and space.switches["email_store_case"] == "lower":
        fields["email"] = fields["email"].lower()
    if "custom_attributes" in body:
        status = space.switches["unknown_attribute"]
        fields["custom_attributes"] = space.attributes.merged(
            old_attributes, body["custom_attributes"], status
        )
    if "email_verified" in body and version >= HAS_EMAIL_VERIFIED and not body.get("email"):
        raise invalid("email_verified can only be sent together with email", "email_verified")
    return fields


def _text(name: str, value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    raise invalid(f"{name} must be a string", name)


def _email(name: str, value: Any) -> str | None:
    return _text(name, value) or None


def _seconds(name: str, value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return int(value)
    raise invalid(f"{name} must be a Unix time in seconds", name)


def _flag(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise invalid(f"{name} must be true or false", name)


def _owner(name: str, value: Any) -> int | None:
    if value is None:
        return None
    # 2.16 shows owners as strings, so a client may send one back.
    number = int(value) if isinstance(value, str) and re.fullmatch("[0-9]{1,18}", value) else value
    if isinstance(number, bool) or not isinstance(number, int):
        raise invalid(f"{name} must be an integer", name)
    if number <= 0:
        raise invalid("The owner specified is not a member of the workspace", name)
    return number


def _avatar(name: str, value: Any) -> str | None:
    if isinstance(value, Mapping):
        value = value.get("image_url")  # what a read returned, sent back
    return _text(name, value)


_FIELDS: dict[str, tuple[str, Reader]] = {
    "email": ("email", _email),
    "phone": ("phone", _text),
    "name": ("name", _text),
    "avatar": ("avatar_url", _avatar),
    "owner_id": ("owner_id", _owner),
    "signed_up_at": ("signed_up_at", _seconds),
    "last_seen_at": ("last_seen_at", _seconds),
    "unsubscribed_from_emails": ("unsubscribed_from_emails", _flag),
}
_NULL_IGNORED = ("unsubscribed_from_emails",)
