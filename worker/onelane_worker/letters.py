"""Dead letters in an operator's hands: which ones, what becomes of them, and what a replay leaves out.

A replayed letter keeps its id: its receipt is valid again, `status` tells of its new life, and `wait`
waits for its new end. What it left out is decided by the worker whose turn it is (R98); `would_leave_out`
is a forecast.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal
from uuid import uuid4

from onelane.keyspace import PARTITIONS
from onelane.receipts import Outcome
from onelane.turns import Turn
from pydantic import ValidationError
from redis import Redis

from onelane import keyspace
from onelane.errors import InvalidIntent
from onelane.intents import Intent, NewsletterOptIn, NewsletterOptOut, parse_intent
from onelane_worker import history
from onelane_worker.lanes import views
from onelane_worker.lanes.model import DeadLetter
from onelane_worker.lanes.scripts import as_text
from onelane_worker.lanes.store import LaneStore
from onelane_worker.planner import replay
from onelane_worker.planner.registry import ALL_MAIL, ConsentMemory

Result = Literal[
    "replayed", "discarded", "gone", "lane_full", "queue_full", "erasing", "forgotten", "unreadable"
]
"""gone: it is no dead letter any more · forgotten: what was written since is not known
erasing: an erasure waits in its lane, and the letter will end with that
unreadable: no worker could read it"""
PAGE = 100
"""Letters that are read in one round trip; one may have 64 KiB."""


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
class Deed:
    """What became of one dead letter."""

    id: str
    result: Result
    turn: Turn | None = field(default=None, repr=False)


def newest(redis: Redis, wanted: Selection) -> Iterator[DeadLetter]:
    """The dead letters that are meant, newest first; read page by page, as far as they are asked for."""
    if wanted.ids:
        yield from sorted(each(redis, wanted), key=lambda letter: letter.buried_at_ms, reverse=True)
        return
    ids = _newest_ids(redis, wanted.buried_after_ms)
    while page := list(islice(ids, PAGE)):
        yield from (letter for letter in views.dead_letters_of(redis, page) if wanted.has(letter))


def each(redis: Redis, wanted: Selection) -> Iterator[DeadLetter]:
    """The dead letters that are meant, in no order, each once; page by page."""
    ids = iter(dict.fromkeys(wanted.ids or _scanned(redis)))
    while page := list(islice(ids, PAGE)):
        yield from (letter for letter in views.dead_letters_of(redis, page) if wanted.has(letter))


def count(redis: Redis) -> int:
    """How many there are."""
    pipe = redis.pipeline(transaction=False)
    for partition in PARTITIONS:
        pipe.zcard(keyspace.dead(partition))
    return sum(pipe.execute())


def _newest_ids(redis: Redis, after_ms: int | None) -> Iterator[str]:
    of_partitions = (_newest_of(redis, keyspace.dead(partition), after_ms) for partition in PARTITIONS)
    return (id_ for _, id_ in heapq.merge(*of_partitions, reverse=True))


def _newest_of(redis: Redis, key: str, after_ms: int | None) -> Iterator[tuple[float, str]]:
    """(ms of burial, id), newest first."""
    least, start = "-inf" if after_ms is None else after_ms, 0
    while True:
        page: Any = redis.zrevrangebyscore(key, "+inf", least, start=start, num=PAGE, withscores=True)
        yield from ((at_ms, as_text(id_)) for id_, at_ms in page)
        if len(page) < PAGE:
            return
        start += PAGE


def _scanned(redis: Redis) -> Iterator[str]:
    """All ids. Unlike pages by rank, a scan misses none when others end meanwhile; it may repeat some."""
    for partition in PARTITIONS:
        for id_, _ in redis.zscan_iter(keyspace.dead(partition), count=PAGE):
            yield as_text(id_)


def _words_of(letter: DeadLetter) -> set[str]:
    try:
        error: Any = json.loads(letter.error or "{}")
    except ValueError:
        return set()
    return {str(error[name]) for name in ("class", "code", "http_status") if name in error}


def would_leave_out(redis: Redis, letters: Sequence[DeadLetter]) -> Iterator[frozenset[str] | None]:
    """For each letter, the fields it names that later intents have written so far, and `consent` if the
    person has spoken since; None if that is not known."""
    for start in range(0, len(letters), PAGE):
        chunk = letters[start : start + PAGE]
        pipe = redis.pipeline(transaction=False)
        for letter in chunk:
            pipe.get(keyspace.memory(letter.lane))
        for letter, stored in zip(chunk, pipe.execute(), strict=True):
            memory = _memory(as_text(stored))
            known = memory is not None and replay.is_remembered(memory, letter.id)
            yield _overtaken(memory, letter) if memory is not None and known else None


def _overtaken(memory: ConsentMemory, letter: DeadLetter) -> frozenset[str]:
    intent = _readable(letter)
    if intent is None:
        return frozenset()
    gone = replay.left_out(memory, letter.id) & _named(json.loads(letter.payload))
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


def _memory(text: str) -> ConsentMemory | None:
    try:
        return ConsentMemory.model_validate_json(text) if text else None
    except ValidationError:
        return None


class Hands:
    """Replays and discards. Methods raise redis-py's errors; a letter is then untouched, or done with."""

    def __init__(
        self, redis: Redis, store: LaneStore, told: history.History, lane_max: int, partition_max: int
    ) -> None:
        self._redis = redis
        self._store = store
        self._history = told
        self._lane_max = lane_max
        self._partition_max = partition_max

    def replay(self, letter: DeadLetter, *, whole: bool, reason: str = "") -> Deed:
        """To the tail of its lane, whole or without what was written since. The turn is to be published.

        The timeline of the lane goes on telling the reason.
        """
        if not is_readable(letter):
            return Deed(letter.id, "unreadable")
        if not whole and next(would_leave_out(self._redis, [letter])) is None:
            return Deed(letter.id, "forgotten")
        answer = self._store.replay(
            letter.lane,
            letter.id,
            uuid4().hex,
            whole=whole,
            lane_max=self._lane_max,
            partition_max=self._partition_max,
        )
        if answer.status != "accepted":
            return Deed(letter.id, answer.status)
        self._note("replayed", letter, whole=whole, reason=reason)
        return Deed(letter.id, "replayed", answer.turn)

    def discard(self, letter: DeadLetter, reason: str) -> Deed:
        """Give it up, for a reason that its receipt goes on telling."""
        outcome = _discarded(letter, reason).model_dump_json(exclude_defaults=True)
        if not self._store.discard(letter.lane, letter.id, uuid4().hex, outcome):
            return Deed(letter.id, "gone")
        self._note("discarded", letter, reason=reason)
        return Deed(letter.id, "discarded")

    def _note(self, what: str, letter: DeadLetter, **more: Any) -> None:
        seconds, micros = self._redis.time()
        at_ms = seconds * 1000 + micros // 1000
        self._history.add(letter.lane, [history.by_hand(what, letter.id, letter.kind, at_ms, **more)])


def is_readable(letter: DeadLetter) -> bool:
    """Whether a worker could read it at all."""
    return _readable(letter) is not None


def _readable(letter: DeadLetter) -> Intent | None:
    try:
        return parse_intent(json.loads(letter.payload))
    except (ValueError, InvalidIntent):
        return None


def _discarded(letter: DeadLetter, reason: str) -> Outcome:
    try:
        outcome = Outcome.model_validate_json(letter.outcome or "")
    except ValidationError:
        outcome = Outcome(result="rejected")
    words = f"{outcome.message}; " if outcome.message else ""
    return outcome.model_copy(update={"message": f"{words}discarded by hand: {reason}"})
