"""Calls in hand are used within half a second, and whoever waits for calls comes before new lanes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from tests.world.loop import Process, VirtualLoop

from onelane_worker.engine.rate_budget import HAND_S, RateBudget
from onelane_worker.lanes.types import Reserved


class Bucket:
    """Stands in for the lanes: gives what it is told to give."""

    def __init__(self, *answers: Reserved, takes_s: float = 0.001) -> None:
        self.answers = list(answers)
        self.takes_s = takes_s
        self.asked: list[tuple[int, int]] = []

    async def reserve(self, calls: int, throttled_ms: int = 0) -> Reserved:
        self.asked.append((calls, throttled_ms))
        await asyncio.sleep(self.takes_s)
        return self.answers.pop(0) if self.answers else Reserved(calls, 0)


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop(start_s=1000.0)
    yield loop
    loop.close()


def play(loop: VirtualLoop, story: Callable[[], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        return await story()

    return loop.complete(Process("engine"), run())


def budget_of(bucket: Bucket) -> RateBudget:
    return RateBudget(bucket, asyncio.get_running_loop().time)  # type: ignore[arg-type]


def test_a_call_that_a_claim_reserved_costs_no_further_request(loop: VirtualLoop) -> None:
    async def story() -> None:
        bucket = Bucket()
        budget = budget_of(bucket)
        budget.add(2, loop.time())
        assert await budget.take() == loop.time() + HAND_S
        assert budget.in_hand() == 1
        assert bucket.asked == []

    play(loop, story)


def test_a_call_runs_out_half_a_second_after_the_request_that_reserved_it(loop: VirtualLoop) -> None:
    async def story() -> None:
        budget = budget_of(Bucket())
        budget.add(3, loop.time())
        await asyncio.sleep(HAND_S)
        assert budget.in_hand() == 0

    play(loop, story)


def test_all_who_wait_are_reserved_for_at_once(loop: VirtualLoop) -> None:
    async def story() -> None:
        bucket = Bucket()
        budget = budget_of(bucket)
        takers = [asyncio.create_task(budget.take()) for _ in range(5)]
        await asyncio.gather(*takers)
        assert bucket.asked in ([(5, 0)], [(1, 0), (4, 0)])

    play(loop, story)


def test_who_waits_is_served_in_order_when_the_bucket_has_calls_again(loop: VirtualLoop) -> None:
    async def story() -> None:
        bucket = Bucket(Reserved(0, 300), Reserved(1, 300))
        budget = budget_of(bucket)
        served: list[int] = []

        async def take(number: int) -> None:
            await budget.take()
            served.append(number)

        first = asyncio.create_task(take(1))
        await asyncio.sleep(0)
        second = asyncio.create_task(take(2))
        await asyncio.sleep(0.01)
        assert budget.short
        await asyncio.gather(first, second)
        assert served == [1, 2]
        assert not budget.short

    play(loop, story)


def test_an_answer_that_took_too_long_gives_nothing(loop: VirtualLoop) -> None:
    async def story() -> None:
        bucket = Bucket(takes_s=HAND_S + 0.1)
        budget = budget_of(bucket)
        taker = asyncio.create_task(budget.take())
        await asyncio.sleep(HAND_S + 0.15)
        bucket.takes_s = 0.001
        assert not taker.done()
        assert await taker > loop.time()

    play(loop, story)


def test_a_429_drops_what_is_in_hand_and_tells_the_bucket(loop: VirtualLoop) -> None:
    async def story() -> None:
        bucket = Bucket()
        budget = budget_of(bucket)
        budget.add(4, loop.time())
        await budget.throttled(2.5)
        assert budget.in_hand() == 0
        assert bucket.asked == [(0, 2500)]

    play(loop, story)


def test_whoever_gave_up_waiting_leaves_its_call_to_the_next(loop: VirtualLoop) -> None:
    async def story() -> None:
        budget = budget_of(Bucket(Reserved(0, 200)))
        gone = asyncio.create_task(budget.take())
        await asyncio.sleep(0.01)
        gone.cancel()
        await asyncio.sleep(0.01)
        assert not budget.short
        assert await budget.take() > loop.time()

    play(loop, story)
