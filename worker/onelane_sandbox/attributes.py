"""Data attributes: the custom ones must exist before a contact may carry them.

Evidence: official documentation (custom attributes are made through their own API only; at most 250 of them);
third-party copies of the help text (strings of at most 255 characters, no "." or "$" in a key, scalars only).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from typing import Any

from onelane_sandbox.messages import ApiError, JsonObject, invalid, missing

MAX_ATTRIBUTES = 250
MAX_TEXT = 255
_NAME = re.compile(r"[\w \-€£¥]{1,190}")
_TYPES = {
    "string": "string",
    "integer": "integer",
    "float": "float",
    "boolean": "boolean",
    "date": "date",
    "datetime": "date",
    "options": "string",
}
_STANDARD = (
    ("id", "string", False),
    ("external_id", "string", True),
    ("role", "string", True),
    ("email", "string", True),
    ("name", "string", True),
    ("phone", "string", True),
    ("owner_id", "integer", True),
    ("unsubscribed_from_emails", "boolean", True),
    ("signed_up_at", "date", True),
    ("last_seen_at", "date", True),
    ("created_at", "date", False),
    ("updated_at", "date", False),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """One custom attribute; `data_type` is string, integer, float, boolean or date."""

    id: int
    name: str
    model: str
    data_type: str
    description: str | None
    options: tuple[str, ...] | None
    messenger_writable: bool
    created_at: int
    updated_at: int
    archived: bool = False

    def body(self) -> JsonObject:
        """The attribute as the API shows it. Evidence: published spec 2.15."""
        body = _body(self.name, f"custom_attributes.{self.name}", self.data_type, self.model, writable=True)
        body |= {
            "id": self.id,
            "custom": True,
            "archived": self.archived,
            "messenger_writable": self.messenger_writable,
            "admin_id": "1",
            "created_at": self.created_at,
            "updated_at": self.updated_at,
        }
        if self.description is not None:
            body["description"] = self.description
        if self.options is not None:
            body["options"] = list(self.options)
        return body


class AttributeCatalog:
    """The workspace's data attributes."""

    def __init__(self) -> None:
        self._custom: dict[int, Attribute] = {}

    def contact_attribute(self, name: str) -> Attribute | None:
        """The live custom attribute of contacts with that name."""
        return self._find("contact", name)

    def listing(self, model: str | None, *, include_archived: bool) -> JsonObject:
        """Standard and custom attributes of one model, or of all."""
        standard = [_body(name, name, kind, "contact", writable=rw) for name, kind, rw in _STANDARD]
        custom = [one.body() for one in self._custom.values() if include_archived or not one.archived]
        return {"type": "list", "data": [one for one in standard + custom if model in (None, one["model"])]}

    def create(self, body: JsonObject, now: float) -> JsonObject:
        """Make one. Raises ApiError 400 for a taken or bad name, a bad type, or fewer than two options."""
        name, model, data_type = _read_new(body)
        if self._find(model, name) is not None:
            raise invalid(f"There is already an attribute '{name}' for this model", "name")
        if sum(not one.archived for one in self._custom.values()) >= MAX_ATTRIBUTES:
            raise invalid(f"A workspace has at most {MAX_ATTRIBUTES} custom attributes")
        attribute = Attribute(
            id=len(self._custom) + 1,
            name=name,
            model=model,
            data_type=_TYPES[data_type],
            description=body.get("description"),
            options=_options(body.get("options")) if data_type == "options" else None,
            messenger_writable=bool(body.get("messenger_writable", False)),
            created_at=int(now),
            updated_at=int(now),
        )
        self._custom[attribute.id] = attribute
        return attribute.body()

    def put(self, name: str, data_type: str, now: float) -> JsonObject:
        """A contact attribute of that name and type: a new one, or the one that is there.

        Raises ApiError 400 as `create` does, and if the name is taken by another type.
        """
        known = self.contact_attribute(name)
        if known is not None and known.data_type == _TYPES.get(data_type):
            return known.body()
        return self.create({"name": name, "model": "contact", "data_type": data_type}, now)

    def update(self, attribute_id: str, body: JsonObject, now: float) -> JsonObject:
        """Change description, options, visibility or archive it; the type never changes (published spec)."""
        attribute = next((one for one in self._custom.values() if str(one.id) == attribute_id), None)
        if attribute is None:
            raise ApiError(404, "field_not_found", "There is no such data attribute")
        changes: dict[str, Any] = {"updated_at": int(now)}
        if "description" in body:
            changes["description"] = body["description"]
        for name in ("messenger_writable", "archived"):
            if name in body:
                changes[name] = bool(body[name])
        if "options" in body:
            changes["options"] = _options(body["options"])
        self._custom[attribute.id] = replace(attribute, **changes)
        return self._custom[attribute.id].body()

    def merged(self, old: Any, new: object, unknown_status: str) -> dict[str, Any]:
        """`old` attribute values with `new` ones over them, key by key; null unsets and reads back as null.

        Evidence: recorded traffic. Raises ApiError for an unknown attribute (status: switch
        unknown_attribute) and for a value that the attribute cannot hold.
        """
        if new is None:
            return dict(old)
        if not isinstance(new, dict):
            raise invalid("custom_attributes must be an object", "custom_attributes")
        for key, value in new.items():
            self._check(key, value, unknown_status)
        return {**old, **new}

    def _check(self, key: str, value: Any, unknown_status: str) -> None:
        if "." in key or "$" in key:
            raise invalid(f"Custom attribute '{key}': a key must not contain '.' or '$'", key)
        attribute = self.contact_attribute(key)
        if attribute is None:
            code = "parameter_invalid" if unknown_status == "400" else "data_invalid"
            raise ApiError(
                int(unknown_status), code, f"Custom attribute '{key}' does not exist", field_name=key
            )
        if isinstance(value, dict | list):
            raise invalid(
                f"Custom attribute '{key}': the value must be a string, number, boolean or null", key
            )
        if isinstance(value, float) and not math.isfinite(value):
            raise invalid(f"Custom attribute '{key}': the number is too large", key)
        if isinstance(value, str) and len(value) > MAX_TEXT:
            raise invalid(f"Custom attribute '{key}': at most {MAX_TEXT} characters", key)
        if value is not None and not _fits(attribute.data_type, value):
            raise invalid(f"Custom attribute '{key}': the value is not of type {attribute.data_type}", key)

    def _find(self, model: str, name: str) -> Attribute | None:
        candidates = (one for one in self._custom.values() if one.name == name and one.model == model)
        return next((one for one in candidates if not one.archived), None)


def _read_new(body: JsonObject) -> tuple[str, str, str]:
    for required in ("name", "model", "data_type"):
        if body.get(required) is None:
            raise missing(required)
    name, model, data_type = body["name"], body["model"], body["data_type"]
    if model not in ("contact", "company"):
        raise invalid("model must be contact or company", "model")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise invalid("name may hold letters, digits, spaces, underscores, hyphens, currency signs", "name")
    if not isinstance(data_type, str) or data_type not in _TYPES:
        raise invalid(f"data_type must be one of {', '.join(_TYPES)}", "data_type")
    return name, model, data_type


def _fits(data_type: str, value: object) -> bool:
    # Unverified: how much Intercom coerces. Only what can never be meant is refused.
    if data_type == "boolean":
        return isinstance(value, bool)
    if data_type == "integer":
        return isinstance(value, int) and not isinstance(value, bool)
    if data_type == "float":
        return isinstance(value, int | float) and not isinstance(value, bool)
    return not isinstance(value, bool) or data_type == "string"


def _options(raw: object) -> tuple[str, ...]:
    options = raw if isinstance(raw, list) else []
    values = tuple(str(one["value"]) for one in options if isinstance(one, dict) and "value" in one)
    if len(values) < 2 or len(values) != len(options):
        raise invalid("options must be a list of at least two objects with a value", "options")
    return values


def _body(name: str, full_name: str, data_type: str, model: str, *, writable: bool) -> JsonObject:
    return {
        "type": "data_attribute",
        "name": name,
        "full_name": full_name,
        "label": name,
        "data_type": data_type,
        "api_writable": writable,
        "ui_writable": False,
        "messenger_writable": True,
        "custom": False,
        "archived": False,
        "model": model,
    }
