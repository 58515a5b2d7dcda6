"""Between the lanes' JSON text and the core's values."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache

from pydantic import BaseModel, ConfigDict, TypeAdapter

from onelane.intents import SettleCheck, parse_intent
from onelane_worker.core.belief import Belief, Journal, Memory, Version
from onelane_worker.core.operations import Problem
from onelane_worker.core.replaying import as_new, as_replayed
from onelane_worker.core.wish import Accepted
from onelane_worker.lanes.model import Grant, GrantedIntent, Part

SETTLE_CHECK = SettleCheck.model_fields["kind"].default


class Unreadable(ValueError):
    """The head is of a kind, or of a form, that this worker does not know: a newer one may."""


@lru_cache(maxsize=1024)  # a batch is folded again after every settle
def accepted(granted: GrantedIntent) -> Accepted:
    """A granted intent as the core sees it."""
    data = json.loads(granted.payload)
    intent = SettleCheck(**data) if data.get("kind") == SETTLE_CHECK else parse_intent(data)
    return Accepted(granted.id, intent, granted.accepted_at_ms, len(granted.payload))


def batch_of(grant: Grant, memory: Memory) -> tuple[Accepted, ...]:
    """The granted intents; those that were replayed, without what must be left out of them (R98).

    It ends before one that this worker cannot read. Raises `Unreadable` if that is the head.
    """
    batch: list[Accepted] = []
    for granted in grant.intents:
        try:
            batch.append(_as_meant(granted, memory))
        except ValueError as error:
            if not batch:
                raise Unreadable(str(error)) from None
            break
    return tuple(batch)


def _as_meant(granted: GrantedIntent, memory: Memory) -> Accepted:
    if granted.first_accepted_ms is None:
        return accepted(granted)
    if granted.whole:
        return as_new(accepted(granted), granted.first_accepted_ms)
    return as_replayed(accepted(granted), granted.first_accepted_ms, memory)


def belief_of(grant: Grant) -> Belief:
    return Belief() if grant.belief is None else Belief.model_validate_json(grant.belief)


def without_contact(belief: str, contact_id: str) -> str:
    """A stored belief that knows nothing of this contact any more."""
    known = Belief.model_validate_json(belief)
    contacts = tuple(contact for contact in known.contacts if contact.id != contact_id)
    primary = None if known.primary == contact_id else known.primary
    return to_json(known.model_copy(update={"contacts": contacts, "primary": primary}))


def memory_of(grant: Grant) -> Memory:
    return Memory() if grant.memory is None else Memory.model_validate_json(grant.memory)


def journal_of(grant: Grant) -> Journal | None:
    """The pending create, and since when it can no longer commit."""
    if grant.journal is None:
        return None
    journal = Journal.model_validate_json(grant.journal)
    until_ms = journal.commit_until_ms or grant.commit_until_ms
    return journal.model_copy(update={"commit_until_ms": until_ms})


def versions_of(stored: str | None) -> dict[str, Version]:
    """What is remembered with an external id: source ("" for none) → newest version applied."""
    return {} if stored is None else _VERSIONS.validate_json(stored)


def versions_json(by_source: Mapping[str, Version]) -> str:
    """The inverse of `versions_of`."""
    return _VERSIONS.dump_json(dict(by_source)).decode()


_VERSIONS = TypeAdapter(dict[str, Version], config=ConfigDict(hide_input_in_errors=True))


def to_json(value: BaseModel) -> str:
    return value.model_dump_json(exclude_defaults=True)


def journal_json(journal: Journal | None) -> Part:
    """A journal as the lane stores it; None clears it."""
    return None if journal is None else journal.model_dump_json(exclude_none=True)


def error_json(problem: Problem) -> str:
    """A problem as `status` shows it."""
    error = {
        "class": problem.kind,
        "http_status": problem.http_status,
        "code": problem.code,
        "message": problem.message,
    }
    return json.dumps({name: value for name, value in error.items() if value is not None})


def problem_of(error: str | None) -> Problem:
    """The inverse of `error_json`."""
    data = json.loads(error) if error else {}
    return Problem(
        data.get("class", "upstream_error"), data.get("http_status"), data.get("code"), data.get("message")
    )
