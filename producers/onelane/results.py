"""What the SDK answers: receipts, statuses, outcomes, and the newest known facts of a contact."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

State = Literal["waiting", "working", "retrying", "reconciling", "parked", "done", "dead"]
Result = Literal[
    "created",
    "updated",
    "converted",
    "unchanged",
    "skipped",
    "superseded",
    "erased",
    "withdrawn",
    "rejected",
]
ENDED: tuple[State, ...] = ("done", "dead")


class _Answer(BaseModel):
    # Unknown fields are passed over: a newer worker may say more than this SDK knows.
    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        populate_by_name=True,
        serialize_by_alias=True,
        hide_input_in_errors=True,
    )


class Receipt(_Answer):
    """Proof that an intent is stored. Print it, keep it, ask `status` or `wait` with its id."""

    id: str
    """Intent id: 32 hex digits; also the Celery task id and so the row in Flower."""
    lane: str
    """Digest of the address, keyed with the workspace's secret."""
    duplicate: bool = False
    """True when the dedupe key was known: this is the earlier intent's receipt, nothing was added."""

    def __str__(self) -> str:
        return f"{self.id}{' (duplicate)' if self.duplicate else ''}"


class Outcome(_Answer):
    """What became of an intent."""

    result: Result
    contact_id: str | None = None
    role: Literal["lead", "user"] | None = None
    calls: int = 0
    """Intercom requests made for it, in all attempts; of intents that travelled together they are told to the
    first. The last reads of a worker that was killed are not among them."""
    adopted: bool = False
    """The contact had been made by an earlier create of ours whose answer was lost, or was named by a 409."""
    revived: bool = False
    """The contact was archived and has been brought back."""
    ambiguous: bool = False
    """More than one contact could have been meant; the choice was deterministic, not certain."""
    reason: str | None = None
    message: str | None = None
    """Intercom's own words for a rejection."""
    superseded_by: str | None = None
    applied_with: tuple[str, ...] = ()
    """Ids of the intents that travelled in the same write."""
    merged: tuple[str, ...] = ()
    """Leads merged into the contact, in all attempts."""
    other_contacts: tuple[str, ...] = ()
    """Further contacts of the address that were seen and left alone, or also written (opt-out)."""

    def __str__(self) -> str:
        words = [f"result={self.result}"]
        words += [f"contact_id={self.contact_id}"] if self.contact_id else []
        words += [f"calls={self.calls}"]
        words += [name for name in ("adopted", "revived", "ambiguous") if getattr(self, name)]
        words += [f"{name}={value}" for name in ("reason", "superseded_by") if (value := getattr(self, name))]
        return " ".join(words)


class IntentError(_Answer):
    """Why the last attempt failed. JSON names: class, http_status, code, message."""

    class_: str = Field(alias="class", serialization_alias="class")
    http_status: int | None = None
    code: str | None = None
    message: str | None = None


class Status(_Answer):
    """Where an intent stands."""

    id: str
    kind: str
    state: State
    attempts: int = 0
    accepted_at: datetime
    next_attempt_at: datetime | None = None
    finished_at: datetime | None = None
    error: IntentError | None = None
    outcome: Outcome | None = None


class Latest(_Answer):
    """The newest factual picture of a contact: from a write's answer or a read by id, never the index."""

    contact_id: str
    role: Literal["lead", "user"]
    external_id: str | None = None
    fields: dict[str, Any] = Field(default_factory=dict)
    source: Literal["written", "read"]
    as_of: datetime
    """When the request that brought these facts was sent."""
    age_s: float
    """Seconds since then, by the clock of Redis."""
