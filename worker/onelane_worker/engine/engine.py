"""The engine of one worker process: an asyncio loop that serves up to `concurrency` lanes at a time.

It claims lanes when it has a free slot, calls to spend, and a closed circuit breaker: poked by a wake-up
message, by its timer, or by a slot that became free. One claim is under way at a time; a claim that got no
answer is sent again with its number (the client does that), and only then comes the next."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any

import structlog
from redis.exceptions import RedisError

from onelane.workspace import Workspace
from onelane_worker.engine.circuit_breaker import CircuitBreaker
from onelane_worker.engine.codec import accepted
from onelane_worker.engine.due_timer import REFUSED_S, DueTimer
from onelane_worker.engine.execute import Executor, Intercom
from onelane_worker.engine.lane import Timing, serve
from onelane_worker.engine.lease import Lease
from onelane_worker.engine.rate_budget import RateBudget
from onelane_worker.engine.shutdown import Shutdown
from onelane_worker.engine.timeline import Observer
from onelane_worker.lanes.store import LaneStore
from onelane_worker.lanes.types import Grant, LaneError
from onelane_worker.planner import operations as op
from onelane_worker.planner.policy import Policy

log = structlog.get_logger(__name__)
CLAIM_MOST = 16
"""Lanes of one claim: a script holds up all others of the server while it runs."""
CLAIM_LEAST, LINGER_S = 8, 0.002
"""With a backlog, an engine that has fewer free slots waits a moment for more of them: one claim serves
several."""
HEAD_START = 3
"""Iterations of the loop before a lane is planned: the next claim is sent meanwhile, so that Redis and the
planner work at the same time."""
PROBE_S = 10.0
"""Life of a probe that has not been sent yet."""
AFTER_GRACE_S = 20.0
"""How long a stopping engine waits, after its grace, for calls that are under way; then their leases run
out."""


@dataclass(frozen=True, slots=True)
class Parts:
    """What an engine works with; made by the composition root."""

    store: LaneStore
    intercom: Intercom
    workspace: Workspace
    observer: Observer
    policy: Policy = field(default_factory=Policy)
    timing: Timing = field(default_factory=Timing)
    concurrency: int = 64
    grace_s: float = 10.0
    name: str = "onelane"
    random: random.Random = field(default_factory=random.Random)


class Engine:
    """Made and run inside one asyncio loop; `poke` and `stop` are called in that loop, too."""

    def __init__(self, parts: Parts) -> None:
        self.id = token_hex(8)
        self.name = parts.name
        self.clock: Callable[[], float] = asyncio.get_running_loop().time
        self.store = parts.store
        self.workspace = parts.workspace
        self.observer = parts.observer
        self.policy = parts.policy
        self.timing = parts.timing
        self.random = parts.random
        self.max_hold_s = parts.timing.max_hold_s
        self.budget = RateBudget(parts.store, self.clock)
        self.breaker = CircuitBreaker(parts.store)
        self.shutdown = Shutdown(parts.grace_s, self.clock)
        self.executor = Executor(
            parts.store, parts.intercom, self.budget, parts.workspace, parts.timing.send_grace_s, self.clock
        )
        self.epoch_ms: int | None = None
        self._intercom = parts.intercom
        self._slots = parts.concurrency
        self._jobs: dict[tuple[str, int], tuple[Lease, asyncio.Task[None]]] = {}
        self._wake = asyncio.Event()
        self._stopping = asyncio.Event()
        self._wakes = 0
        self._number = 0
        self._backlog = False
        """The last claim left lanes behind that were ready."""
        self._probe: asyncio.Task[None] | None = None

    @property
    def free(self) -> int:
        """Slots in which no lane is served."""
        return self._slots - len(self._jobs)

    def leases(self) -> Iterable[Lease]:
        """Those that are to be renewed."""
        return [lease for lease, _ in self._jobs.values() if not lease.lost]

    def poke(self, wakes: int = 0) -> None:
        """Lanes may be ready. `wakes`: wake-up messages that were taken from the broker."""
        self._wakes += wakes
        self._wake.set()

    def stop(self) -> None:
        """Begin nothing more; `run` returns when what is at work has ended or is handed back."""
        self.shutdown.ask()
        self._stopping.set()
        self._wake.set()

    async def run(self) -> None:
        """Serve lanes until `stop`. Raises `NoWorkspace` if Redis was emptied: then a new engine has to be
        made, with the workspace's new secret."""
        timer = asyncio.create_task(DueTimer(self).run(), name="onelane-timer")
        claims = asyncio.create_task(self._claim_until_stopped(), name="onelane-claims")
        stopping = asyncio.create_task(self._stopping.wait(), name="onelane-stop")
        self._wake.set()
        try:
            await asyncio.wait({timer, claims, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not self.shutdown.asked:
                for task in (timer, claims):
                    if task.done():
                        task.result()  # raises
            await asyncio.wait({claims}, timeout=self.shutdown.grace_s)
            await self._end_jobs()
        finally:
            await self._cancel(stopping, timer, claims, *(task for _, task in self._jobs.values()))
            self.budget.close()

    async def _end_jobs(self) -> None:
        tasks = [task for _, task in self._jobs.values()]
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=self.shutdown.grace_s + AFTER_GRACE_S)
            if late:
                log.warning("lanes not given back, their leases run out", lanes=len(late))

    async def _cancel(self, *tasks: asyncio.Task[Any]) -> None:
        probe = () if self._probe is None else (self._probe,)
        for task in (*tasks, *probe):
            task.cancel()
        await asyncio.gather(*tasks, *probe, return_exceptions=True)

    # ── claiming ──────────────────────────────────────────────────────────────────────────────────────────

    async def _claim_until_stopped(self) -> None:
        while not self.shutdown.asked:
            await self._wake.wait()
            self._wake.clear()
            try:
                while await self._claim():
                    pass
            except RedisError as error:
                log.error("Redis refuses claims", error=type(error).__name__)
                await asyncio.sleep(REFUSED_S)
                self._wake.set()

    async def _claim(self) -> bool:
        """One claim, if one may be made. True: another is worth while."""
        if self._backlog and self.free < CLAIM_LEAST and self._jobs:
            await asyncio.sleep(LINGER_S)
        if self.shutdown.asked or self.free <= 0 or self.budget.short or self.breaker.line.shut:
            return False
        self._number += 1
        wakes, self._wakes = self._wakes, 0
        most, sent_at = min(self.free, CLAIM_MOST), self.clock()
        claimed = await self.store.claim(
            self.id,
            self._number,
            most,
            suspects=self._suspects(),
            wakes=wakes,
            in_hand=self.budget.in_hand(),
        )
        self.epoch_ms = claimed.epoch_ms
        self.breaker.heard(claimed.breaker, claimed.bulk)
        self.budget.add(claimed.calls, sent_at)
        for grant in claimed.grants:
            self._begin(grant, sent_at)
        if claimed.wait_ms:
            asyncio.get_running_loop().call_later(claimed.wait_ms / 1000, self._wake.set)
        self._backlog = claimed.more
        return claimed.more

    def _suspects(self) -> tuple[int, int]:
        """How many lanes whose head has killed may come, and how many are here. One that has killed twice is
        the engine's only one."""
        kills = [lease.grant.head.kills for lease, _ in self._jobs.values() if lease.grant.head.kills]
        if any(count >= 2 for count in kills):
            return 0, len(kills)
        return max(0, max(1, self._slots // 16) - len(kills)), len(kills)

    def _begin(self, grant: Grant, sent_at: float) -> None:
        key = (grant.lane, grant.fence)
        if key not in self._jobs:  # a claim that was sent again tells the same grants
            lease = Lease(grant, sent_at, self.timing.lease_s, self.clock)
            task = asyncio.create_task(self._serve(key, lease), name="onelane-lane")
            self._jobs[key] = (lease, task)

    async def _serve(self, key: tuple[str, int], lease: Lease) -> None:
        ready = True
        try:
            for _ in range(HEAD_START):
                await asyncio.sleep(0)
            ready = await serve(self, lease)
        except RedisError as error:
            log.error("lane left, its lease runs out", lane=lease.grant.lane, error=type(error).__name__)
        except Exception:
            log.exception("lane left, its lease runs out", lane=lease.grant.lane)
        finally:
            self._jobs.pop(key, None)
            if not self._jobs:
                accepted.cache_clear()  # what people said is not kept in an idle process
            if ready or self._backlog:
                self._wake.set()

    # ── the circuit breaker's probe ───────────────────────────────────────────────────────────────────────

    def probe(self) -> None:
        """Ask Intercom whether it answers again."""
        if self._probe is None or self._probe.done():
            self._probe = asyncio.create_task(self._ask(), name="onelane-probe")

    async def _ask(self) -> None:
        send_by = min(await self.budget.take(), self.clock() + PROBE_S)
        reply = await self._intercom.perform(op.Probe(), now_ms=lambda: 0, send_by=send_by)
        try:
            if not await self.breaker.tell("", op.Probe(), reply, probe=True):
                self.poke()
        except (LaneError, RedisError) as error:
            log.warning("the probe's answer was not told", error=type(error).__name__)
