"""What may stop everybody: the workspace's secret, the epoch, the circuit breakers, the rate budget."""

from __future__ import annotations

import math
from typing import Final

from onelane_worker.lanes.types import BreakerState, BreakerView, BreakerWord, NoWorkspace, Reserved

from .placing import Placing
from .state import Breaker

REFILL: Final = 0.93
"""Share of the quota with which the bucket is filled."""
HELD: Final = 0.02
"""Share of the quota of ten seconds that the bucket holds."""
STREAK_MS: Final = 60_000
"""How long failures are remembered while the breaker is closed."""
FINGERPRINT: Final = 8
"""Digits of the secret that a caller shows."""
WIDTH: Final = {"reads": 3, "writes": 2, "subscriptions": 1}
"""A sort of calls whose failing means more stands higher."""


class Guards(Placing):
    """The guards of a workspace."""

    _level = 0.0
    """Calls in the bucket, as the script at hand sees it."""

    # ── the secret ──

    def open_workspace(self, secret: str) -> str:
        """Make the workspace if it is not there. Returns its secret."""
        if self.state.secret is None:
            self.state.secret = secret
        return self.state.secret

    def check_caller(self, fingerprint: str) -> None:
        """Raises `NoWorkspace`."""
        secret = self.state.secret
        if secret is None:
            if self.rules.no_workspace:
                raise NoWorkspace
        elif secret[:FINGERPRINT] != fingerprint and self.rules.rekeyed:
            raise NoWorkspace

    # ── the epoch ──

    def look_at_server(self) -> None:
        """Another server than the one on record, or none on record, begins an epoch."""
        state = self.state
        if not self.rules.epoch or state.epoch_server == self.server:
            return
        first = state.epoch_server is None
        state.epoch_server = self.server
        lost = not (self.settings.durable or (first and self.settings.new_redis))
        if not lost or (first and not self.rules.epoch_of_empty):
            state.epoch_since = state.epoch_hold = 0
            return
        state.epoch_since = self.now
        state.epoch_hold = self.now + self.settings.failover_hold_ms

    def in_hold(self) -> bool:
        """Nothing is granted: a write of the old server may still commit."""
        return self.rules.epoch_holds and self.now < self.state.epoch_hold

    def epoch_is_young(self, window_ms: int = 0) -> bool:
        """A write that the old server forgot may still commit, or may have committed within the window."""
        since = self.state.epoch_since
        return since > 0 and self.now < since + self.settings.commit_ms + window_ms

    def is_shut(self) -> bool:
        """Nothing is granted and nothing retried: by the breaker, an operator, or the hold."""
        return self._line_is_shut() or self.in_hold()

    def _line_is_shut(self) -> bool:
        return self.rules.breaker_gates and self.state.breaker.state in ("open", "paused")

    # ── the circuit breaker ──

    def breaker(
        self,
        word: BreakerWord,
        *,
        lane: str = "",
        sort: str = "reads",
        problem: str = "",
        probe: bool = False,
        bulk: bool = False,
        now: bool = False,
    ) -> BreakerView:
        """Tell how a call went, or pause, or resume."""
        before = self.breaker_state(bulk)
        if bulk:
            self._tell_bulk(word, lane, problem)
        elif word in ("pause", "resume"):
            self._operate(word, problem, now)
        elif before != "paused":
            self._tell_line(word, lane, sort, problem, probe)
        view = self.breaker_view(bulk)
        shut = ("open", "paused")
        changed = view.state != before and (view.state in shut or before in (*shut, "half"))
        changed = changed or word == "pause"
        return BreakerView(view.state, view.since_ms, view.next_ms, view.problem, view.sort, changed)

    def breaker_state(self, bulk: bool = False) -> BreakerState:
        """`streak` while it is closed and failures are counted."""
        breaker = self._known(bulk)
        return "streak" if breaker.state == "closed" and breaker.streak else breaker.state

    def breaker_view(self, bulk: bool = False) -> BreakerView:
        """How a breaker stands."""
        breaker = self._known(bulk)
        return BreakerView(
            self.breaker_state(bulk), breaker.since, breaker.next, breaker.problem, breaker.sort or "reads"
        )

    def _known(self, bulk: bool) -> Breaker:
        """A streak is forgotten after a while."""
        breaker = self.state.bulk_breaker if bulk else self.state.breaker
        if breaker.state == "closed" and breaker.streak and breaker.forget_at <= self.now:
            self._reset(bulk)
            return self.state.bulk_breaker if bulk else self.state.breaker
        return breaker

    def _reset(self, bulk: bool = False) -> None:
        if bulk:
            self.state.bulk_breaker = Breaker()
        else:
            self.state.breaker = Breaker()

    def _operate(self, word: str, reason: str, now: bool) -> None:
        self._reset()
        if word == "pause":
            breaker = self.state.breaker
            breaker.since, breaker.state, breaker.problem = self.now, "paused", reason
            return
        if now:
            self.state.epoch_hold = min(self.state.epoch_hold, self.now)

    def _tell_line(self, word: str, lane: str, sort: str, problem: str, probe: bool) -> None:
        breaker, rules = self.state.breaker, self.rules
        if word == "ok":
            if breaker.state == "open":
                if probe and not rules.half_open:
                    self._reset()
                elif probe:
                    breaker.state = "half"
            elif breaker.sort in ("", "reads", sort) or not rules.half_by_sort:
                self._reset()
            return
        if breaker.state != "open":
            self._failed(breaker, word, lane, sort, problem)

    def _failed(self, breaker: Breaker, word: str, lane: str, sort: str, problem: str) -> None:
        rules, settings = self.rules, self.settings
        half = breaker.state == "half"
        if not breaker.sort or (not half and WIDTH[sort] > WIDTH[breaker.sort]):
            breaker.sort = sort
        breaker.streak += 1
        breaker.lanes.add(lane)
        breaker.forget_at = self.now + STREAK_MS
        many = breaker.streak >= settings.breaker_calls and len(breaker.lanes) >= settings.breaker_lanes
        if not (half or many or (word == "refused" and rules.refused_opens)):
            return
        if half and rules.half_pause_doubles:
            breaker.next = self.now + breaker.pause
            breaker.pause = min(settings.probe_longest_ms, breaker.pause * 2)
        else:
            breaker.since = self.now if not half else breaker.since
            breaker.next, breaker.pause = self.now + settings.probe_first_ms, settings.probe_first_ms
        breaker.state, breaker.problem = "open", problem

    def take_probe(self) -> bool:
        """Is the caller to send the next probe?"""
        breaker = self.state.breaker
        if breaker.state != "open" or self.now < breaker.next:
            return False
        breaker.next = self.now + (breaker.pause if self.rules.probe_pauses else 0)
        breaker.pause = min(self.settings.probe_longest_ms, breaker.pause * 2)
        return True

    # ── the breaker of bulk intents ──

    def _tell_bulk(self, word: str, said: str, problem: str) -> None:
        """An equal rejection counts four, anything else takes one back: the class stops when more than one in
        five is rejected alike, and goes on after four writes in a row."""
        breaker, settings = self._known(True), self.settings
        full = 4 * settings.bulk_rejections if self.rules.bulk_stops else 0
        if word == "resume" or not full:
            self._reset(bulk=True)
        elif breaker.state == "open":
            if word == "rejected":
                self._stop_bulk(breaker, full, problem)
            else:
                breaker.streak -= settings.bulk_rejections
                breaker.next = self.now
                if breaker.streak <= 0:
                    self._reset(bulk=True)
        else:
            if word == "rejected" and (breaker.said == said or breaker.streak <= 1):
                breaker.streak = (breaker.streak if breaker.said == said else 0) + 4
                breaker.said = said
            else:
                breaker.streak -= 1
            breaker.forget_at = self.now + STREAK_MS
            if breaker.streak >= full:
                self._stop_bulk(breaker, full, problem)
            elif breaker.streak <= 0:
                self._reset(bulk=True)

    def _stop_bulk(self, breaker: Breaker, full: int, problem: str) -> None:
        if breaker.state == "closed":
            breaker.since = self.now
        breaker.state, breaker.streak, breaker.problem = "open", full, problem
        breaker.next = self.now + (self.settings.bulk_pause_ms if self.rules.bulk_trial_waits else 0)

    def bulk_may_go(self) -> bool:
        """May a bulk lane be granted? While its class is stopped only one, as a trial."""
        breaker = self.state.bulk_breaker
        if breaker.state != "open":
            return True
        return self.now >= breaker.next and not (self.is_tried(breaker) and self.rules.bulk_one_trial)

    def is_tried(self, breaker: Breaker) -> bool:
        """Is the one lane that the breaker let through still leased?"""
        if breaker.trial is None:
            return False
        lane = self.lane(breaker.trial[0])
        return lane.token is not None and lane.fence == breaker.trial[1] and lane.until > self.now

    # ── the rate budget ──

    @property
    def bucket_size(self) -> float:
        """Calls that the bucket holds."""
        return max(1.0, (HELD if self.rules.bucket_small else 1.0) * self.settings.requests_per_10s)

    @property
    def bucket_rate(self) -> float:
        """Calls a ms."""
        return REFILL * self.settings.requests_per_10s / 10_000

    def load_bucket(self) -> None:
        """See how much is in the bucket now; nothing is stored before calls are taken."""
        state, size = self.state, self.bucket_size
        level = size if state.bucket_level is None else state.bucket_level
        self._level = min(size, level + max(0, self.now - state.bucket_at) * self.bucket_rate)

    def calls_left(self) -> int:
        """Whole calls that may be taken now."""
        if self.now < self.state.bucket_until and self.rules.throttle:
            return 0
        return int(self._level)

    def take_calls(self, calls: int) -> None:
        """Take calls that are left."""
        self._level -= calls
        self.state.bucket_level, self.state.bucket_at = round(self._level, 6), self.now

    def is_low(self, promised: int = 0) -> bool:
        """Is the bucket at most half full, without the calls that are promised?"""
        return self._level - promised <= self.bucket_size / 2

    def wait_for(self, level: float) -> float:
        """ms until the bucket holds this much and may give it."""
        missing = (level - self._level) / self.bucket_rate
        return max(self.state.bucket_until - self.now, missing, 0) + 1

    def reserve(self, calls: int, throttled_ms: int = 0) -> Reserved:
        """Take calls from the bucket; `throttled_ms`: Intercom said 429."""
        self.load_bucket()
        if throttled_ms:
            self._level = 0.0
            self.state.bucket_until = max(self.state.bucket_until, self.now + throttled_ms)
        given = min(calls, self.calls_left())
        self.take_calls(given)
        return Reserved(given, 0 if given == calls else math.ceil(self.wait_for(1.0)))
