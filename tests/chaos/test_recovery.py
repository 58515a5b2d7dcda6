"""The stop-watch itself, on a clock of our own: what it counts from, what it takes off, what is too late."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from redis import Redis

from . import noise, recovery
from .recovery import KEY, LEASE_SLACK_S, LOOK_EVERY_S, MOST_TAKEN_OFF_S, Recovery, Scene, watch

LEASE_S = 1.0
BOUND_S = LEASE_S + LEASE_SLACK_S
KILLED_AT = 1_800_000_000.0
LANE = "a" * 32
OTHER = "b" * 32


@dataclass
class Time:
    """Stands where the time module would: sleeping makes things happen."""

    now: float = KILLED_AT
    plan: list[tuple[float, Callable[[], object]]] = field(default_factory=list)

    def time(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        for happening in [one for one in self.plan if one[0] <= self.now]:
            self.plan.remove(happening)
            happening[1]()


class Stand:
    """A Redis with lanes in it, and what will become of them. Seconds after the kill."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self.time = Time()
        self.ready_at_s: float = 0.0
        self.waited: list[tuple[float, float]] = []
        """When one of our threads had waited for a processor, and for how long."""

    def lane(
        self,
        lane: str,
        *,
        moves_at_s: float | None,
        commit_at_s: float | None = None,
        due_at_s: float | None = None,
    ) -> None:
        """A lane that is taken over at some time. At the kill it is leased for one lease, or due later."""
        name = KEY("lane", lane)
        self.redis.rpush(KEY("queue", lane), "head")
        self.redis.hset(name, "fence", 1)
        if due_at_s is None:
            self.redis.hset(name, "until", _ms(LEASE_S))
        self.redis.zadd(KEY("due"), {lane: _ms(LEASE_S if due_at_s is None else due_at_s)})
        if commit_at_s is not None:
            self.redis.hset(name, "commit", _ms(commit_at_s))
        if moves_at_s is not None:
            self._at(moves_at_s, lambda: self.redis.hset(name, "fence", 2))

    def gets_ready(self, lane: str, *, at_s: float, until_s: float | None = None) -> None:
        """The lane stands in line for a while."""
        self._at(at_s, lambda: self.redis.zadd(KEY("ready", "suspect"), {lane: 1}))
        if until_s is not None:
            self._at(until_s, lambda: self.redis.zrem(KEY("ready", "suspect"), lane))

    def _at(self, after_s: float, happening: Callable[[], object]) -> None:
        self.time.plan.append((KILLED_AT + after_s, happening))

    def waits_of(self, pid: int) -> dict[int, float]:
        return {pid: sum(waited_s for at_s, waited_s in self.waited if KILLED_AT + at_s <= self.time.now)}

    def watch(self) -> Recovery:
        def ready_at() -> float | None:
            at = KILLED_AT + self.ready_at_s
            return at if self.time.now >= at else None

        return watch(Scene(self.redis, "kill", KILLED_AT, ready_at, lambda: [[1]], LEASE_S), timeout_s=20)


def _ms(after_s: float) -> int:
    return round((KILLED_AT + after_s) * 1000)


def about(seconds: float) -> object:
    """As exactly as it looks."""
    return pytest.approx(seconds, abs=2 * LOOK_EVERY_S)


@pytest.fixture
def stand(fake_redis: Redis, monkeypatch: pytest.MonkeyPatch) -> Stand:
    stand = Stand(fake_redis)
    for module in (noise, recovery):
        monkeypatch.setattr(module, "time", stand.time)
    monkeypatch.setattr(noise, "waits_of", stand.waits_of)
    return stand


@pytest.mark.parametrize(("moves_at_s", "within"), [(0.5, True), (1.4, True), (4.85, True), (5.2, False)])
def test_a_free_lane_has_a_lease_and_four_seconds(stand: Stand, moves_at_s: float, within: bool) -> None:
    stand.lane(LANE, moves_at_s=moves_at_s)
    told = stand.watch()
    assert (told.free, told.blocked, told.within) == (1, 0, within)
    assert (told.free_s, told.late_s) == (about(moves_at_s), about(moves_at_s - BOUND_S))


def test_the_start_of_the_only_worker_is_not_counted(stand: Stand) -> None:
    stand.ready_at_s = 4
    stand.lane(LANE, moves_at_s=4.5)
    told = stand.watch()
    assert (told.started_s, told.free_s) == (4, about(0.5))


@pytest.mark.parametrize(("moves_at_s", "within"), [(7.8, True), (8.2, False)])
def test_a_blocked_lane_has_a_second_after_its_write_can_no_longer_commit(
    stand: Stand, moves_at_s: float, within: bool
) -> None:
    stand.lane(LANE, moves_at_s=moves_at_s, commit_at_s=7)
    told = stand.watch()
    assert (told.free, told.blocked, told.within) == (0, 1, within)
    assert told.blocked_s == about(moves_at_s - 7)


def test_a_lane_whose_write_may_commit_has_not_moved_when_its_lease_ends(stand: Stand) -> None:
    stand.lane(LANE, moves_at_s=9, commit_at_s=7)
    stand.gets_ready(LANE, at_s=1.5, until_s=6)
    told = stand.watch()
    assert (told.blocked_s, told.late) == (about(2), True)


@pytest.mark.parametrize(("moves_at_s", "within"), [(4.8, True), (5.2, False)])
def test_a_blocked_lane_that_is_leased_has_its_lease_and_four_seconds(
    stand: Stand, moves_at_s: float, within: bool
) -> None:
    stand.lane(LANE, moves_at_s=moves_at_s, commit_at_s=2)
    assert stand.watch().within == within


@pytest.mark.parametrize(("moves_at_s", "within"), [(3.8, True), (4.2, False)])
def test_a_retry_has_a_second_after_its_time(stand: Stand, moves_at_s: float, within: bool) -> None:
    stand.lane(LANE, moves_at_s=moves_at_s, due_at_s=3)
    told = stand.watch()
    assert (told.blocked, told.blocked_s, told.within) == (1, about(moves_at_s - 3), within)


def test_a_free_lane_has_moved_when_it_is_ready(stand: Stand) -> None:
    stand.lane(LANE, moves_at_s=12)
    stand.gets_ready(LANE, at_s=2)
    told = stand.watch()
    assert (told.free_s, told.within) == (about(2), True)


@pytest.mark.parametrize(("waited_at_s", "within"), [(0.5, False), (1.5, True)])
def test_only_waits_since_the_lane_could_move_are_taken_off(
    stand: Stand, waited_at_s: float, within: bool
) -> None:
    stand.waited = [(waited_at_s, 0.4)]
    stand.lane(LANE, moves_at_s=5.2)
    told = stand.watch()
    assert told.within == within
    assert told.waited_s == pytest.approx(0.4 if within else 0.0)
    assert told.free_s == about(5.2)


def test_one_waiting_thread_does_not_hide_a_slow_lane(stand: Stand) -> None:
    stand.waited = [(9.0, 12.0)]
    stand.lane(LANE, moves_at_s=13.5)
    told = stand.watch()
    assert (told.free, told.judged, told.unproven, told.late) == (1, 0, 1, False)
    assert (told.within, told.too_busy) == (False, True)
    assert (told.unproven_late_s, told.free_s, told.waited_s) == (about(8.5), about(13.5), 0.0)


@pytest.mark.parametrize(("moves_at_s", "judged"), [(6.4, True), (6.6, False)])
def test_no_more_than_the_cap_is_taken_off(stand: Stand, moves_at_s: float, judged: bool) -> None:
    stand.waited = [(6.0, 2.5)]
    stand.lane(LANE, moves_at_s=moves_at_s)
    told = stand.watch()
    assert (told.judged, told.unproven, told.within) == (judged, not judged, judged)
    if judged:
        assert told.waited_s == pytest.approx(MOST_TAKEN_OFF_S)
        assert (told.raw_late_s, told.late_s) == (about(1.4), about(-0.1))


def test_what_is_late_even_without_its_waits_is_late(stand: Stand) -> None:
    stand.waited = [(9.0, 12.0)]
    stand.lane(LANE, moves_at_s=18)
    told = stand.watch()
    assert (told.judged, told.unproven, told.late, told.within) == (1, 0, True, False)


def test_one_judged_lane_of_a_kill_is_enough(stand: Stand) -> None:
    stand.waited = [(9.0, 12.0)]
    stand.lane(LANE, moves_at_s=13.5)
    stand.lane(OTHER, moves_at_s=1.2)
    told = stand.watch()
    assert (told.judged, told.unproven, told.within) == (1, 1, True)
    assert (told.late_s, told.unproven_late_s) == (about(-3.8), about(8.5))


def test_while_intercom_lets_nobody_call_nothing_is_late(stand: Stand) -> None:
    stand.redis.hset(KEY("bucket"), "until", _ms(3))
    stand.lane(LANE, moves_at_s=4.5)
    told = stand.watch()
    assert told.within
    assert (told.held_up_s, told.free_s) == (about(3), about(1.5))


def test_the_slowest_lane_counts_and_is_named(stand: Stand) -> None:
    stand.lane(LANE, moves_at_s=0.3)
    stand.lane(OTHER, moves_at_s=1.5)
    told = stand.watch()
    assert (told.free, told.free_s, told.latest) == (2, about(1.5), f"{OTHER} (lease)")


def test_a_lane_in_line_is_not_judged(stand: Stand) -> None:
    stand.lane(LANE, moves_at_s=9)
    stand.redis.zrem(KEY("due"), LANE)
    stand.redis.zadd(KEY("ready", "interactive"), {LANE: 1})
    told = stand.watch()
    assert (told.in_line, told.free, told.in_line_s, told.within) == (1, 0, about(9), True)


def test_a_lane_that_waits_for_another_is_not_judged(stand: Stand) -> None:
    stand.lane(LANE, moves_at_s=9, due_at_s=300)
    stand.redis.hset(KEY("lane", LANE), "waits", "x:an external id")
    told = stand.watch()
    assert (told.in_line, told.blocked, told.in_line_s, told.within) == (1, 0, about(9), True)


def test_a_lane_that_never_moves_is_stuck(stand: Stand) -> None:
    stand.lane(LANE, moves_at_s=None)
    told = stand.watch()
    assert (told.stuck, told.within) == ([LANE], False)


def test_a_watch_that_is_kept_waiting_is_no_delay(stand: Stand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recovery, "LOOK_EVERY_S", 2.3)
    stand.waited = [(2.2, 0.8)]
    stand.lane(LANE, moves_at_s=1.0)
    told = stand.watch()
    assert told.waited_s == pytest.approx(0.8)
    assert told.within
