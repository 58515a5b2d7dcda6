"""Which lanes stand still, and why: all partitions looked at for a person. Nothing here changes anything.

Every lane with waiting intents stands in `due` or in `sent` (the state law), so these sets are all there
is to scan. The scan is bounded: of a longer set, those that come first in it are looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from onelane.keyspace import PARTITIONS, QUEUES
from redis import Redis

from onelane import keyspace
from onelane_worker.lanes.scripts import as_text

Why = Literal["working", "cut_off", "held", "retrying", "reconciling", "parked", "sent", "stranded", "moving"]
"""working: a lease lives · cut_off: its holder never released · held: a write may still take effect ·
retrying, reconciling, parked: put back until a time to come · sent: its turn waits for a free worker ·
stranded: its time has come long since, and nobody came · moving: none of these, only just due"""

STRANDED_AFTER_MS = 30_000
"""The timers of living workers hand out a due lane within a second or two."""
PER_SET = 1_000
_CHUNK = 500
_LANE_FIELDS = ("token", "until", "commit", "journal")
_HEAD_FIELDS = ("at", "again", "state", "attempts", "error", "payload")


@dataclass(frozen=True, slots=True)
class Standing:
    """One lane with waiting intents."""

    lane: str
    waiting: int
    head: str
    since_ms: int
    """When the head was accepted."""
    attempts: int
    why: Why
    until_ms: int | None
    """When it is looked at again, or was to be."""
    reconciling: bool
    """A create of unknown result is still to be cleared up."""
    error: str | None
    """JSON: why the head's last attempt failed."""
    payload: str | None
    """The head; it names a person."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What the scan has found."""

    now_ms: int
    lanes: tuple[Standing, ...]
    pending: int
    """Intents accepted and not ended, all together."""
    fullest: int
    """The same, of the partition that holds most."""
    whole: bool
    """False if a set was too long to be looked at to its end."""


def survey(redis: Redis, per_set: int = PER_SET, *, stopped: bool = False) -> Survey:
    """Look at the lanes of all partitions. Some round trips; lanes may move in between.

    `stopped`: the line is, so nobody hands lanes out: one whose time has come is parked, and not stranded.
    """
    pipe = redis.pipeline(transaction=False)
    pipe.time()
    for partition in PARTITIONS:
        pipe.hget(keyspace.counters(partition), "pending")
        for key in _sets(partition):
            pipe.zrange(key, 0, per_set, withscores=True)  # one more than is looked at
    (seconds, micros), *rest = pipe.execute()
    now_ms = int(seconds) * 1000 + int(micros) // 1000
    width = 2 + len(QUEUES)
    pending = [int(count or 0) for count in rest[::width]]
    sets = [found for at, found in enumerate(rest) if at % width]
    due, sent = _due(sets, per_set), _sent(sets, per_set)
    lanes = [*due, *(lane for lane in sent if lane not in due)]
    standing = [one for chunk in _chunks(lanes) for one in _look(redis, chunk, due, sent, now_ms, stopped)]
    whole = all(len(found) <= per_set for found in sets)
    return Survey(now_ms, tuple(standing), sum(pending), max(pending), whole)


def _sets(partition: str) -> list[str]:
    return [keyspace.due(partition), *(keyspace.sent(partition, queue) for queue in QUEUES)]


def _due(sets: Sequence[Any], most: int) -> dict[str, int]:
    found = [pair for scored in sets[:: 1 + len(QUEUES)] for pair in scored[:most]]
    return {as_text(lane): int(at) for lane, at in found}


def _sent(sets: Sequence[Any], most: int) -> set[str]:
    width = 1 + len(QUEUES)
    return {as_text(lane) for i, found in enumerate(sets) if i % width for lane, _ in found[:most]}


def _chunks(lanes: Sequence[str]) -> Iterator[Sequence[str]]:
    return (lanes[start : start + _CHUNK] for start in range(0, len(lanes), _CHUNK))


def _look(
    redis: Redis, lanes: Sequence[str], due: Mapping[str, int], sent: set[str], now_ms: int, stopped: bool
) -> Iterator[Standing]:
    pipe = redis.pipeline(transaction=False)
    for lane in lanes:
        pipe.hmget(keyspace.lane(lane), *_LANE_FIELDS)
        pipe.llen(keyspace.queue(lane))
        pipe.lindex(keyspace.queue(lane), 0)
    found = pipe.execute()
    heads = [as_text(head) for head in found[2::3]]
    for head in heads:
        pipe.hmget(keyspace.intent(head or "0"), *_HEAD_FIELDS)
    records = pipe.execute()
    for lane, fields, waiting, head, record in zip(
        lanes, found[::3], found[1::3], heads, records, strict=True
    ):
        if head and record[0] is not None:  # else it has fallen asleep in between
            one = _standing(lane, _texts(fields), int(waiting), head, _texts(record), due, sent, now_ms)
            yield replace(one, why="parked") if stopped and one.why in ("stranded", "moving") else one


def _texts(values: Sequence[Any]) -> list[str | None]:
    return [None if value is None else as_text(value) for value in values]


def _standing(
    lane: str,
    fields: Sequence[str | None],
    waiting: int,
    head: str,
    record: Sequence[str | None],
    due: Mapping[str, int],
    sent: set[str],
    now_ms: int,
) -> Standing:
    at, again, state, attempts, error, payload = record
    why, until_ms = _why(fields, state or "waiting", due.get(lane), lane in sent, now_ms)
    return Standing(
        lane=lane,
        waiting=waiting,
        head=head,
        since_ms=int(again or at or 0),
        attempts=int(attempts or 0),
        why=why,
        until_ms=until_ms,
        reconciling=fields[3] is not None,
        error=error,
        payload=payload,
    )


def _why(
    fields: Sequence[str | None], state: str, due_ms: int | None, sent: bool, now_ms: int
) -> tuple[Why, int | None]:
    token, until, commit, _ = fields
    if token is not None and int(until or 0) > now_ms:
        return "working", int(until or 0)
    late = due_ms is not None and due_ms < now_ms - STRANDED_AFTER_MS
    if late and not sent:
        return "stranded", due_ms
    if commit is not None and int(commit) > now_ms:
        return "held", int(commit)
    if token is not None:
        return "cut_off", due_ms
    if due_ms is not None and due_ms > now_ms and state in ("retrying", "reconciling", "parked"):
        return cast(Why, state), due_ms
    return ("sent", None) if sent else ("moving", due_ms)
