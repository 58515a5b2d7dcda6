"""Two small lists of the workspace: subscription types and tags."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from onelane_sandbox.messages import ApiError, JsonObject, invalid, resource_not_found

CONSENT_TYPES = ("opt_out", "opt_in")


@dataclass(frozen=True, slots=True)
class SubscriptionType:
    """Attaching an opt_out type opts the person out of it; attaching an opt_in type opts them in."""

    id: str
    name: str
    consent_type: str

    def body(self) -> JsonObject:
        """The subscription object of the API. Evidence: published spec 2.15."""
        translation = {"name": self.name, "description": self.name, "locale": "en"}
        return {
            "type": "subscription",
            "id": self.id,
            "state": "live",
            "consent_type": self.consent_type,
            "default_translation": translation,
            "translations": [dict(translation)],
            "content_types": ["email"],
        }


class SubscriptionTypes:
    """The workspace's subscription types. The API cannot make them, the control interface can."""

    def __init__(self) -> None:
        self._types: dict[str, SubscriptionType] = {}
        self.put("101", "Newsletter", "opt_out")
        self.put("102", "Product news", "opt_in")

    def put(self, type_id: str, name: str, consent_type: str) -> SubscriptionType:
        """Add one, or replace the one with that id."""
        self._types[type_id] = SubscriptionType(type_id, name, consent_type)
        return self._types[type_id]

    def get(self, type_id: object) -> SubscriptionType:
        """The type of that id (a number will do, as in the spec's example), or ApiError 404."""
        found = self._types.get(str(type_id))
        if found is None:
            raise resource_not_found()
        return found

    def listing(self) -> JsonObject:
        """All types."""
        return {"type": "list", "data": [one.body() for one in self._types.values()]}


class Tags:
    """The workspace's tags."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}

    def create_or_update(self, body: JsonObject) -> JsonObject:
        """With a name: the tag of that name, made if new; with an id as well: rename it."""
        name: Any = body.get("name")
        if not isinstance(name, str) or not name:
            raise ApiError(400, "parameter_invalid", "invalid tag parameters")
        if any(key in body for key in ("companies", "users")):
            raise invalid("this sandbox tags contacts one by one, through /contacts/{id}/tags")
        if body.get("id") is not None:
            self.get(body["id"])
            self._names[str(body["id"])] = name
            return self.get(body["id"])
        known = next((key for key, its in self._names.items() if its == name), None)
        tag_id = known or str(len(self._names) + 1)
        self._names[tag_id] = name
        return self.get(tag_id)

    def get(self, tag_id: object) -> JsonObject:
        """The tag of that id, or ApiError 404."""
        key = str(tag_id)
        if key not in self._names:
            raise resource_not_found()
        return {"type": "tag", "id": key, "name": self._names[key]}

    def applied(self, tag_id: object, applied_at: int | None) -> JsonObject:
        """The tag of that id as part of a contact."""
        return {**self.get(tag_id), "applied_at": applied_at, "applied_by": {"type": "admin", "id": "1"}}

    def listing(self) -> JsonObject:
        """All tags."""
        return {"type": "list", "data": [self.get(key) for key in self._names]}
