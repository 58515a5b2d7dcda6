"""How soon lanes move again after a kill.

At the kill every lane with waiting intents is photographed. It has moved once anything of it is different
that only a living holder changes: fence, head, lease, open write. A lane that cannot move yet is given its
time: a write that may still commit, a retry or a reconciliation that is not due. One whose turn stands in the
broker's queue was not touched by the kill: it waits for its place in the line as before, and is not judged.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from redis import Redis

from producers import keyspace

from .noise import Clock
from .scale import LEASE_S

LOOK_EVERY_S = 0.02
BOUND_S = LEASE_S + 1.0
_FIELDS = ("fence", "until", "commit")
Picture = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Waiting:
    """One lane at the kill."""

    lane: str
    picture: Picture
    free_at: float
    """When it may be served again at the earliest, apart from its lease (epoch seconds; 0: at once)."""


@dataclass(slots=True)
class Recovery:
    """How it went after one kill. Seconds."""

    event: str
    lanes: int = 0
    queued: int = 0
    """Lanes beside those, whose turn stood in the broker's queue."""
    blocked: int = 0
    """Of those: lanes with a write in flight, or not due."""
    from_kill_s: float = 0.0
    """Slowest lane that was free, counted from the kill."""
    from_ready_s: float = 0.0
    """The same, counted from the moment a worker was there (and Intercom's rate limit let it work)."""
    blocked_late_s: float = 0.0
    """Slowest of the others, counted from the moment it could go on."""
    starved_s: float = 0.0
    """How much of the worst delay some process of this machine had to wait for a processor: its noise."""
    judged_s: float = 0.0
    """Worst delay of any lane, less the noise in it."""
    stuck: list[str] = field(default_factory=list)
    """Lanes that did not move at all."""

    @property
    def within(self) -> bool:
        """The promise: one lease and one second."""
        return not self.stuck and self.judged_s <= BOUND_S


def photograph(redis: Redis, lanes: list[str]) -> list[Waiting]:
    """These lanes as they are now."""
    now = time.time()
    with redis.pipeline(transaction=False) as pipe:
        for lane in lanes:
            _ask(pipe, lane)
            pipe.zscore(keyspace.due(keyspace.partition_of(lane)), lane)
        answers = pipe.execute()
    found = []
    for lane, head, held, due in zip(lanes, answers[::3], answers[1::3], answers[2::3], strict=True):
        if head is None:  # it emptied meanwhile
            continue
        picture = (head, *held)
        until, commit = (float(picture[place] or 0) / 1000 for place in (2, 3))
        waits_until = (due or 0) / 1000
        leased = until > 0 and waits_until <= until + 0.001
        free_at = max(commit if commit > now else 0.0, 0.0 if leased or waits_until <= now else waits_until)
        found.append(Waiting(lane, picture, free_at))
    return found


def _ask(pipe: Redis, lane: str) -> None:
    pipe.lindex(keyspace.queue(lane), 0)
    pipe.hmget(keyspace.lane(lane), _FIELDS)


def watch(
    redis: Redis, event: str, killed_at: float, ready: Callable[[], float | None], timeout_s: float
) -> Recovery:
    """Watch until every lane that waits now has moved. `ready` tells since when a worker is there."""
    lanes = [key.rpartition(":")[2] for key in redis.scan_iter("onelane:{*}:queue:*", count=1000)]
    line = "".join(str(redis.lrange(keyspace.broker_queue(queue), 0, -1)) for queue in keyspace.QUEUES)
    waiting = {one.lane: one for one in photograph(redis, [lane for lane in lanes if lane not in line])}
    recovery = Recovery(event, len(waiting), len(lanes) - len(waiting))
    recovery.blocked = sum(1 for one in waiting.values() if one.free_at)
    clock = Clock()
    until, ready_at, throttled_until = time.time() + timeout_s, ready(), 0.0
    while waiting and time.time() < until:
        time.sleep(LOOK_EVERY_S)
        looked_at = clock.look()
        ready_at = ready_at or ready()
        throttled_until = max(throttled_until, _throttled_until(redis))
        open_at = max(ready_at or looked_at, throttled_until)
        for lane in _moved(redis, waiting):
            _note(recovery, waiting.pop(lane), clock, killed_at, min(open_at, looked_at))
    recovery.stuck = sorted(waiting)
    return recovery


def _throttled_until(redis: Redis) -> float:
    return float(redis.get(keyspace.THROTTLE) or 0) / 1000


def _moved(redis: Redis, waiting: dict[str, Waiting]) -> list[str]:
    with redis.pipeline(transaction=False) as pipe:
        for lane in waiting:
            _ask(pipe, lane)
        answers = pipe.execute()
    pictures = [(head, *held) for head, held in zip(answers[::2], answers[1::2], strict=True)]
    return [one.lane for one, now in zip(waiting.values(), pictures, strict=True) if now != one.picture]


def _note(recovery: Recovery, lane: Waiting, clock: Clock, killed_at: float, open_at: float) -> None:
    """The lane has moved, by now; `open_at`: since when lanes that are free could move."""
    since = max(lane.free_at, open_at, killed_at)
    late_s = max(0.0, clock.now - since)
    starved_s = min(late_s, clock.starved_since(since))
    if late_s - starved_s >= recovery.judged_s:
        recovery.judged_s, recovery.starved_s = late_s - starved_s, starved_s
    if lane.free_at:
        recovery.blocked_late_s = max(recovery.blocked_late_s, late_s)
        return
    recovery.from_kill_s = max(recovery.from_kill_s, clock.now - killed_at)
    recovery.from_ready_s = max(recovery.from_ready_s, late_s)
