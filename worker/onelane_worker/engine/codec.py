"""Between the lanes' JSON text and the planner's values.

What a newer worker has added is passed over. What cannot be read is told by its place, never by its value,
which may name a person."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TypeVar

import msgspec
import structlog
from msgspec.structs import replace
from pydantic import ValidationError

from onelane import Outcome
from onelane.errors import InvalidIntent
from onelane.intents import DuplicateCheck, SettleCheck, parse_intent
from onelane_worker.lanes.types import Grant, GrantedIntent, Lock, Part
from onelane_worker.planner.fold import Accepted
from onelane_worker.planner.operations import Problem
from onelane_worker.planner.registry import ConsentMemory, Contact, Journal, RegistryEntry, Role, Version
from onelane_worker.planner.replay import as_new, as_replayed

_OWN = {kind.model_fields["kind"].default: kind for kind in (SettleCheck, DuplicateCheck)}
"""Kinds of intents that no producer may send."""
T = TypeVar("T")
log = structlog.get_logger(__name__)
_PLACE = re.compile(r"`\$\.(\w+)[^`]*`$")
_encode = msgspec.json.Encoder().encode


class Unreadable(ValueError):
    """The head, or what its lane needs, is of a form that this worker does not know: a newer one may."""


# ── intents ───────────────────────────────────────────────────────────────────────────────────────────────


@lru_cache(maxsize=1024)  # a batch is folded again after every settle
def accepted(granted: GrantedIntent) -> Accepted:
    """A granted intent as the planner sees it. Raises `ValueError` if it cannot be read."""
    data = msgspec.json.decode(granted.payload)
    if not isinstance(data, dict):
        raise ValueError("the intent is no JSON object")
    kind = data.get("kind")
    own = _OWN.get(kind) if isinstance(kind, str) else None
    intent = parse_intent(data) if own is None else own(**data)
    at_ms = granted.accepted_ms if granted.again_ms is None else granted.again_ms
    return Accepted(granted.id, intent, at_ms, len(granted.payload))


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
    if granted.again_ms is None:
        return accepted(granted)
    if granted.whole:
        return as_new(accepted(granted), granted.accepted_ms)
    return as_replayed(accepted(granted), granted.accepted_ms, memory)


# ── the registry ──────────────────────────────────────────────────────────────────────────────────────────

_read_entry = msgspec.json.Decoder(RegistryEntry).decode
_read_memory = msgspec.json.Decoder(ConsentMemory).decode
_read_journal = msgspec.json.Decoder(Journal).decode


def entry_of(stored: str | None) -> RegistryEntry:
    """What a lane knows. Of an entry that cannot be read, the contacts that can, as pointers: what they hold
    is not known, but nobody is created a second time because of a field that a newer worker has changed."""
    if stored is None:
        return RegistryEntry()
    try:
        return _read_entry(stored)
    except (msgspec.MsgspecError, RecursionError) as error:
        pointers = RegistryEntry(contacts=tuple(_pointers(stored)))
        log.warning("registry entry not readable", place=_place(error), contacts_kept=len(pointers.contacts))
        return pointers


def _pointers(entry: str) -> list[Contact]:
    try:
        data = json.loads(entry)
        listed = data.get("contacts") if isinstance(data, dict) else None
    except (ValueError, RecursionError):
        return []
    known = []
    for contact in listed if isinstance(listed, list) else ():
        try:
            known.append(msgspec.convert({**contact, "facts": None}, Contact))
        except (TypeError, ValueError):  # no object, or no contact that we know how to use
            continue
    return known


def without_contact(entry: str, contact_id: str) -> str | None:
    """A stored entry that knows nothing of this contact any more; None if it knows nothing at all."""
    known = entry_of(entry)
    contacts = tuple(contact for contact in known.contacts if contact.id != contact_id)
    primary = None if known.primary == contact_id else known.primary
    return to_store(replace(known, contacts=contacts, primary=primary))


def memory_of(stored: str | None) -> ConsentMemory:
    """What a lane remembers. Raises `Unreadable`: a consent that cannot be read must not be overruled."""
    return ConsentMemory() if stored is None else _read("the consent memory", _read_memory, stored)


def journal_of(grant: Grant) -> Journal | None:
    """The pending create, and since when it can no longer commit. Raises `Unreadable`."""
    if grant.journal is None:
        return None
    journal = _read("the journal", _read_journal, grant.journal)
    if journal.commit_until_ms is not None:
        return journal
    return replace(journal, commit_until_ms=grant.commit_until_ms)


def to_store(value: RegistryEntry | ConsentMemory) -> str | None:
    """The JSON to store; None if it says nothing: then nothing is stored, and what was there goes."""
    text = _encode(value).decode()
    return None if text == "{}" else text


def journal_json(journal: Journal | None) -> Part:
    """A journal as the lane stores it; None clears it."""
    return None if journal is None else _encode(journal).decode()


# ── external ids ──────────────────────────────────────────────────────────────────────────────────────────


class Pointer(msgspec.Struct, frozen=True):
    """Who the contact of an external id is."""

    id: str
    role: Role
    lane: str | None = None
    """Of the address that it has."""


_read_pointer = msgspec.json.Decoder(Pointer).decode


def pointer_of(stored: str | None) -> Pointer | None:
    """The pointer of an external id; one that cannot be read is none: the contact is looked up again."""
    try:
        return None if stored is None else _read_pointer(stored)
    except msgspec.MsgspecError as error:
        log.warning("pointer not readable", place=_place(error))
        return None


def pointer_text(pointer: Pointer) -> str:
    return _encode(pointer).decode()


def versions_of(lock: Lock) -> dict[str, Version]:
    """What was applied to an external id: source ("" for none) → newest version.

    Raises `Unreadable`: an older version must not overtake one that cannot be read.
    """
    return {source: _version(text) for source, text in lock.versions.items()}


def versions_text(by_source: Mapping[str, Version]) -> dict[str, str]:
    """The inverse of `versions_of`: `number intent ms` by source."""
    return {source: f"{one.number} {one.by} {one.at_ms}" for source, one in by_source.items()}


def _version(text: str) -> Version:
    try:
        number, by, at_ms = text.split(" ")
        return Version(number=int(number), by=by, at_ms=int(at_ms))
    except ValueError:
        raise Unreadable("the versions, their form") from None


# ── outcomes and errors ───────────────────────────────────────────────────────────────────────────────────


def to_json(outcome: Outcome) -> str:
    """An outcome as `status` reads it."""
    return outcome.model_dump_json(exclude_defaults=True)


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
        data = json.loads(error) if error else {}
    except (ValueError, RecursionError):
        data = {}
    if not isinstance(data, dict):
        data = {}
    kind, status = data.get("class"), data.get("http_status")
    code, message = (
        word if isinstance(word := data.get(name), str) else None for name in ("code", "message")
    )
    return Problem(
        kind if isinstance(kind, str) else "upstream_error",
        status if isinstance(status, int) else None,
        code,
        message,
    )


def _read(what: str, parse: Callable[[str], T], stored: str) -> T:
    try:
        return parse(stored)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Unreadable(f"{what}, {_place(error)}") from None


def _place(error: Exception) -> str:
    """Which field it is, never its value or a name that the data chose."""
    if isinstance(error, InvalidIntent):
        return f"field {error.field}: {error.message}"
    if isinstance(error, msgspec.ValidationError):
        at = _PLACE.search(str(error))
        return f"field {at[1]}" if at else "its form"
    if isinstance(error, ValidationError):
        place = error.errors(include_url=False, include_context=False, include_input=False)[0]["loc"]
        return f"field {place[0]}" if place else "its form"
    return "its form" if isinstance(error, msgspec.MsgspecError) else type(error).__name__
