"""The breaker: when Intercom, or our access to it, is down for everybody, the line stops.

One record in Redis, shared by all workers. It opens at once when the token is refused, and after several
failures in a row on several lanes. While it is open nobody calls, except one trial turn at a time. Lanes
that meet it open are put back without an attempt counted, so an outage burns nothing, leaves few creates of
unknown result, and ends with every lane served in its order. `onelane pause` sets the same record by hand.

The record names the sort of call that failed, because a token, or a firewall, may let reads through and no
writes: a read that succeeds says nothing then. Only a success of that sort closes it (of reads: any success).
A trial turn that needed no such call has told nothing and gives the trial back: lanes without a write to make
are served one after the other meanwhile.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

import structlog
from redis import Redis

from onelane import keyspace
from onelane.identity import digest
from onelane_worker.planner import operations as op
from onelane_worker.lanes.scripts import Scripts, as_text

log = structlog.get_logger(__name__)

Word = Literal["closed", "streak", "trial", "open", "paused"]
Sort = Literal["reads", "writes", "subscriptions"]
"""Calls that one permission is needed for: reads, writes to contacts, writes to their subscriptions."""
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
    sort: Sort = "reads"
    """Which calls fail; those that succeed are no sign that these do."""

    @property
    def shut(self) -> bool:
        """Whether nobody may call now."""
        return self.word in ("open", "paused")

    @property
    def stopped(self) -> bool:
        """Whether the line is stopped; it still is while a trial is due."""
        return self.shut or self.word == "trial"

    @property
    def todo(self) -> str:
        """What a person has to do, where waiting does not help."""
        return _to_grant(self.sort) if '"forbidden"' in self.problem else ""


class Breaker:
    """The shared record. Methods raise redis-py's errors."""

    _key = keyspace.BREAKER

    def __init__(self, redis: Redis, *, calls: int, lanes: int, pause_ms: int) -> None:
        self._redis = redis
        self._scripts = Scripts(redis)
        self._calls = calls
        self._lanes = lanes
        self._pause_ms = pause_ms

    def ask(self) -> Gate:
        """May this turn call Intercom? Taking the trial is part of the question; `untold` gives it back."""
        word, next_ms, problem = self._scripts.run("breaker_ask", [self._key], [self._pause_ms])
        return Gate(cast(Word, word), int(next_ms), problem)

    def look(self) -> Gate:
        """How it stands, without taking a trial: `trial` means that one is due."""
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.hmget(self._key, "state", "next", "problem", "since", "sort")
            pipe.time()
            (state, next_ms, problem, since, sort), (seconds, micros) = pipe.execute()
        if not state:
            return Gate()
        if as_text(state) == "paused":
            return Gate("paused", 0, as_text(problem))
        now_ms = int(seconds) * 1000 + int(micros) // 1000
        word: Word = "open" if now_ms < int(next_ms or 0) else "trial"
        named = cast(Sort, as_text(sort) or "reads")
        return Gate(word, int(next_ms or 0), as_text(problem), int(since or 0), named)

    def pause(self, reason: str) -> None:
        """A person stops the line; `reason` is shown to others."""
        self._redis.hset(self._key, mapping={"state": "paused", "problem": reason})
        self._redis.persist(self._key)

    def resume(self) -> bool:
        """A person starts the line, whatever had stopped it. False if it was not stopped."""
        return bool(self._redis.delete(self._key))

    def tell(
        self, lane: str, operation: op.Operation, reply: op.Reply, problem_json: str, gate: Gate
    ) -> Gate:
        """What a reply says of everybody's calls. Returns how the line stands now for this turn.

        `gate`: how it stood. A success of another sort than fails leaves it so.
        """
        word = _word(operation, reply)
        said, changed = self._tell(word, lane, sort_of(operation), problem_json)
        now = Gate(said, problem=problem_json, sort=sort_of(operation))
        if changed:
            _log_change(now)
        return gate if word == "ok" and said != "closed" else now

    def untold(self) -> None:
        """The trial found nothing out: it may be made again at once."""
        self._tell("untold", "", "reads", "")

    def _tell(self, word: str, lane: str, sort: Sort, problem_json: str) -> tuple[Word, bool]:
        args: list[str | int] = [word, lane, self._calls, self._lanes, self._pause_ms, STREAK_LIFE_MS]
        said, changed = self._scripts.run("breaker_tell", [self._key], [*args, problem_json, sort])
        return cast(Word, said), changed == "1"


class BulkBreaker(Breaker):
    """The same for bulk intents alone: when most of them are rejected for one reason, it is not theirs.

    A re-sync whose attribute was renamed would fill the dead letters; instead the bulk class waits, with the
    reason, until it is mended. While it is stopped no bulk intent becomes a dead letter by Intercom's word:
    one at a time is tried, and several in a row that are written start the class again.
    """

    _key = keyspace.BULK_BREAKER

    def __init__(self, redis: Redis, *, rejections: int, pause_ms: int) -> None:
        super().__init__(redis, calls=1, lanes=1, pause_ms=pause_ms)
        self._rejections = rejections

    def rejected(self, problem: op.Problem, problem_json: str) -> bool:
        """A bulk intent was rejected. True: it is one of too many, and is not to become a dead letter."""
        return self._count("rejected", digest(f"{problem.code}\n{problem.message}"), problem_json)

    def written(self) -> bool:
        """A bulk intent was written. Returns whether the class is stopped still."""
        return self._count("written", "", "")

    def _count(self, word: str, said: str, problem_json: str) -> bool:
        args: list[str | int] = [word, said, self._rejections, self._pause_ms, STREAK_LIFE_MS, problem_json]
        stands, changed = self._scripts.run("bulk_tell", [self._key], args)
        if changed == "1" and stands == "open":
            log.warning("bulk intents are stopped: too many were rejected alike", why=problem_json)
        elif changed == "1":
            log.info("bulk intents run again")
        return stands == "open"


def says_something(operation: op.Operation, reply: op.Reply, gate: Gate) -> bool:
    """Whether the breaker must hear of this reply: a failure always, a success if there were failures."""
    word = _word(operation, reply)
    return word in ("failed", "refused") or (word == "ok" and gate.word != "closed")


def sort_of(operation: op.Operation) -> Sort:
    """By which permission, and which way through a firewall, a call goes."""
    if isinstance(operation, (op.Attach, op.Detach)):
        return "subscriptions"
    return "writes" if op.is_write(operation) else "reads"


def _to_grant(sort: Sort) -> str:
    """What a person has to do about a token that may not make calls of this sort."""
    what, permission = _PERMISSIONS[sort]
    return (
        f"The token may not {what}: grant its app {permission}, in Intercom's Developer Hub under "
        "Configure > Authentication, or set a token that may."
    )


_PERMISSIONS: dict[Sort, tuple[str, str]] = {
    "reads": ("read contacts", '"Read and list users and companies"'),
    "writes": ("write contacts, though it may read them", '"Write users and companies"'),
    "subscriptions": (
        "change subscriptions, though it may write contacts",
        'all of "Read and write users" and "Write users and companies"',
    ),
}
"""The names of permissions are Intercom's (its documentation of OAuth scopes); that of subscriptions is not
documented."""


def _log_change(gate: Gate) -> None:
    if gate.stopped:
        log.warning("the line is stopped", why=gate.problem, todo=gate.todo)
    else:
        log.info("the line runs again")


def _word(operation: op.Operation, reply: op.Reply) -> Literal["ok", "failed", "refused", "nothing"]:
    match reply:
        case op.Stopped() | op.Forbidden():
            return "refused"
        case op.Unknown(problem=problem) | op.NotSent(problem=problem):
            return "nothing" if problem.kind in NOT_INTERCOM else "failed"
        case op.Throttled():
            return "nothing"
        case _:
            return "ok"
