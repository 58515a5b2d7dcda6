"""Which lanes stand still, and why: a workspace at a glance. Nothing here changes anything.

Every lane with waiting intents is in a ready set or in `due` (the state law), so these sets are all there is
to look at. Their lengths are exact; of a long one, only both ends are looked at lane by lane.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from onelane.keys import READY_CLASSES
from onelane.workspace import Command
from onelane_worker.operate.lane_view import (
    LANE_FIELDS,
    MARKER,
    Standing,
    Why,
    standing,
    with_blockers,
)
from onelane_worker.operate.open_workspace import OpenWorkspace, chunks, fields, ms_of, scored, texts

PER_END: Final = 1_000
"""Lanes that are looked at from each end of a set."""
_HEAD_FIELDS: Final = ("at", "again", "state", "attempts", "error", "payload")


@dataclass(frozen=True, slots=True)
class StandingLane:
    """One lane with waiting intents."""

    lane: str
    standing: Standing
    waiting: int
    head: str
    """Id of the intent that must end first."""
    since_ms: int
    """When the head was accepted, or came back."""
    attempts: int
    reconciling: bool
    """A create of unknown result is still to be cleared up."""
    error: str | None
    """JSON: why the head's last attempt failed."""
    payload: str | None
    """The head; it names a person."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found."""

    now_ms: int
    lanes: tuple[StandingLane, ...]
    """Those with waiting intents that were looked at."""
    pending: int
    """Intents accepted and not ended, all together."""
    ready: int
    """Lanes in the ready sets."""
    due: int
    """Lanes in `due`: leased, blocked, put back, or owing a settle check."""
    whole: bool
    """False if a set was too long for all its lanes to be looked at."""
    wakes: int
    """Wake-up messages under way."""
    backstops: int
    """How often a blocked lane was made ready by the timer, and not by the event that it waits for."""

    @property
    def by_why(self) -> Mapping[Why, int]:
        """How many of those that were looked at stand where."""
        return Counter(one.standing.why for one in self.lanes)

    @property
    def oldest_ms(self) -> int | None:
        """Since when the oldest head among them waits."""
        return min((one.since_ms for one in self.lanes), default=None)


@dataclass(frozen=True, slots=True)
class _Sets:
    """What the sets say of the lanes that are looked at."""

    now_ms: int
    due: Mapping[str, int]
    ready: frozenset[str]
    stopped: bool


async def survey(opened: OpenWorkspace, per_end: int = PER_END, *, stopped: bool) -> Survey:
    """Look at the lanes. Some round trips; lanes may move in between. Raises redis-py's errors.

    `stopped`: nothing is granted just now.
    """
    key = opened.keys.key
    names = [key("due"), *(key("ready", one) for one in READY_CLASSES)]
    moment, counters, *rest = await opened.read(
        ("TIME",),
        ("HGETALL", key("counters")),
        *(command for name in names for command in _ends(name, per_end)),
    )
    counted, lengths = fields(counters), [int(length) for length in rest[::3]]
    due, *ready = [
        dict([*scored(first), *scored(last)]) for first, last in zip(rest[1::3], rest[2::3], strict=True)
    ]
    sets = _Sets(ms_of(moment), due, frozenset(lane for found in ready for lane in found), stopped)
    lanes = list(dict.fromkeys([*due, *sets.ready]))
    return Survey(
        now_ms=sets.now_ms,
        lanes=tuple([one for chunk in chunks(lanes) for one in await _look(opened, chunk, sets)]),
        pending=int(counted.get("pending", 0)),
        ready=sum(lengths[1:]),
        due=lengths[0],
        whole=all(length <= 2 * per_end for length in lengths),
        wakes=int(counted.get("tokens", 0)),
        backstops=int(counted.get("backstops", 0)),
    )


def _ends(name: str, per_end: int) -> list[Command]:
    return [
        ("ZCARD", name),
        ("ZRANGE", name, 0, per_end - 1, "WITHSCORES"),
        ("ZREVRANGE", name, 0, per_end - 1, "WITHSCORES"),
    ]


async def _look(opened: OpenWorkspace, lanes: Sequence[str], sets: _Sets) -> list[StandingLane]:
    key = opened.keys.key
    read = await opened.read(*(command for lane in lanes for command in _of_lane(key, lane)))
    heads = texts(read[2::3])
    records = await opened.read(
        *(("HMGET", key("intent", (head or "").removeprefix(MARKER)), *_HEAD_FIELDS) for head in heads)
    )
    found, waits = [], []
    for lane, stored, waiting, head, record in zip(lanes, read[::3], read[1::3], heads, records, strict=True):
        if head is None or record[0] is None:  # it owes a settle check, or has fallen asleep in between
            continue
        its_fields = dict(zip(LANE_FIELDS, texts(stored), strict=True))
        one = _standing_lane(lane, its_fields, int(waiting), head, texts(record), sets)
        found.append(one)
        waits.append((one.standing, its_fields["waits"]))
    standings = await with_blockers(opened, waits)
    return [replace(one, standing=stands) for one, stands in zip(found, standings, strict=True)]


def _of_lane(key: Callable[..., str], lane: str) -> tuple[Command, ...]:
    return (
        ("HMGET", key("lane", lane), *LANE_FIELDS),
        ("LLEN", key("queue", lane)),
        ("LINDEX", key("queue", lane), 0),
    )


def _standing_lane(
    lane: str,
    its_fields: Mapping[str, str | None],
    waiting: int,
    head: str,
    record: Sequence[str | None],
    sets: _Sets,
) -> StandingLane:
    at, again, state, attempts, error, payload = record
    stands = standing(
        its_fields,
        waiting=waiting,
        state=state or "waiting",
        ready=lane in sets.ready,
        due_ms=sets.due.get(lane),
        now_ms=sets.now_ms,
        stopped=sets.stopped,
    )
    return StandingLane(
        lane=lane,
        standing=stands,
        waiting=waiting,
        head=head.removeprefix(MARKER),
        since_ms=int(again or at or 0),
        attempts=int(attempts or 0),
        reconciling=its_fields["journal"] is not None,
        error=error,
        payload=payload,
    )
