"""Contact bodies: what Intercom states about a contact, in the terms of `onelane_worker.planner.registry`.

Every reader returns None (or leaves a field out) for what it cannot understand: a field that is left out
is unknown and will be written, which costs a call; a field that is misread would cost data (R48).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, Literal

from onelane_worker.planner import operations as op
from onelane_worker.planner.registry import Facts, Role

_UNREADABLE = object()

_ROLES: dict[object, Role] = {"user": "user", "contact": "user", "lead": "lead"}
"""`contact` was accepted on create and stored as user (recorded traffic 2021)."""


def facts_of(body: Any, *, as_of_ms: int, source: Literal["written", "read"]) -> Facts | None:
    """The facts in a contact body; None if it has no id or no role that we know."""
    if not isinstance(body, dict):
        return None
    contact_id, role = text(body.get("id")), _role(body)
    if contact_id is None or role is None:
        return None
    attributes = body.get("custom_attributes")
    return Facts(
        id=contact_id,
        role=role,
        external_id=text(body.get("external_id")),
        email=text(body.get("email")),
        fields=dict(_fields(body)),
        attributes_known=isinstance(attributes, dict),
        attached=_attached(body),
        created_at=_known_time(body.get("created_at")),
        updated_at=_known_time(body.get("updated_at")),
        as_of_ms=as_of_ms,
        source=source,
    )


def candidate_of(body: Any) -> op.Candidate | None:
    """A search hit; None if it has no id or no role that we know."""
    if not isinstance(body, dict):
        return None
    contact_id, role = text(body.get("id")), _role(body)
    if contact_id is None or role is None:
        return None
    created_at = _known_time(body.get("created_at"))
    return op.Candidate(contact_id, role, text(body.get("external_id")), text(body.get("email")), created_at)


def text(value: Any) -> str | None:
    """An identifier or address: empty is the same as none, and a number is taken for its digits."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return value if isinstance(value, str) and value else None


def ids_of(listing: Any) -> frozenset[str] | None:
    """The ids of a sub-resource list `{"data": [{"id": …}], …}`; None unless all of them are there.

    A contact body shows the first ten only and says so in `has_more` and `total_count` (published 2.15 spec).
    """
    entries = listing.get("data") if isinstance(listing, dict) else None
    if not isinstance(entries, list) or listing.get("has_more"):
        return None
    ids = [text(entry.get("id")) if isinstance(entry, dict) else None for entry in entries]
    total = listing.get("total_count", len(ids))
    if None in ids or total != len(ids):
        return None
    return frozenset(i for i in ids if i is not None)


def _role(body: dict[str, Any]) -> Role | None:
    role = body.get("role")
    return _ROLES.get(role) if isinstance(role, str) else None


def _attached(body: dict[str, Any]) -> frozenset[str] | None:
    """Explicit choices, if the body shows them all. The two lists stand in the published examples only, in no
    2.15 schema and in no recording of 2021, so their absence is the normal case."""
    lists = (body.get("opted_in_subscription_types"), body.get("opted_out_subscription_types"))
    if not all(isinstance(each, dict) and each.get("has_more") is False for each in lists):
        return None
    opted_in, opted_out = (ids_of(each) for each in lists)
    return None if opted_in is None or opted_out is None else opted_in | opted_out


def _fields(body: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, read in _READERS.items():
        if name in body:
            value = None if body[name] is None else read(body[name])
            if value is not _UNREADABLE:
                yield name, value
    attributes = body.get("custom_attributes")
    if isinstance(attributes, dict):
        yield from ((f"custom_attributes.{name}", value) for name, value in attributes.items())


def _string(value: Any) -> Any:
    return value if isinstance(value, str) else _UNREADABLE


def _flag(value: Any) -> Any:
    return value if isinstance(value, bool) else _UNREADABLE


def _avatar(value: Any) -> Any:
    """Sent as a URL, answered as an object (recorded traffic 2021)."""
    url = value.get("image_url", _UNREADABLE) if isinstance(value, dict) else value
    return url if url is None else _string(url)


def _integer(value: Any) -> Any:
    """Owners are integers up to 2.15 and strings from 2.16 on (published specs)."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 18:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else _UNREADABLE


def _time(value: Any) -> Any:
    """Unix seconds. Webhooks carry ISO 8601 strings where the API carries integers (recorded in 2026)."""
    if isinstance(value, float) and math.isfinite(value):
        return math.floor(value)
    if isinstance(value, str) and not value.isdigit():
        return _iso(value)
    return _integer(value)


def _iso(value: str) -> Any:
    try:
        moment = datetime.fromisoformat(value)
        return math.floor((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        return _UNREADABLE


def _known_time(value: Any) -> int | None:
    seconds = _UNREADABLE if value is None else _time(value)
    return seconds if isinstance(seconds, int) else None


_READERS = {
    "name": _string,
    "phone": _string,
    "avatar": _avatar,
    "owner_id": _integer,
    "signed_up_at": _time,
    "last_seen_at": _time,
    "unsubscribed_from_emails": _flag,
}
