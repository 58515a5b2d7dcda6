"""What the intent hash says, as a `Status`: no I/O here."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from onelane.errors import UnknownIntent
from onelane.receipts import ENDED, IntentError, Outcome, Status

WAIT_FIELDS = ("at", "state", "outcome")
"""The fields of the hash that `wait` looks at."""
_FIRST_POLL_S = 0.02
_SLOWEST_POLL_S = 0.5


def is_intent_id(text: str) -> bool:
    """Whether the text has the form of an intent id: 32 hex digits."""
    return len(text) == 32 and not set(text) - set("0123456789abcdef")


def known_form(intent_id: str) -> str:
    """The id, if it can be one. Raises `UnknownIntent`."""
    if not is_intent_id(intent_id):
        raise UnknownIntent(intent_id)
    return intent_id


def status_of(intent_id: str, record: Mapping[Any, Any]) -> Status | None:
    """The status in an intent hash; None for an empty one."""
    fields = {_text(name): _text(value) for name, value in record.items()}
    if "at" not in fields:
        return None
    error, outcome = fields.get("error"), fields.get("outcome")
    return Status(
        id=intent_id,
        kind=fields["kind"] if "kind" in fields else _kind(fields["payload"]),
        state=fields.get("state", "waiting"),
        attempts=int(fields.get("attempts", 0)),
        accepted_at=_moment(int(fields["at"])),
        next_attempt_at=_moment(int(fields["next"])) if "next" in fields else None,
        finished_at=_moment(int(fields["ended"])) if "ended" in fields else None,
        error=_error(error) if error else None,
        outcome=Outcome.model_validate_json(outcome) if outcome else None,
    )


def _kind(payload: str) -> str:
    try:
        return str(json.loads(payload)["kind"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return "unreadable"


def _error(text: str) -> IntentError:
    try:
        return IntentError.model_validate_json(text)
    except ValidationError:  # a newer worker's, perhaps
        return IntentError(**{"class": "unreadable"})


def outcome_of(intent_id: str, values: Sequence[Any]) -> Outcome | None:
    """The outcome in the values of `WAIT_FIELDS`, None while there is none. Raises `UnknownIntent`."""
    accepted_at, state, outcome = (None if value is None else _text(value) for value in values)
    if accepted_at is None:
        raise UnknownIntent(intent_id)
    return Outcome.model_validate_json(outcome) if state in ENDED and outcome else None


def not_ended(intent_id: str, timeout_s: float) -> str:
    """What `WaitTimeout` says."""
    return f"intent {intent_id} has not ended within {timeout_s:g} s"


def poll_pause_s(waited_s: float) -> float:
    """Seconds until the next look: a tenth of the time waited so far, which is the most it comes late."""
    return min(max(waited_s / 10, _FIRST_POLL_S), _SLOWEST_POLL_S)


def _moment(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
