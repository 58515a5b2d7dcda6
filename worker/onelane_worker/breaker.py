"""The breaker: when Intercom, or our access to it, is down for everybody, the line stops.

One record in Redis, shared by all workers. It opens at once when the token is refused, and after several
failures in a row on several lanes. While it is open nobody calls, except one trial turn at a time; the first
success closes it. Lanes that meet it open are put back without an attempt counted, so an outage burns
nothing, leaves few creates of unknown result, and ends with every lane served in its order. `onelane pause`
sets the same record by hand.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

from redis import Redis

from onelane import keyspace
from onelane_worker.core import operations as op
from onelane_worker.lanes.scripts import Scripts, as_text

Word = Literal["closed", "streak", "trial", "open", "paused"]
STREAK_LIFE_MS = 60_000
NOT_INTERCOM = frozenset({"late", "closed", "unsendable", "other_workspace"})
"""Kinds of problems that are our own doing."""


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether a turn may call."""

    word: Word = "closed"
    next_ms: int = 0
    """When the next trial may be made, Redis clock."""
    problem: str = ""
    """What opened it, as JSON."""
    since_ms: int = 0
    """When it opened, Redis clock; 0: not told."""

    @property
    def shut(self) -> bool:
        """Whether nobody may call now."""
        return self.word in ("open", "paused")

    @property
    def stopped(self) -> bool:
        """Whether the line is stopped; it still is while a trial is due."""
        return self.shut or self.word == "trial"


class Breaker:
    """The shared record. Methods raise redis-py's errors."""

    def __init__(self, redis: Redis, *, calls: int, lanes: int, pause_ms: int) -> None:
        self._redis = redis
        self._scripts = Scripts(redis)
        self._calls = calls
        self._lanes = lanes
        self._pause_ms = pause_ms

    def ask(self) -> Gate:
        """May this turn call Intercom? Taking the trial is part of the question."""
        word, next_ms, problem = self._scripts.run("breaker_ask", [keyspace.BREAKER], [self._pause_ms])
        return Gate(cast(Word, word), int(next_ms), problem)

    def look(self) -> Gate:
        """How it stands, without taking a trial: `trial` means that one is due."""
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.hmget(keyspace.BREAKER, "state", "next", "problem", "since")
            pipe.time()
            (state, next_ms, problem, since), (seconds, micros) = pipe.execute()
        if not state:
            return Gate()
        if as_text(state) == "paused":
            return Gate("paused", 0, as_text(problem))
        now_ms = int(seconds) * 1000 + int(micros) // 1000
        word: Word = "open" if now_ms < int(next_ms or 0) else "trial"
        return Gate(word, int(next_ms or 0), as_text(problem), int(since or 0))

    def pause(self, reason: str) -> None:
        """A person stops the line; `reason` is shown to others."""
        self._redis.hset(keyspace.BREAKER, mapping={"state": "paused", "problem": reason})
        self._redis.persist(keyspace.BREAKER)

    def resume(self) -> bool:
        """A person starts the line, whatever had stopped it. False if it was not stopped."""
        return bool(self._redis.delete(keyspace.BREAKER))

    def tell(self, lane: str, reply: op.Reply, problem_json: str) -> bool:
        """What a reply says of everybody's calls. Returns whether the line is stopped now."""
        args: list[str | int] = [_word(reply), lane, self._calls, self._lanes, self._pause_ms]
        said = self._scripts.run("breaker_tell", [keyspace.BREAKER], [*args, STREAK_LIFE_MS, problem_json])
        return said[0] != "closed"


def says_something(reply: op.Reply, gate: Gate) -> bool:
    """Whether the breaker must hear of this reply: a failure always, a success if there were failures."""
    word = _word(reply)
    return word in ("failed", "refused") or (word == "ok" and gate.word != "closed")


def _word(reply: op.Reply) -> Literal["ok", "failed", "refused", "nothing"]:
    match reply:
        case op.Stopped():
            return "refused"
        case op.Unknown(problem=problem) | op.NotSent(problem=problem):
            return "nothing" if problem.kind in NOT_INTERCOM else "failed"
        case op.Throttled() | op.Forbidden():
            return "nothing"
        case _:
            return "ok"
