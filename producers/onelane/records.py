"""What the hash of an intent says, as a `Status`: no I/O here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from onelane.errors import UnknownIntent
from onelane.keys import Keys
from onelane.results import ENDED, IntentError, Outcome, Status
from onelane.session import Exchange
from onelane.workspace import as_text, checked

_WAIT_FIELDS = ("at", "state", "outcome")
_FIRST_POLL_S = 0.02
_SLOWEST_POLL_S = 0.5


def is_intent_id(text: str) -> bool:
    """Whether the text has the form of an intent id: 32 hex digits."""
    return len(text) == 32 and not set(text) - set("0123456789abcdef")


def status(keys: Keys, intent_id: str) -> Exchange[Status | None]:
    """Where the intent stands; None if nothing is known of it. Raises redis-py's errors."""
    [record] = checked((yield [("HGETALL", keys.key("intent", intent_id))]))
    return status_of(intent_id, record)


def outcome(keys: Keys, intent_id: str) -> Exchange[Outcome | None]:
    """How the intent ended, None while it has not. Raises `UnknownIntent` and redis-py's errors."""
    if not is_intent_id(intent_id):
        raise UnknownIntent(intent_id)
    [values] = checked((yield [("HMGET", keys.key("intent", intent_id), *_WAIT_FIELDS)]))
    return outcome_of(intent_id, values)


def status_of(intent_id: str, record: Mapping[Any, Any]) -> Status | None:
    """The status in an intent hash; None for an empty one."""
    fields = {as_text(name): as_text(value) for name, value in record.items()}
    if "at" not in fields:
        return None
    error, outcome = fields.get("error"), fields.get("outcome")
    return Status(
        id=intent_id,
        kind=fields["kind"],
        state=fields.get("state", "waiting"),
        attempts=int(fields.get("attempts", 0)),
        accepted_at=_moment(int(fields["at"])),
        next_attempt_at=_moment(int(fields["next"])) if "next" in fields else None,
        finished_at=_moment(int(fields["ended"])) if "ended" in fields else None,
        error=_error(error) if error else None,
        outcome=Outcome.model_validate_json(outcome) if outcome else None,
    )


def _error(text: str) -> IntentError:
    try:
        return IntentError.model_validate_json(text)
    except ValidationError:  # a newer worker's, perhaps
        return IntentError(**{"class": "unreadable"})


def outcome_of(intent_id: str, values: Sequence[Any]) -> Outcome | None:
    """The outcome in the values of `_WAIT_FIELDS`, None while there is none. Raises `UnknownIntent`."""
    accepted_at, state, outcome = (None if value is None else as_text(value) for value in values)
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
