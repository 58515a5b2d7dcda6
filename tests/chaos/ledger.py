"""The list of accepted receipts, put together from the producers' journals and what the SDK tells of them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from tests.checker.history import Accepted, normal

from onelane import ContactQueue, Status

from .fleet import Fleet
from .worklist import is_poison

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Receipt:
    """One receipt as a producer holds it."""

    id: str
    intent: Json
    producer: int
    place: int
    """Among the intents of its producer."""
    noted_at: float
    """When it was accepted, as the producer heard it at once."""


@dataclass(frozen=True, slots=True)
class Ledger:
    """What was accepted, as the checker wants it."""

    accepted: list[Accepted]
    poison: frozenset[str]
    unsent: int
    """Intents for which no producer holds a receipt."""


def read(fleet: Fleet) -> Ledger:
    """After the run: every receipt with its outcome, in accepted order."""
    receipts, unsent = _receipts(fleet)
    with ContactQueue.from_url(fleet.valkey.url) as queue:
        statuses = {one.id: queue.status(one.id) for one in receipts}
    by_address: defaultdict[str, list[Receipt]] = defaultdict(list)
    for one in receipts:
        by_address[normal(one.intent["email"])].append(one)
    accepted = [row for group in by_address.values() for row in _ranked(group, statuses)]
    poison = frozenset(one.id for one in receipts if is_poison(one.intent))
    return Ledger(accepted, poison, unsent)


def _receipts(fleet: Fleet) -> tuple[list[Receipt], int]:
    """All receipts, and the number of intents without one. What Redis lost and was sent again has two."""
    found: dict[str, Receipt] = {}
    planned: set[str] = set()
    for producer in range(len(fleet.producers)):
        place = 0
        for intents, note in _pairs(fleet, producer):
            planned.update(intent["dedupe_key"] for intent in intents)
            noted = zip(note["ids"], note["accepted_at"], strict=True) if note else ()
            for intent, (intent_id, at) in zip(intents, noted, strict=note is not None):
                place += 1
                found.setdefault(intent_id, Receipt(intent_id, intent, producer, place, at))
    return list(found.values()), len(planned - {one.intent["dedupe_key"] for one in found.values()})


def _pairs(fleet: Fleet, producer: int) -> Iterator[tuple[list[Json], Any]]:
    journal = fleet.journal(producer)
    notes = [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []
    for number, line in enumerate(fleet.worklist(producer).read_text().splitlines()):
        yield json.loads(line)["intents"], notes[number] if number < len(notes) else None


def _ranked(group: list[Receipt], statuses: dict[str, Status | None]) -> Iterator[Accepted]:
    """By the time of acceptance. Of one millisecond, one producer's intents stay in the order it sent them;
    those of different producers are held to be simultaneous."""
    at = {one.id: _accepted_at(one, statuses[one.id]) for one in group}
    group.sort(key=lambda one: (at[one.id], one.producer, one.place))
    first = 0
    for _, moment in groupby(group, key=lambda one: at[one.id]):
        same = list(moment)
        mixed = len({one.producer for one in same}) > 1
        for number, one in enumerate(same):
            yield _row(one, statuses[one.id], first + (0 if mixed else number), at[one.id])
        first += len(same)


def _row(one: Receipt, status: Status | None, rank: int, at: float) -> Accepted:
    outcome = None if status is None or status.outcome is None else status.outcome.model_dump()
    return Accepted(one.id, one.intent["kind"], one.intent["email"], one.intent, rank, at, outcome)


def _accepted_at(receipt: Receipt, status: Status | None) -> float:
    return receipt.noted_at if status is None else status.accepted_at.timestamp()
