"""How soon lanes move again after a kill.

At the kill every lane with waiting intents is photographed. It has moved once anything of it is different
that only a living holder changes: fence, head, lease, open write. A lane can move one lease after a worker
was there, and, if a write of it may still commit or its retry has its time, not before that. It must have
moved four seconds later: a timer ticks every half second, and where nobody could tick for half a lease, no
lease is ended for two seconds.

A lane that is ready was not touched by the kill: it waits for its place in the line as before. It is watched,
too, but the line's length is not the kill's doing.

What the machine owes is taken off the delay before it is judged (see `noise`), up to a cap: a late lane that
would need more is neither within nor too late, but not proven, and shown with its raw time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from redis import Redis

from onelane.keys import READY_CLASSES, Keys

from .noise import Clock, Stages
from .scale import LEASE_S

LOOK_EVERY_S = 0.05
SLACK_S = 4.0
BOUND_S = LEASE_S + SLACK_S
MOST_TAKEN_OFF_S = 1.5
"""Of one lane's delay. The kernel cannot say whether the thread that waited was on this lane's way; were all
its waits taken off, any delay would vanish on a busy machine. So it stays less than the bound itself: what
counts as within has moved 5.5 s after it could, at the latest, whatever the machine did."""
KEY = Keys().key
_FIELDS = ("fence", "until", "commit")
Picture = tuple[str | None, ...]


@dataclass(frozen=True, slots=True)
class Waiting:
    """One lane at the kill."""

    lane: str
    picture: Picture
    free_at: float
    """When it may be served again at the earliest, apart from its lease (epoch seconds; 0: at once)."""
    kept_by: str

    def __str__(self) -> str:
        return f"{self.lane} ({self.kept_by})"


@dataclass(frozen=True, slots=True)
class Scene:
    """What was done, and how to look at what comes of it."""

    redis: Redis
    event: str
    killed_at: float
    """Epoch seconds."""
    ready_at: Callable[[], float | None]
    """Since when a worker is there."""
    stages: Callable[[], Stages]
    """The processes that a wake-up passes through."""
    hold_s: float = 0.0
    """How long nothing is granted after Redis came back."""


@dataclass(slots=True)
class Recovery:
    """How it went after one kill. Seconds."""

    event: str
    killed_at: float = 0.0
    started_s: float = 0.0
    """From the kill until a worker was there: the start of a process, or 0."""
    held_up_s: float = 0.0
    """From then until Intercom's rate limit and the breaker let it work."""
    free: int = 0
    """Lanes that only their dead holder's lease kept."""
    free_s: float = 0.0
    """Slowest of them, counted from when a worker was there and might work."""
    blocked: int = 0
    """Lanes with a write in flight, or whose retry had its time."""
    blocked_s: float = 0.0
    """Slowest of them, counted from that time."""
    in_line: int = 0
    """Lanes that were ready."""
    in_line_s: float = 0.0
    """Slowest of them, counted like the free ones; not judged."""
    judged: int = 0
    """Free and blocked lanes of which it can be said whether they were late."""
    late_s: float = -LEASE_S
    """Worst delay of a judged lane, from when it could move, less its waits for a processor."""
    waited_s: float = 0.0
    """The longest of these waits: the most that was taken off any judged lane's delay."""
    raw_late_s: float = -LEASE_S
    """Worst delay of a judged lane with nothing taken off."""
    latest: str = ""
    """The lane of `late_s`, and what kept it at the kill: its lease, or its time."""
    unproven: int = 0
    """Free and blocked lanes that are late, unless more is taken off than may be."""
    unproven_late_s: float = -LEASE_S
    """Worst delay of these, with nothing taken off."""
    stuck: list[str] = field(default_factory=list)
    """Lanes that did not move at all."""

    @property
    def judged_s(self) -> float:
        """The worst delay, counted so that a lease is part of it: at most BOUND_S."""
        return LEASE_S + self.late_s

    @property
    def raw_s(self) -> float:
        """The same without anything taken off."""
        return LEASE_S + self.raw_late_s

    @property
    def unproven_s(self) -> float:
        """The slowest lane that is not proven, counted like `raw_s`."""
        return LEASE_S + self.unproven_late_s

    @property
    def late(self) -> bool:
        """The promise is broken, whatever the machine did: a lane moved later than SLACK_S after it could."""
        return bool(self.stuck) or self.late_s > SLACK_S

    @property
    def too_busy(self) -> bool:
        """There were lanes to judge, and the machine left none of which anything could be said."""
        return not self.late and self.unproven > 0 and not self.judged

    @property
    def within(self) -> bool:
        """Nothing was late, as far as there was something to judge."""
        return not self.late and not self.too_busy


def photograph(redis: Redis, lanes: list[str]) -> list[Waiting]:
    """These lanes as they are now."""
    now = time.time()
    with redis.pipeline(transaction=False) as pipe:
        for lane in lanes:
            _ask(pipe, lane)
            pipe.zscore(KEY("due"), lane)
        answers = pipe.execute()
    found = []
    for lane, head, held, due in zip(lanes, answers[::3], answers[1::3], answers[2::3], strict=True):
        if head is None:  # it emptied meanwhile
            continue
        until, commit = (float(held[place] or 0) / 1000 for place in (1, 2))
        waits_until = (due or 0) / 1000
        leased = until > 0 and due is not None and waits_until <= until + 0.001
        free_at = max(commit if commit > now else 0.0, 0.0 if leased or waits_until <= now else waits_until)
        kept_by = "lease" if leased else "time" if due is not None else "the line"
        found.append(Waiting(lane, (head, *held), free_at, kept_by))
    return found


def _ask(pipe: Redis, lane: str) -> None:
    pipe.lindex(KEY("queue", lane), 0)
    pipe.hmget(KEY("lane", lane), _FIELDS)


def watch(scene: Scene, timeout_s: float) -> Recovery:
    """Watch until every lane that waits now has moved."""
    return _Watch(scene).until_all_moved(timeout_s)


class _Watch:
    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._redis = scene.redis
        self._clock = Clock(scene.stages)
        self._ready_at: float | None = None
        self._open_at = 0.0
        self._in_line: set[str] = set()
        self.recovery = Recovery(scene.event, scene.killed_at)
        self._waiting = self._lanes()

    def _lanes(self) -> dict[str, Waiting]:
        queues = self._redis.scan_iter(KEY("queue", "*"), count=1000)
        lanes = [key.rpartition(":")[2] for key in queues]
        line = {lane for one in READY_CLASSES for lane in self._redis.zrange(KEY("ready", one), 0, -1)}
        waiting = photograph(self._redis, lanes)
        self._in_line = {one.lane for one in waiting if one.lane in line}
        judged = [one for one in waiting if one.lane not in self._in_line]
        self.recovery.in_line = len(self._in_line)
        self.recovery.blocked = sum(1 for one in judged if one.free_at)
        self.recovery.free = len(judged) - self.recovery.blocked
        return {one.lane: one for one in waiting}

    def until_all_moved(self, timeout_s: float) -> Recovery:
        until = time.time() + timeout_s
        while self._waiting and time.time() < until:
            time.sleep(LOOK_EVERY_S)
            self._look_for_worker(self._clock.look())
            for lane in self._moved():
                self._note(self._waiting.pop(lane))
        self.recovery.stuck = sorted(self._waiting)
        return self.recovery

    def _look_for_worker(self, now: float) -> None:
        if self._ready_at is None and (ready_at := self._scene.ready_at()) is not None:
            self._ready_at = self._open_at = max(ready_at, self._scene.killed_at)
            self.recovery.started_s = self._ready_at - self._scene.killed_at
        if self._ready_at is not None and (stopped_until := self._stopped_until(now)):
            self._open_at = max(self._open_at, min(now, stopped_until))
            self.recovery.held_up_s = self._open_at - self._ready_at

    def _stopped_until(self, now: float) -> float:
        """By the rate limit, the breaker or the hold after a failover, which stop everybody."""
        if self._redis.hexists(KEY("breaker"), "state"):
            return now
        throttled_ms = float(self._redis.hget(KEY("bucket"), "until") or 0)
        since_ms = float(self._redis.hget(KEY("epoch"), "since") or 0)
        held_until = since_ms / 1000 + self._scene.hold_s if since_ms else 0.0
        return max(throttled_ms / 1000, held_until)

    def _moved(self) -> list[str]:
        with self._redis.pipeline(transaction=False) as pipe:
            for lane in self._waiting:
                _ask(pipe, lane)
            answers = pipe.execute()
        pictures = [(head, *held) for head, held in zip(answers[::2], answers[1::2], strict=True)]
        pairs = zip(self._waiting.values(), pictures, strict=True)
        return [one.lane for one, now in pairs if now != one.picture]

    def _note(self, lane: Waiting) -> None:
        """It has moved by now. Before a worker was seen at work, nothing was late."""
        recovery, now = self.recovery, self._clock.now
        open_at = now if self._ready_at is None else self._open_at
        took_s = max(0.0, now - open_at)
        if lane.lane in self._in_line:
            recovery.in_line_s = max(recovery.in_line_s, took_s)
            return
        if lane.free_at:
            recovery.blocked_s = max(recovery.blocked_s, now - max(lane.free_at, open_at))
        else:
            recovery.free_s = max(recovery.free_s, took_s)
        could_move_at = max(open_at + LEASE_S, lane.free_at)
        self._judge(lane, now - could_move_at, could_move_at)

    def _judge(self, lane: Waiting, delay_s: float, could_move_at: float) -> None:
        recovery = self.recovery
        waited_s = min(max(0.0, delay_s), self._clock.waited_since(could_move_at))
        taken_s = min(waited_s, MOST_TAKEN_OFF_S)
        if delay_s - taken_s > SLACK_S >= delay_s - waited_s:
            recovery.unproven += 1
            recovery.unproven_late_s = max(recovery.unproven_late_s, delay_s)
            return
        recovery.judged += 1
        recovery.raw_late_s = max(recovery.raw_late_s, delay_s)
        recovery.waited_s = max(recovery.waited_s, taken_s)
        if delay_s - taken_s >= recovery.late_s:
            recovery.late_s, recovery.latest = delay_s - taken_s, str(lane)
