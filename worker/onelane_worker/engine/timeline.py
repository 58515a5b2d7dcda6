"""What happened to a person lately, for operators: JSON lines that settle, bury and postpone store.

An event names kinds, results, calls and how long they took; never a field's value, never an address, and not
Intercom's own words, which may quote either.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Protocol

from onelane import Outcome
from onelane_worker.lanes.types import PostponedState
from onelane_worker.planner.operations import Operation, Problem, Reply

_OF_OUTCOME = ("result", "reason", "contact_id", "adopted", "revived", "ambiguous", "superseded_by", "merged")


@dataclass(frozen=True, slots=True)
class Made:
    """One call that was made: what it was and how it went, without any value."""

    name: str
    said: str
    ms: int

    @classmethod
    def of(cls, operation: Operation, reply: Reply, seconds: float) -> Made:
        problem: Problem | None = getattr(reply, "problem", None)
        detail = f" {problem.http_status or problem.kind}" if problem else ""
        return cls(
            type(operation).__name__.lower(), type(reply).__name__.lower() + detail, round(seconds * 1000)
        )


@dataclass(frozen=True, slots=True)
class Row:
    """One intent as a person sees it: what Flower shows in a row."""

    id: str
    kind: str
    lane: str
    who: str
    """The masked address."""
    attempts: int
    accepted_ms: int = 0
    at_ms: int = 0
    """When it is told."""
    bulk: bool = False
    calls: tuple[Made, ...] = ()
    """The calls of this attempt; of a fold they are told with its first."""


class Observer(Protocol):
    """Is told how each intent fares, as it happens. It never blocks."""

    def ended(self, row: Row, outcome: Outcome) -> None: ...

    def buried(self, row: Row, outcome: Outcome, problem: Problem) -> None: ...

    def put_back(self, row: Row, problem: Problem, state: PostponedState, delay_s: float) -> None: ...


def leaves_no_trace(bulk: bool, outcome: Outcome) -> bool:
    """A nightly comparison that found all in place: a million such endings must cost next to nothing."""
    return bulk and outcome.result == "unchanged"


def ended(row: Row, outcome: Outcome) -> str:
    return _event("ended", row, **_of_outcome(outcome))


def buried(row: Row, outcome: Outcome) -> str:
    return _event("buried", row, **_of_outcome(outcome))


def put_back(row: Row, problem: Problem, state: PostponedState, delay_s: float) -> str:
    why = {"class": problem.kind, "http_status": problem.http_status, "code": problem.code}
    again_ms = row.at_ms + round(delay_s * 1000)
    return _event("put_back", row, state=state, error=_without_blanks(why), again_ms=again_ms)


def by_hand(what: str, intent_id: str, kind: str, at_ms: int, **more: Any) -> str:
    """An operator's act."""
    return _json({"at_ms": at_ms, "what": what, "id": intent_id, "kind": kind, **more})


def _event(what: str, row: Row, **more: Any) -> str:
    calls = [[call.name, call.said, call.ms] for call in row.calls]
    told = {"at_ms": row.at_ms, "what": what, "id": row.id, "kind": row.kind, "accepted_ms": row.accepted_ms}
    return _json({**told, "attempt": row.attempts, "calls": calls, **more})


def _of_outcome(outcome: Outcome) -> dict[str, Any]:
    told = {name: getattr(outcome, name) for name in _OF_OUTCOME}
    return {**told, "folded_with": len(outcome.applied_with)}


def _json(event: dict[str, Any]) -> str:
    return json.dumps(_without_blanks(event), separators=(",", ":"))


def _without_blanks(event: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if value not in (None, False, 0, "", [], (), {})}
