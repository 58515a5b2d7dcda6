"""The timer of one engine: renews its leases, moves lanes that are due, sends the breaker's probes.

One script does it (`tick`). It is the only recovery path: retries, expired leases, reconciliation, settle
checks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import structlog
from redis.exceptions import RedisError

if TYPE_CHECKING:
    from onelane_worker.engine.engine import Engine

log = structlog.get_logger(__name__)
BUSY_S, IDLE_S, MORE_S, REFUSED_S = 0.5, 2.0, 0.02, 5.0
"""Between two ticks: at work or with lanes ready; idle and no lane due earlier; with more lanes due than one
tick moves; refused."""
BUSY_PART, IDLE_PART = 0.2, 0.4
"""The first two are at most such a part of a lease: no lease is ended after half a lease without a tick."""


class DueTimer:
    """Ticks until it is cancelled."""

    def __init__(self, engine: Engine, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._engine = engine
        self._sleep = sleep

    async def run(self) -> None:
        while True:
            try:
                pause_s = await self._tick()
            except RedisError as error:
                log.error("Redis refuses the timer", error=type(error).__name__)
                pause_s = REFUSED_S
            await self._sleep(pause_s)

    async def _tick(self) -> float:
        engine, sent_at = self._engine, self._engine.clock()
        held = [lease for lease in engine.leases() if sent_at - lease.granted_at < engine.max_hold_s]
        ticked = await engine.store.tick(engine.id, engine.name, [lease.grant for lease in held])
        for lease in held:
            if (lease.grant.lane, lease.grant.fence) in ticked.lost:
                lease.lost = True
            else:
                lease.extended(sent_at)
        engine.breaker.heard(ticked.breaker, ticked.bulk)
        if ticked.probe:
            engine.probe()
        if ticked.ready:
            engine.poke()
        if ticked.due_in_ms == 0:
            return MORE_S
        lease_s = engine.timing.lease_s
        busy_s, idle_s = min(BUSY_S, BUSY_PART * lease_s), min(IDLE_S, IDLE_PART * lease_s)
        if held or ticked.ready:
            return busy_s
        due_in_s = idle_s if ticked.due_in_ms is None else ticked.due_in_ms / 1000
        return max(busy_s, min(due_in_s, idle_s))
