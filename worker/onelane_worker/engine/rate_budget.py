"""The rate budget: calls reserved from the workspace's bucket in Redis, shared by all engines.

A claim reserves a call for every lane that it grants. Further calls are reserved here, for all who wait at
once. A call is to be used within `HAND_S` of the first send of what reserved it, else it is dropped: so ten
seconds never see more than the quota, whatever their phase is."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from onelane_worker.lanes.store import LaneStore

HAND_S = 0.5


class RateBudget:
    """The calls in hand of one engine. Moments are seconds of the engine's clock."""

    def __init__(self, store: LaneStore, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._hand: deque[float] = deque()
        """When each call in hand runs out, in that order."""
        self._waiting: deque[asyncio.Future[float]] = deque()
        self._refill: asyncio.Task[None] | None = None

    @property
    def short(self) -> bool:
        """Lanes at work wait for calls: nothing more is claimed meanwhile."""
        return bool(self._waiting)

    def in_hand(self) -> int:
        """Calls that are reserved, not used and not run out."""
        now = self._clock()
        while self._hand and self._hand[0] <= now:
            self._hand.popleft()
        return len(self._hand)

    def add(self, calls: int, sent_at: float) -> None:
        """A script that was first sent at `sent_at` has reserved calls."""
        for _ in range(calls):
            self._give(sent_at + HAND_S)

    async def take(self) -> float:
        """One call; returns until when it must have been sent."""
        if not self._waiting and self.in_hand():
            return self._hand.popleft()
        waiter: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        if self._refill is None or self._refill.done():
            self._refill = asyncio.create_task(self._reserve(), name="onelane-reserve")
        try:
            return await waiter
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)

    async def throttled(self, wait_s: float) -> None:
        """Intercom answered 429: nobody calls before that time has passed, and what is in hand is dropped."""
        self._hand.clear()
        await self._store.reserve(0, throttled_ms=max(1, round(wait_s * 1000)))

    def close(self) -> None:
        """End the task that reserves."""
        if self._refill is not None:
            self._refill.cancel()

    async def _reserve(self) -> None:
        while self._waiting:
            sent_at = self._clock()
            reserved = await self._store.reserve(len(self._waiting))
            if self._clock() - sent_at < HAND_S:
                self.add(reserved.calls, sent_at)
            if self._waiting and reserved.wait_ms:
                await asyncio.sleep(reserved.wait_ms / 1000)

    def _give(self, until: float) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(until)
                return
        self._hand.append(until)
