"""Between the lanes' JSON text and the core's values."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TypeVar

import structlog
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from onelane.errors import InvalidIntent
from onelane.intents import SettleCheck, parse_intent
from onelane_worker.lanes.model import Grant, GrantedIntent, Part
from onelane_worker.planner.fold import Accepted
from onelane_worker.planner.operations import Problem
from onelane_worker.planner.registry import ConsentMemory, Contact, Journal, RegistryEntry, Role, Version
from onelane_worker.planner.replay import as_new, as_replayed

SETTLE_CHECK = SettleCheck.model_fields["kind"].default
T = TypeVar("T")
log = structlog.get_logger(__name__)


class Unreadable(ValueError):
    """The head, or what its lane needs, is of a form that this worker does not know: a newer one may."""


@lru_cache(maxsize=1024)  # a batch is folded again after every settle
def accepted(granted: GrantedIntent) -> Accepted:
    """A granted intent as the core sees it."""
    data = json.loads(granted.payload)
    if not isinstance(data, dict):
        raise ValueError("the intent is no JSON object")
    intent = SettleCheck(**data) if data.get("kind") == SETTLE_CHECK else parse_intent(data)
    return Accepted(granted.id, intent, granted.accepted_at_ms, len(granted.payload))


def batch_of(grant: Grant, memory: ConsentMemory) -> tuple[Accepted, ...]:
    """The granted intents; those that were replayed, without what must be left out of them (R98).

    It ends before one that this worker cannot read. Raises `Unreadable` if that is the head.
    """
    batch: list[Accepted] = []
    for granted in grant.intents:
        try:
            batch.append(_as_meant(granted, memory))
        except (ValueError, RecursionError) as error:  # deep JSON ends in the latter
            if not batch:
                raise Unreadable(f"the intent, {_place(error)}") from None
            break
    return tuple(batch)


def _as_meant(granted: GrantedIntent, memory: ConsentMemory) -> Accepted:
    if granted.first_accepted_ms is None:
        return accepted(granted)
    if granted.whole:
        return as_new(accepted(granted), granted.first_accepted_ms)
    return as_replayed(accepted(granted), granted.first_accepted_ms, memory)


def belief_of(stored: str | None) -> RegistryEntry:
    """What a lane believes. Of a belief that cannot be read, the contacts that can, as pointers: what they
    hold is not known, but nobody is created a second time because of a field that a newer worker has added.
    """
    if stored is None:
        return RegistryEntry()
    try:
        return RegistryEntry.model_validate_json(stored)
    except ValidationError as error:
        pointers = RegistryEntry(contacts=tuple(_pointers(stored)))
        log.warning("belief not readable", place=_place(error), contacts_kept=len(pointers.contacts))
        return pointers


def _pointers(belief: str) -> list[Contact]:
    try:
        data = json.loads(belief)
        listed = data.get("contacts") if isinstance(data, dict) else None
    except (ValueError, RecursionError):
        return []
    known = []
    for contact in listed if isinstance(listed, list) else ():
        try:
            known.append(Contact.model_validate({**contact, "facts": None}))
        except (TypeError, ValueError):  # no object, or no contact that we know how to use
            continue
    return known


def without_contact(belief: str, contact_id: str) -> str | None:
    """A stored belief that knows nothing of this contact any more; None if it knows nothing at all."""
    known = belief_of(belief)
    contacts = tuple(contact for contact in known.contacts if contact.id != contact_id)
    primary = None if known.primary == contact_id else known.primary
    return to_store(known.model_copy(update={"contacts": contacts, "primary": primary}))


def memory_of(stored: str | None) -> ConsentMemory:
    """What a lane remembers. Raises `Unreadable`: a consent that cannot be read must not be overruled."""
    return ConsentMemory() if stored is None else _read("the memory", ConsentMemory.model_validate_json, stored)


def journal_of(grant: Grant) -> Journal | None:
    """The pending create, and since when it can no longer commit. Raises `Unreadable`."""
    if grant.journal is None:
        return None
    journal = _read("the journal", Journal.model_validate_json, grant.journal)
    until_ms = journal.commit_until_ms or grant.commit_until_ms
    return journal.model_copy(update={"commit_until_ms": until_ms})


def versions_of(stored: str | None) -> dict[str, Version]:
    """What is remembered with an external id: source ("" for none) → newest version applied.

    Raises `Unreadable`: an older version must not overtake one that cannot be read.
    """
    return {} if stored is None else _read("the versions", _VERSIONS.validate_json, stored)


def versions_json(by_source: Mapping[str, Version]) -> str:
    """The inverse of `versions_of`."""
    return _VERSIONS.dump_json(dict(by_source)).decode()


_NO_VALUES = ConfigDict(hide_input_in_errors=True)
"""Errors reach the log and Flower: they name the place and not what stood there."""
_VERSIONS = TypeAdapter(dict[str, Version], config=_NO_VALUES)


class Pointer(BaseModel):
    """Who the contact of an external id is."""

    model_config = _NO_VALUES

    id: str
    role: Role
    lane: str | None = None
    """Of the address that it has."""


def pointer_of(stored: str | None) -> Pointer | None:
    """The pointer of an external id; one that cannot be read is none: the contact is looked up again."""
    try:
        return None if stored is None else Pointer.model_validate_json(stored)
    except ValidationError as error:
        log.warning("pointer not readable", place=_place(error))
        return None


def to_json(value: BaseModel) -> str:
    return value.model_dump_json(exclude_defaults=True)


def to_store(value: BaseModel) -> str | None:
    """The JSON to store; None if it says nothing: then nothing is stored, and what was there goes."""
    text = to_json(value)
    return None if text == "{}" else text


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
    """The inverse of `error_json`; of what cannot be read, that there was an error."""
    try:
        data = _ERROR.validate_json(error) if error else {}
    except ValidationError:
        data = {}
    kind, status = data.get("class"), data.get("http_status")
    return Problem(
        kind if isinstance(kind, str) else "upstream_error",
        status if isinstance(status, int) else None,
        *(word if isinstance(word := data.get(name), str) else None for name in ("code", "message")),
    )


_ERROR: TypeAdapter[dict[str, object]] = TypeAdapter(dict[str, object], config=_NO_VALUES)


def _read(what: str, parse: Callable[[str], T], stored: str) -> T:
    try:
        return parse(stored)
    except ValidationError as error:
        raise Unreadable(f"{what}, {_place(error)}") from None


def _place(error: Exception) -> str:
    """Which field it is, never its value or a name that the data chose."""
    if isinstance(error, InvalidIntent):
        return f"field {error.field}: {error.message}"
    if not isinstance(error, ValidationError):
        return type(error).__name__
    place = error.errors(include_url=False, include_context=False, include_input=False)[0]["loc"]
    return f"field {place[0]}" if place else "its form"
