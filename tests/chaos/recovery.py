"""How soon lanes move again after a kill.

At the kill every lane with waiting intents is photographed. It has moved once it was granted again (another
fence or another head), or stands in line to be. A lane that only its dead holder's lease kept must have moved
one lease and four seconds after a worker was there: a timer ticks every half second, and where nobody ticked
for half a lease, no lease is ended for two seconds. A lane with a write that may still commit, or with a
retry that has its time, must have moved one second after that time; if it was leased, too, it has the longer
of the two.

A lane that is ready, or waits for another lane, was not touched by the kill: it waits for its place in the
line as before. It is watched, too, but the line's length is not the kill's doing.

What the machine owes is taken off the delay before it is judged (see `noise`), up to a cap: a late lane that
would need more is neither within nor too late, but not proven, and shown with its raw time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf

from redis import Redis

from onelane.keys import READY_CLASSES, Keys

from .noise import Clock, Stages

LOOK_EVERY_S = 0.05
LEASE_SLACK_S = 4.0
TIME_SLACK_S = 1.0
MOVER_SILENCE_S = 1.0
"""If the dead worker was the one that moved lanes, another one does so after this."""
MOST_TAKEN_OFF_S = 1.5
"""Of one lane's delay. The kernel cannot say whether the thread that waited was on this lane's way; were all
its waits taken off, any delay would vanish on a busy machine."""
KEY = Keys().key
_FIELDS = ("fence", "until", "commit", "waits")
Picture = tuple[str | None, str | None]
"""Head and fence: only a grant changes them."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One lane at the kill."""

    lane: str
    picture: Picture
    leased: bool
    free_at: float
    """When it may be served again at the earliest, apart from its lease (epoch seconds; 0: at once)."""
    in_line: bool
    """It is ready, or waits for another lane."""

    def could_move_at(self, open_at: float, lease_s: float) -> float:
        """By the end of its lease and its time. `open_at`: since when somebody is there to serve it."""
        return max(self.free_at, open_at + lease_s * self.leased)

    def must_move_by(self, killed_at: float, open_at: float, lease_s: float) -> float:
        """The latest moment that is in time."""
        by_lease = open_at + lease_s + LEASE_SLACK_S if self.leased else 0.0
        by_time = max(self.free_at, open_at, killed_at + MOVER_SILENCE_S) + TIME_SLACK_S
        return max(by_lease, by_time if self.free_at or not self.leased else 0.0)

    def __str__(self) -> str:
        return f"{self.lane} ({'lease' if self.leased else 'time'})"


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
    lease_s: float
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
    """Lanes that were ready, or waited for another lane."""
    in_line_s: float = 0.0
    """Slowest of them, counted like the free ones; not judged."""
    judged: int = 0
    """Free and blocked lanes of which it can be said whether they were late."""
    late_s: float = -inf
    """Of the judged lane that was nearest to being late, or latest: by how much, less its waits for a
    processor. Negative: the time to spare."""
    waited_s: float = 0.0
    """The longest of these waits: the most that was taken off any judged lane's delay."""
    raw_late_s: float = -inf
    """The same as `late_s` with nothing taken off."""
    latest: str = ""
    """The lane of `late_s`, and what kept it at the kill: its lease, or its time."""
    unproven: int = 0
    """Free and blocked lanes that are late, unless more is taken off than may be."""
    unproven_late_s: float = -inf
    """The latest of these, with nothing taken off."""
    stuck: list[str] = field(default_factory=list)
    """Lanes that did not move at all."""

    @property
    def late(self) -> bool:
        """The promise is broken, whatever the machine did."""
        return bool(self.stuck) or self.late_s > 0

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
            pipe.lindex(KEY("queue", lane), 0)
            pipe.hmget(KEY("lane", lane), _FIELDS)
            pipe.zscore(KEY("due"), lane)
        answers = pipe.execute()
    found = []
    for lane, head, held, due in zip(lanes, answers[::3], answers[1::3], answers[2::3], strict=True):
        if head is None:  # it emptied meanwhile
            continue
        fence, until_ms, commit_ms, waits = held
        until, commit, at = float(until_ms or 0) / 1000, float(commit_ms or 0) / 1000, (due or 0) / 1000
        leased = until > 0 and due is not None and at <= until + 0.001
        free_at = max(commit if commit > now else 0.0, 0.0 if leased or at <= now else at)
        in_line = waits is not None or due is None
        found.append(Waiting(lane, (head, fence), leased, free_at, in_line))
    return found


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
        self.recovery = Recovery(scene.event, scene.killed_at)
        self._waiting = self._lanes()

    def _lanes(self) -> dict[str, Waiting]:
        queues = self._redis.scan_iter(KEY("queue", "*"), count=1000)
        waiting = photograph(self._redis, [key.rpartition(":")[2] for key in queues])
        judged = [one for one in waiting if not one.in_line]
        self.recovery.in_line = len(waiting) - len(judged)
        self.recovery.blocked = sum(1 for one in judged if one.free_at)
        self.recovery.free = len(judged) - self.recovery.blocked
        return {one.lane: one for one in waiting}

    def until_all_moved(self, timeout_s: float) -> Recovery:
        until = time.time() + timeout_s
        while self._waiting and time.time() < until:
            time.sleep(LOOK_EVERY_S)
            self._look_for_worker(self._clock.look())
            for lane in self._moved(self._clock.now):
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

    def _moved(self, now: float) -> list[str]:
        with self._redis.pipeline(transaction=False) as pipe:
            for one in READY_CLASSES:
                pipe.zrange(KEY("ready", one), 0, -1)
            for lane in self._waiting:
                pipe.lindex(KEY("queue", lane), 0)
                pipe.hget(KEY("lane", lane), "fence")
            answers = pipe.execute()
        line = {lane for ready in answers[: len(READY_CLASSES)] for lane in ready}
        answers = answers[len(READY_CLASSES) :]
        pictures = zip(answers[::2], answers[1::2], strict=True)
        return [
            one.lane
            for one, picture in zip(self._waiting.values(), pictures, strict=True)
            if picture != one.picture or (not one.in_line and now >= one.free_at and one.lane in line)
        ]

    def _note(self, lane: Waiting) -> None:
        """It has moved by now. Before a worker was seen at work, nothing was late."""
        recovery, now = self.recovery, self._clock.now
        open_at = now if self._ready_at is None else self._open_at
        took_s = max(0.0, now - open_at)
        if lane.in_line:
            recovery.in_line_s = max(recovery.in_line_s, took_s)
            return
        if lane.free_at:
            recovery.blocked_s = max(recovery.blocked_s, now - max(lane.free_at, open_at))
        else:
            recovery.free_s = max(recovery.free_s, took_s)
        self._judge(lane, open_at)

    def _judge(self, lane: Waiting, open_at: float) -> None:
        recovery, now, lease_s = self.recovery, self._clock.now, self._scene.lease_s
        late_s = now - lane.must_move_by(self._scene.killed_at, open_at, lease_s)
        could_move_at = lane.could_move_at(open_at, lease_s)
        waited_s = min(max(0.0, now - could_move_at), self._clock.waited_since(could_move_at))
        taken_s = min(waited_s, MOST_TAKEN_OFF_S)
        if late_s - taken_s > 0 >= late_s - waited_s:
            recovery.unproven += 1
            recovery.unproven_late_s = max(recovery.unproven_late_s, late_s)
            return
        recovery.judged += 1
        recovery.raw_late_s = max(recovery.raw_late_s, late_s)
        recovery.waited_s = max(recovery.waited_s, taken_s)
        if late_s - taken_s >= recovery.late_s:
            recovery.late_s, recovery.latest = late_s - taken_s, str(lane)
