"""The event loop in virtual time: what it promises to the simulation that is built on it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from .loop import Process, VirtualLoop

START_S = 1_000.0


@pytest.fixture
def loop() -> Iterator[VirtualLoop]:
    loop = VirtualLoop(START_S)
    yield loop
    loop.close()


async def _sleeper(delay_s: float, said: list[float]) -> None:
    while True:
        await asyncio.sleep(delay_s)
        said.append(asyncio.get_running_loop().time())


def test_hours_pass_at_once(loop: VirtualLoop) -> None:
    loop.complete(Process("one"), asyncio.sleep(86_400))
    assert loop.now == START_S + 86_400


def test_a_time_out_ends_what_takes_longer(loop: VirtualLoop) -> None:
    async def late() -> None:
        async with asyncio.timeout(5):
            await asyncio.sleep(6)

    with pytest.raises(TimeoutError):
        loop.complete(Process("one"), late())
    assert loop.now == START_S + 5


def test_each_process_has_its_own_clock(loop: VirtualLoop) -> None:
    async def hour() -> tuple[float, float]:
        began = asyncio.get_running_loop().time()
        await asyncio.sleep(3_600)
        return began, asyncio.get_running_loop().time()

    began, ended = loop.complete(Process("fast", skew_s=50, rate=1.25), hour())
    assert (began, ended - began) == (START_S * 1.25 + 50, 3_600)
    assert loop.now == START_S + 3_600 / 1.25


def test_a_frozen_process_stands_still_and_goes_on(loop: VirtualLoop) -> None:
    frozen, other = Process("frozen"), Process("other")
    late: list[float] = []
    punctual: list[float] = []
    loop.spawn(frozen, _sleeper(1, late))
    loop.spawn(other, _sleeper(1, punctual))
    frozen.frozen_until_s = START_S + 10
    loop.run_until(lambda: False, START_S + 12.5)
    assert late == [START_S + 11, START_S + 12]
    assert punctual == [START_S + n for n in range(1, 13)]


def test_a_dead_process_never_runs_again_not_even_its_cleanup(loop: VirtualLoop) -> None:
    process, said = Process("dead"), list[str]()

    async def work() -> None:
        try:
            await asyncio.sleep(1)
        finally:
            said.append("cleanup")

    loop.spawn(process, work())
    loop.run_until(lambda: False, START_S + 0.5)
    process.alive = False
    loop.run_until(lambda: False, START_S + 5)
    assert said == []


def test_idle_time_is_skipped_up_to_the_next_event_of_the_world(loop: VirtualLoop) -> None:
    ticks: list[float] = []
    loop.spawn(Process("idle"), _sleeper(1, ticks))
    loop.idle_until = lambda: START_S + 1_000
    events: list[float] = []
    loop.at(START_S + 500, lambda: events.append(loop.now))
    loop.run_until(lambda: False, START_S + 1_001)
    assert events == [START_S + 500]
    assert ticks == [START_S + 500, START_S + 1_000, START_S + 1_001]


def test_what_goes_in_circles_is_told(loop: VirtualLoop) -> None:
    async def circle() -> None:
        while True:
            await asyncio.sleep(0)

    small = VirtualLoop(START_S, most_steps=100)
    small.spawn(Process("one"), circle())
    with pytest.raises(AssertionError, match="in circles"):
        small.run_until(lambda: False)
    small.close()
