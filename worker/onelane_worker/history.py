"""What happened to a person lately, for people: a short list of events per lane.

Told by the turn to an observer, and written when the turn is over: one round trip, never while a lane is
held, and a list that cannot be written costs nothing but itself. An event names kinds, results, calls and
how long they took; never a field's value, never an address, and not Intercom's own words, which may quote
either.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import structlog
from redis import Redis

from onelane import keyspace
from onelane.receipts import Outcome
from onelane_worker.core.operations import Problem
from onelane_worker.ending import Observer, Row
from onelane_worker.lanes.model import PostponedState
from onelane_worker.lanes.scripts import as_text

log = structlog.get_logger(__name__)
MOST_EVENTS = 200
"""Of one lane; older ones are forgotten."""

Event = dict[str, Any]
_OF_OUTCOME = ("result", "reason", "contact_id", "adopted", "revived", "ambiguous", "superseded_by", "merged")


class Observers:
    """Tells several observers."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def ended(self, row: Row, outcome: Outcome) -> None:
        for one in self._observers:
            one.ended(row, outcome)

    def buried(self, row: Row, outcome: Outcome, problem: Problem) -> None:
        for one in self._observers:
            one.buried(row, outcome, problem)

    def put_back(self, row: Row, problem: Problem, state: PostponedState, delay_s: float) -> None:
        for one in self._observers:
            one.put_back(row, problem, state, delay_s)


class Story:
    """An observer that keeps one turn's events."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def ended(self, row: Row, outcome: Outcome) -> None:
        self.events.append(_event("ended", row, **_of_outcome(outcome)))

    def buried(self, row: Row, outcome: Outcome, problem: Problem) -> None:
        self.events.append(_event("buried", row, **_of_outcome(outcome)))

    def put_back(self, row: Row, problem: Problem, state: PostponedState, delay_s: float) -> None:
        why = {"class": problem.kind, "http_status": problem.http_status, "code": problem.code}
        again_ms = row.at_ms + round(delay_s * 1000)
        self.events.append(
            _event("put_back", row, state=state, error=_without_blanks(why), again_ms=again_ms)
        )


class History:
    """Writes and reads the lists."""

    def __init__(self, redis: Redis, ttl_ms: int) -> None:
        self._redis = redis
        self._ttl_ms = ttl_ms

    @contextmanager
    def of(self, lane: str) -> Iterator[Story]:
        """An observer for one turn; what it has heard is written at the end, however that comes."""
        story = Story()
        try:
            yield story
        finally:
            self.add(lane, story.events)

    def add(self, lane: str, events: Sequence[Event]) -> None:
        """Write events down, if that is possible."""
        if not events:
            return
        key = keyspace.history(lane)
        try:
            with self._redis.pipeline(transaction=False) as pipe:
                pipe.rpush(key, *(json.dumps(event, separators=(",", ":")) for event in events))
                pipe.ltrim(key, -MOST_EVENTS, -1)
                pipe.pexpire(key, self._ttl_ms)
                pipe.execute()
        except Exception as error:  # people know a little less; no intent must suffer from it
            log.warning("history not written", lane=lane, error=type(error).__name__)


def read(redis: Redis, lane: str) -> list[Event]:
    """The events of a lane, oldest first."""
    found: Any = redis.lrange(keyspace.history(lane), 0, -1)
    return [json.loads(as_text(event)) for event in found]


def by_hand(what: str, intent_id: str, kind: str, at_ms: int, **more: Any) -> Event:
    """The event of an operator's act."""
    return _without_blanks({"at_ms": at_ms, "what": what, "id": intent_id, "kind": kind, **more})


def _event(what: str, row: Row, **more: Any) -> Event:
    return _without_blanks(
        {
            "at_ms": row.at_ms,
            "what": what,
            "id": row.id,
            "kind": row.kind,
            "accepted_ms": row.accepted_ms,
            "attempt": row.attempts,
            "calls": [[call.name, call.said, call.ms] for call in row.calls],
            **more,
        }
    )


def _of_outcome(outcome: Outcome) -> Event:
    told = {name: getattr(outcome, name) for name in _OF_OUTCOME}
    return {**told, "folded_with": len(outcome.applied_with)}


def _without_blanks(event: Event) -> Event:
    return {name: value for name, value in event.items() if value not in (None, False, 0, "", [], (), {})}
