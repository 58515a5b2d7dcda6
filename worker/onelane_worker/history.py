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
from onelane_worker.planner.operations import Problem
from onelane_worker.ending import Observer, Row, leaves_no_trace
from onelane_worker.lanes.model import PostponedState
from onelane_worker.lanes.scripts import Scripts, as_text

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
        self.fence = 0
        """That of the turn, once it has something to tell."""

    def ended(self, row: Row, outcome: Outcome) -> None:
        self.fence = row.fence
        if outcome.result == "erased":
            self.events.clear()  # they tell of a person of whom nothing is kept
        if leaves_no_trace(row.bulk, outcome):
            return
        self.events.append(_event("ended", row, **_of_outcome(outcome)))

    def buried(self, row: Row, outcome: Outcome, problem: Problem) -> None:
        self.fence = row.fence
        self.events.append(_event("buried", row, **_of_outcome(outcome)))

    def put_back(self, row: Row, problem: Problem, state: PostponedState, delay_s: float) -> None:
        self.fence = row.fence
        why = {"class": problem.kind, "http_status": problem.http_status, "code": problem.code}
        again_ms = row.at_ms + round(delay_s * 1000)
        self.events.append(
            _event("put_back", row, state=state, error=_without_blanks(why), again_ms=again_ms)
        )


class History:
    """Writes and reads the lists."""

    def __init__(self, redis: Redis, ttl_ms: int) -> None:
        self._scripts = Scripts(redis)
        self._ttl_ms = ttl_ms

    @contextmanager
    def of(self, lane: str) -> Iterator[Story]:
        """An observer for one turn; what it has heard is written at the end, however that comes."""
        story = Story()
        try:
            yield story
        finally:
            self.add(lane, story.events, story.fence)

    def add(self, lane: str, events: Sequence[Event], fence: int = 0) -> None:
        """Write events down, if that is possible; not those of a turn before the person was erased.

        `fence` is that of the turn, 0 for an operator's act.
        """
        if not events:
            return
        keys = [keyspace.lane(lane), keyspace.history(lane)]
        told = [json.dumps(event, separators=(",", ":")) for event in events]
        try:
            self._scripts.run("tell", keys, [fence, MOST_EVENTS, self._ttl_ms, *told])
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
