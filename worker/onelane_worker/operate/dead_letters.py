"""Dead letters in an operator's hands: which ones, what becomes of them, and what a replay leaves out.

A replayed letter keeps its id: its receipt is valid again, `status` tells of its new life, and `wait` waits
for its new end. What it left out is decided by the engine that serves it (R98); `would_leave_out` is a
forecast.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import ValidationError

from onelane.errors import InvalidIntent
from onelane.intents import Intent, NewsletterOptIn, NewsletterOptOut, parse_intent
from onelane.results import Outcome
from onelane_worker.engine import timeline
from onelane_worker.engine.codec import Unreadable, memory_of
from onelane_worker.operate.open_workspace import OpenWorkspace, chunks, fields, scored, text_of
from onelane_worker.planner import replay as replay_rules
from onelane_worker.planner.registry import ALL_MAIL, ConsentMemory

Result = Literal[
    "replayed", "discarded", "gone", "lane_full", "queue_full", "erasing", "forgotten", "unreadable"
]
"""gone: it is no dead letter any more · forgotten: what was written since is not known
erasing: an erasure waits in its lane, and the letter will end with that
unreadable: no worker could read it"""
PAGE: Final = 100
"""Letters that are read in one round trip; one may have 64 KiB."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An intent that could not be applied, kept whole."""

    id: str
    lane: str
    kind: str
    buried_at_ms: int
    accepted_at_ms: int
    attempts: int
    burials: int
    """How often it has become a dead letter."""
    payload: str
    error: str | None
    outcome: str | None


@dataclass(frozen=True, slots=True)
class Selection:
    """Which dead letters are meant; what is not given does not matter."""

    ids: tuple[str, ...] = ()
    kinds: frozenset[str] = frozenset()
    errors: frozenset[str] = frozenset()
    """Reason of the rejection, or Intercom's code or status."""
    buried_before_ms: int | None = None
    buried_after_ms: int | None = None

    def has(self, letter: DeadLetter) -> bool:
        """Whether this one is meant."""
        return (
            (not self.kinds or letter.kind in self.kinds)
            and (not self.errors or bool(self.errors & _words_of(letter)))
            and (self.buried_before_ms is None or letter.buried_at_ms <= self.buried_before_ms)
            and (self.buried_after_ms is None or letter.buried_at_ms >= self.buried_after_ms)
        )


@dataclass(frozen=True, slots=True)
class Done:
    """What became of one dead letter."""

    id: str
    result: Result
    wake: bool = False
    """A wake-up is to be sent: its credit is taken already."""


# ── which ─────────────────────────────────────────────────────────────────────────────────────────────────


async def newest(opened: OpenWorkspace, wanted: Selection) -> AsyncIterator[DeadLetter]:
    """The dead letters that are meant, newest first; read page by page, as far as they are asked for."""
    if wanted.ids:
        found = [letter async for letter in each(opened, wanted)]
        for letter in sorted(found, key=lambda one: one.buried_at_ms, reverse=True):
            yield letter
        return
    key, least, start = opened.keys.key("dead"), wanted.buried_after_ms, 0
    while True:
        bounds = ("+inf", "-inf" if least is None else least)
        [page] = await opened.read(("ZREVRANGEBYSCORE", key, *bounds, "WITHSCORES", "LIMIT", start, PAGE))
        ids = [id_ for id_, _ in scored(page)]
        for letter in await letters_of(opened, ids):
            if wanted.has(letter):
                yield letter
        if len(ids) < PAGE:
            return
        start += PAGE


async def each(opened: OpenWorkspace, wanted: Selection) -> AsyncIterator[DeadLetter]:
    """The dead letters that are meant, in no order, each once; page by page."""
    if wanted.ids:
        for page in chunks(tuple(dict.fromkeys(wanted.ids)), PAGE):
            for letter in await letters_of(opened, page):
                if wanted.has(letter):
                    yield letter
        return
    seen: set[str] = set()
    async for page in _scanned(opened):
        fresh = [id_ for id_ in page if id_ not in seen]
        seen.update(fresh)
        for some in chunks(fresh, PAGE):
            for letter in await letters_of(opened, some):
                if wanted.has(letter):
                    yield letter


async def _scanned(opened: OpenWorkspace) -> AsyncIterator[list[str]]:
    """All ids. Unlike pages by rank, a scan misses none when others end meanwhile; it may repeat some."""
    cursor: Any = 0
    while True:
        [(cursor, found)] = await opened.read(("ZSCAN", opened.keys.key("dead"), cursor, "COUNT", PAGE))
        yield [id_ for id_, _ in scored(found)]
        if int(cursor) == 0:
            return


async def count(opened: OpenWorkspace) -> int:
    """How many there are."""
    [found] = await opened.read(("ZCARD", opened.keys.key("dead")))
    return int(found)


async def letters_of(opened: OpenWorkspace, ids: Sequence[str]) -> list[DeadLetter]:
    """Those of these intents that are dead letters, whole, in one round trip."""
    found = await opened.read(*(("HGETALL", opened.keys.key("intent", id_)) for id_ in ids))
    records = zip(ids, map(fields, found), strict=True)
    return [_letter(id_, record) for id_, record in records if record.get("state") == "dead"]


def _letter(intent_id: str, record: Mapping[str, str]) -> DeadLetter:
    return DeadLetter(
        id=intent_id,
        lane=record["lane"],
        kind=record["kind"],
        buried_at_ms=int(record["ended"]),
        accepted_at_ms=int(record["at"]),
        attempts=int(record.get("attempts", 0)),
        burials=int(record.get("burials", 0)),
        payload=record["payload"],
        error=record.get("error"),
        outcome=record.get("outcome"),
    )


def _words_of(letter: DeadLetter) -> set[str]:
    try:
        error: Any = json.loads(letter.error or "{}")
    except ValueError:
        return set()
    return {str(error[name]) for name in ("class", "code", "http_status") if name in error}


# ── what a replay would leave out ─────────────────────────────────────────────────────────────────────────


async def would_leave_out(
    opened: OpenWorkspace, letters: Sequence[DeadLetter]
) -> list[frozenset[str] | None]:
    """For each letter, the fields it names that later intents have written so far, and `consent` if the
    person has spoken since; None if that is not known."""
    told: list[frozenset[str] | None] = []
    for page in chunks(letters, PAGE):
        stored = await opened.read(*(("GET", opened.keys.key("consent", one.lane)) for one in page))
        for letter, text in zip(page, stored, strict=True):
            memory = _memory(text_of(text))
            known = memory is not None and replay_rules.is_remembered(memory, letter.id)
            told.append(_overtaken(memory, letter) if memory is not None and known else None)
    return told


def _overtaken(memory: ConsentMemory, letter: DeadLetter) -> frozenset[str]:
    intent = _readable(letter)
    if intent is None:
        return frozenset()
    gone = replay_rules.left_out(memory, letter.id) & _named(json.loads(letter.payload))
    return gone | {"consent"} if _has_newer_word(memory, intent, letter) else gone


def _named(payload: dict[str, Any]) -> frozenset[str]:
    """The paths of the fields that an intent names."""
    source = payload.get("set") or payload
    attributes = source.get("custom_attributes") or {}
    return frozenset(
        [*source, *(f"custom_attributes.{name}" for name in attributes), *payload.get("unset", ())]
    )


def _has_newer_word(memory: ConsentMemory, intent: Intent, letter: DeadLetter) -> bool:
    if not isinstance(intent, NewsletterOptIn | NewsletterOptOut):
        return False
    said_ms = intent.occurred_at.timestamp() * 1000 if intent.occurred_at else letter.accepted_at_ms
    channels = {ALL_MAIL, *intent.subscription_types} if intent.subscription_types else memory.consent.keys()
    return any(memory.consent[one].at_ms > said_ms for one in channels if one in memory.consent)


def _memory(text: str | None) -> ConsentMemory | None:
    try:
        return memory_of(text) if text else None
    except Unreadable:
        return None


# ── doing ─────────────────────────────────────────────────────────────────────────────────────────────────


async def replay(opened: OpenWorkspace, letter: DeadLetter, *, whole: bool, reason: str = "") -> Done:
    """To the tail of its lane, whole or without what was written since.

    The timeline of the lane goes on telling the reason. Raises redis-py's errors; the letter is then
    untouched, or replayed.
    """
    if not is_readable(letter):
        return Done(letter.id, "unreadable")
    if not whole and (await would_leave_out(opened, [letter]))[0] is None:
        return Done(letter.id, "forgotten")
    event = await _event(opened, "replayed", letter, whole=whole, reason=reason)
    answer = await opened.store.replay(letter.id, letter.burials, whole=whole, timeline=event)
    result: Result = "replayed" if answer.word == "accepted" else answer.word
    return Done(letter.id, result, answer.wake)


async def discard(opened: OpenWorkspace, letter: DeadLetter, reason: str) -> Done:
    """Give it up, for a reason that its receipt goes on telling. Raises redis-py's errors, as `replay`."""
    outcome = _discarded(letter, reason).model_dump_json(exclude_defaults=True)
    event = await _event(opened, "discarded", letter, reason=reason)
    done = await opened.store.discard(letter.id, letter.burials, outcome, timeline=event)
    return Done(letter.id, "discarded" if done else "gone")


async def _event(opened: OpenWorkspace, what: str, letter: DeadLetter, **more: Any) -> str:
    return timeline.by_hand(what, letter.id, letter.kind, await opened.now_ms(), **more)


def is_readable(letter: DeadLetter) -> bool:
    """Whether a worker could read it at all."""
    return _readable(letter) is not None


def _readable(letter: DeadLetter) -> Intent | None:
    try:
        return parse_intent(json.loads(letter.payload))
    except (ValueError, InvalidIntent, RecursionError):
        return None


def _discarded(letter: DeadLetter, reason: str) -> Outcome:
    try:
        outcome = Outcome.model_validate_json(letter.outcome or "")
    except ValidationError:
        outcome = Outcome(result="rejected")
    words = f"{outcome.message}; " if outcome.message else ""
    return outcome.model_copy(update={"message": f"{words}discarded by hand: {reason}"})
