"""An engine: it claims, ticks, probes, and keeps calls in hand. Serving a lane is in `serving`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onelane_worker.lanes.types import (
    Claimed,
    Grant,
    LaneError,
    NoWorkspace,
    Reserved,
    Settled,
    Step,
    Ticked,
)

from .faults import HAND_MS
from .serving import serve
from .world import Owner, Steps

if TYPE_CHECKING:
    from .history import History


class Job:
    """A lane that this engine serves."""

    def __init__(self, engine: Engine, grant: Grant, sent_at: float) -> None:
        history = engine.history
        self.engine = engine
        self.grant = grant
        self.lane, self.token, self.fence = grant.lane, grant.token, grant.fence
        self.deadline = sent_at + history.settings.lease_ms
        """Nothing is sent after it."""
        self.granted_at = sent_at
        """From here the maximum hold counts."""
        self.kills = grant.head.kills
        self.steps = 0
        self.sent_at = sent_at
        """When the last script was first sent."""
        self.lost = False
        self.answered: int | None = None
        """The step of a write that was answered."""
        self.call_at = 0.0
        """When the call to be used now was reserved."""
        self.checkpointed_at = 0.0
        self.server = ""
        """The server that recorded the write."""

    def takes(self, grant: Grant) -> None:
        """The lease goes on with another batch."""
        self.grant, self.kills = grant, grant.head.kills

    def step(self) -> Step:
        """The next step; its number is kept when it is sent again."""
        self.steps += 1
        return Step(self.lane, self.token, self.fence, self.steps)

    def extended(self, sent_at: float) -> None:
        """A script that was first sent then has renewed the lease."""
        history = self.engine.history
        if sent_at < self.deadline or not history.rules.lapse_is_final:
            self.deadline = max(self.deadline, sent_at + history.settings.lease_ms)

    def call(self, script: str, *args: Any, **named: Any) -> Steps[Any]:
        """A script under the lease."""
        step, history = self.step(), self.engine.history
        sent_at = self.sent_at = history.now
        try:
            answer = yield from self.engine.script(script, step, *args, **named)
        except LaneError as error:
            if type(error).__name__ == "Stale":
                history.violation("a live step is stale", script)
            raise
        if script in ("checkpoint", "clear") or isinstance(answer, Settled):
            if getattr(answer, "word", "ok") in ("ok", "more"):
                self.extended(sent_at)
        return answer


class Engine(Owner):
    """One process."""

    def __init__(self, history: History, name: str, secret: str) -> None:
        super().__init__(name)
        self.history = history
        self.secret = secret
        self.settings = history.settings_of_new_engine()
        self.jobs: dict[object, Job] = {}
        self.number = 0
        self.wakes = 0
        self.hand: list[float] = []
        """When each call in hand was reserved."""
        self.busy = True
        self.stopping = False
        self.epoch_ms: int | None = None
        self.slots = history.suite.slots

    def begin(self, after: float = 0.0) -> None:
        """Let it run."""
        history = self.history
        history.start(self._claims(), self, after)
        history.start(self._ticks(), self, after + history.between(0, 1_000))
        if history.suite.hoards:
            history.start(self._hoard(), self, after)

    def script(self, name: str, *args: Any, **named: Any) -> Steps[Any]:
        """Call a script as this engine. An engine whose workspace is another now ends."""
        try:
            return (yield from self.history.call(self, self.secret, self.settings, name, *args, **named))
        except NoWorkspace:
            self.history.crash(self, "rekeyed")
            raise

    def upgrade(self) -> None:
        """From now on this process reads newer payloads."""
        self.settings = self.history.newer_settings

    # ── claiming ──

    def _claims(self) -> Steps[None]:
        history = self.history
        while True:
            if not self.poked:
                yield None
            self.poked = False
            while not self.stopping and len(self.jobs) < self.slots:
                claimed = yield from self._claim()
                if claimed is None:
                    return
                if claimed.wait_ms:
                    history.later(claimed.wait_ms, lambda: history.poke(self))
                if claimed.word in ("stale", "open", "hold", "half"):
                    break
                if not claimed.more and len(self.jobs) < self.slots:
                    break
            if self.stopping:
                return

    def _claim(self) -> Steps[Claimed | None]:
        history = self.history
        self.number += 1
        sent_at = history.now
        wakes, self.wakes = self.wakes, 0
        try:
            claimed: Claimed = yield from self.script(
                "claim",
                self.name,
                self.number,
                min(16, self.slots - len(self.jobs)),
                suspects=self._suspects(),
                wakes=wakes,
                in_hand=self.in_hand(),
            )
        except LaneError:
            return None
        self.epoch_ms = claimed.epoch_ms
        self.hand += [sent_at] * claimed.calls
        for grant in claimed.grants:
            self._begin_job(grant, sent_at)
        return claimed

    def _begin_job(self, grant: Grant, sent_at: float) -> None:
        key: object = (grant.lane, grant.fence) if self.history.rules.jobs_by_fence else grant.lane
        if key not in self.jobs:
            deadline_from = sent_at if self.history.rules.deadline_from_send else self.history.now
            job = Job(self, grant, deadline_from)
            self.jobs[key] = job
            self.history.start(self._serve(key, job), self)

    def _serve(self, key: object, job: Job) -> Steps[None]:
        try:
            settled = yield from serve(job)
            while settled is not None and settled.word == "more" and not job.lost:
                self.hand += [job.sent_at] * settled.calls
                job.takes(settled.grant)  # type: ignore[arg-type]
                settled = yield from serve(job)
        except LaneError:
            pass  # somebody else has the lane
        finally:
            if self.jobs.get(key) is job:
                del self.jobs[key]
            self.history.poke(self)

    def _suspects(self) -> tuple[int, int]:
        """How many suspects may come, and how many are here."""
        kills = [job.kills for job in self.jobs.values() if job.kills]
        if self.history.rules.suspect_engine_alone and any(count >= 2 for count in kills):
            return 0, len(kills)
        return max(1, self.slots // 16) - len(kills), len(kills)

    # ── calls of Intercom ──

    def in_hand(self) -> int:
        """Calls that are reserved and not too old."""
        if self.history.rules.hand_expires:
            self.hand = [at for at in self.hand if self.history.now - at <= HAND_MS]
        return len(self.hand)

    def take_call(self) -> Steps[float]:
        """A call; returns when it was reserved."""
        history = self.history
        while True:
            if self.in_hand():
                return self.hand.pop()
            sent_at = history.now
            reserved: Reserved = yield from self.script("reserve", 1)
            if reserved.calls and self.is_fresh(sent_at):
                return sent_at
            yield reserved.wait_ms + history.between(0, 20)

    def is_fresh(self, reserved_at: float) -> bool:
        """May a call reserved at that time still be used?"""
        return self.history.now - reserved_at <= HAND_MS or not self.history.rules.hand_expires

    def _hoard(self) -> Steps[None]:
        """Reserve more than is needed, again and again."""
        while not self.stopping:
            yield self.history.between(100, 600)
            if not (self.jobs or self.busy):
                continue
            sent_at = self.history.now
            try:
                reserved: Reserved = yield from self.script("reserve", 20)
            except LaneError:
                return
            self.hand += [sent_at] * reserved.calls

    # ── the timer ──

    def _ticks(self) -> Steps[None]:
        history = self.history
        while True:
            busy = self.jobs or self.busy
            pause = history.between(400, 800) if busy else history.between(1_800, 2_000)
            yield max(pause, history.sleeps_for() - pause)
            if self.stopping and not (self.jobs and history.rules.stopping_ticks):
                return
            try:
                yield from self._tick()
            except LaneError:
                return

    def _tick(self) -> Steps[None]:
        history, sent_at = self.history, self.history.now
        longest = history.settings.max_hold_ms
        held = [
            job
            for job in self.jobs.values()
            if not job.lost and (sent_at - job.granted_at < longest or not history.rules.hold_ends_renewal)
        ]
        ticked: Ticked = yield from self.script("tick", self.name, self.name, held)
        for job in held:
            if (job.lane, job.fence) in ticked.lost:
                job.lost = True
            else:
                job.extended(sent_at)
                history.judge.renewed(job.lane, job.fence)
        self.busy = ticked.ready
        if ticked.ready:
            history.poke(self)
        if ticked.probe:
            history.start(self._probe(), self)

    def _probe(self) -> Steps[None]:
        """Ask Intercom whether it answers again."""
        history = self.history
        try:
            if history.rules.probes_pay:
                while True:
                    reserved_at = yield from self.take_call()
                    yield from history.hop(self, 1.0)
                    if self.is_fresh(reserved_at):
                        break
            history.judge.asks()
            history.judge.probes += 1
            answer = history.probe_answer()
            yield 50.0
            yield from self.script("breaker", answer, probe=True)
            if answer == "ok":
                history.poke(self)
        except LaneError:
            pass
