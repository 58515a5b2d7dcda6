"""What the recently written registry says of an address, as a `Latest`: no I/O here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from onelane.results import Latest
from onelane.session import Exchange, Session
from onelane.validation import ATTRIBUTE_PREFIX


def latest(session: Session, address: str) -> Exchange[Latest | None]:
    """The newest facts of the contact of an address. Raises redis-py's errors and `OnelaneError`."""
    entry, (seconds, micros) = yield from session.read(
        lambda workspace: [("GET", session.keys.key("registry", workspace.lane(address))), ("TIME",)]
    )
    return latest_of(entry, int(seconds) * 1000 + int(micros) // 1000)


def latest_of(entry: bytes | str | None, now_ms: int) -> Latest | None:
    """The primary contact of a lane's registry entry; None unless facts of it are known.

    A pointer without facts is no picture: who the contact is may be believed, what it holds is not known.
    """
    try:
        return None if entry is None else _latest(json.loads(entry), now_ms)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None  # not readable here: a newer worker's, perhaps


def _latest(entry: Any, now_ms: int) -> Latest | None:
    primary = entry.get("primary")
    contact = next((known for known in entry.get("contacts", ()) if known["id"] == primary), None)
    facts = None if contact is None else contact.get("facts")
    if contact is None or not facts:
        return None
    as_of_ms = int(facts["as_of_ms"])
    return Latest(
        contact_id=contact["id"],
        role=contact["role"],
        external_id=contact.get("external_id"),
        fields=_nested(facts.get("fields", {})),
        source=facts.get("source", "read"),  # the worker leaves out what is the default
        as_of=datetime.fromtimestamp(as_of_ms / 1000, UTC),
        age_s=max(0, now_ms - as_of_ms) / 1000,
    )


def _nested(paths: Mapping[str, Any]) -> dict[str, Any]:
    """Field paths as Intercom shows them: `custom_attributes.plan` as an entry of `custom_attributes`."""
    fields = {path: value for path, value in paths.items() if not path.startswith(ATTRIBUTE_PREFIX)}
    attributes = {path.removeprefix(ATTRIBUTE_PREFIX): paths[path] for path in paths if path not in fields}
    return fields | {"custom_attributes": attributes} if attributes else fields
