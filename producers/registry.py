"""What the recently written registry says of an address, as a `Latest`: no I/O here."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from producers.receipts import Latest


def latest_of(belief: bytes | str | None, now_ms: int) -> Latest | None:
    """The primary contact of a lane's belief; None unless facts of it are known.

    A pointer without facts is no picture: who the contact is may be believed, what it holds is not known.
    """
    if belief is None:
        return None
    registry = json.loads(belief)
    primary = registry.get("primary")
    contact = next((known for known in registry.get("contacts", ()) if known["id"] == primary), None)
    if contact is None or contact.get("as_of_ms") is None or contact.get("source") is None:
        return None
    as_of_ms = int(contact["as_of_ms"])
    return Latest(
        contact_id=contact["id"],
        role=contact["role"],
        external_id=contact.get("external_id"),
        fields=contact.get("fields") or {},
        source=contact["source"],
        as_of=datetime.fromtimestamp(as_of_ms / 1000, UTC),
        age_s=max(0, now_ms - as_of_ms) / 1000,
    )
