"""The thread of the engine: poked and stopped from elsewhere, made anew after Redis was emptied, watched."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from onelane_worker.engine.thread import STUCK, EngineThread
from onelane_worker.lanes.types import NoWorkspace

PATIENCE_S = 20.0


class StandIn:
    """An engine that does nothing until it is stopped, or as it is told."""

    def __init__(self, run: Callable[[StandIn], Any] | None = None) -> None:
        self._run = run
        self.wakes = 0
        self.poked = asyncio.Event()
        self.stopped = asyncio.Event()

    async def run(self) -> None:
        if self._run is not None:
            await self._run(self)
        else:
            await self.stopped.wait()

    def poke(self, wakes: int) -> None:
        self.wakes += wakes
        self.poked.set()

    def stop(self) -> None:
        self.stopped.set()


@dataclass
class Made:
    """A thread, the engines that it has made, and how it ended."""

    runs: list[Callable[[StandIn], Any] | None]
    engines: list[StandIn] = field(default_factory=list)
    closed: int = 0
    ends: list[BaseException | None] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.thread = EngineThread(self.make, self.on_end)

    @asynccontextmanager
    async def make(self) -> AsyncIterator[StandIn]:
        engine = StandIn(self.runs[len(self.engines)])
        self.engines.append(engine)
        try:
            yield engine
        finally:
            self.closed += 1

    def on_end(self, error: BaseException | None) -> None:
        self.ends.append(error)
        self.ended.set()


@pytest.fixture
def threads() -> Iterator[Callable[..., Made]]:
    made: list[Made] = []

    def make(*runs: Callable[[StandIn], Any] | None) -> Made:
        made.append(Made(list(runs) or [None]))
        return made[-1]

    yield make
    for one in made:
        one.thread.stop()
        one.thread.stop()
        one.thread.join()


def wait_until(condition: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_wake_ups_reach_the_engine_from_any_thread(threads: Callable[..., Made]) -> None:
    made = threads()
    made.thread.start()
    made.thread.poke()
    made.thread.poke(2)
    wait_until(lambda: made.engines[0].wakes == 3)


def test_it_ends_when_the_engine_has_handed_back(threads: Callable[..., Made]) -> None:
    made = threads()
    made.thread.start()

    made.thread.stop()
    made.thread.join()

    assert (made.closed, made.ends) == (1, [None])
    made.thread.poke()  # a message that came late: nobody is there, and nothing fails


def test_asked_twice_it_ends_at_once(threads: Callable[..., Made]) -> None:
    async def never(engine: StandIn) -> None:
        await asyncio.Event().wait()

    made = threads(never)
    made.thread.start()

    made.thread.stop()
    assert not made.ended.wait(0.1)
    made.thread.stop()
    made.thread.join()

    assert (made.closed, made.ends) == (1, [None])


def test_after_redis_was_emptied_another_engine_serves(threads: Callable[..., Made]) -> None:
    async def emptied(engine: StandIn) -> None:
        await engine.poked.wait()
        raise NoWorkspace

    made = threads(emptied, None)
    made.thread.start()
    made.thread.poke()
    wait_until(lambda: len(made.engines) == 2)

    made.thread.poke()

    wait_until(lambda: made.engines[1].wakes == 1)
    assert (made.closed, made.ends) == (1, [])


def test_an_engine_that_fails_is_told(threads: Callable[..., Made]) -> None:
    async def fail(engine: StandIn) -> None:
        await engine.poked.wait()
        raise ZeroDivisionError

    made = threads(fail)
    made.thread.start()
    made.thread.poke()

    assert made.ended.wait(PATIENCE_S)
    assert isinstance(made.ends[0], ZeroDivisionError)


def test_what_keeps_the_first_engine_from_being_made_is_raised_where_it_is_started() -> None:
    @asynccontextmanager
    async def make() -> AsyncIterator[StandIn]:
        raise ValueError("another workspace's")
        yield StandIn()

    ends: list[object] = []
    thread = EngineThread(make, ends.append)

    with pytest.raises(ValueError, match="another workspace's"):
        thread.start()
    thread.join()
    assert ends == []


def test_it_can_be_stopped_while_it_waits_for_redis() -> None:
    waiting = threading.Event()

    @asynccontextmanager
    async def make() -> AsyncIterator[StandIn]:
        waiting.set()
        await asyncio.Event().wait()
        yield StandIn()

    thread = EngineThread(make, lambda error: None)
    starting = threading.Thread(target=thread.start)
    starting.start()
    assert waiting.wait(PATIENCE_S)

    thread.stop()
    starting.join(PATIENCE_S)
    thread.join()

    assert not starting.is_alive()


WATCHED = """
import asyncio, sys, time
from contextlib import asynccontextmanager
from onelane_worker.engine import thread
thread.BEAT_S, thread.LOOK_S = 0.05, 0.1

class Engine:
    async def run(self):
        print("running", flush=True)
        {run}
    def stop(self): ...
    def poke(self, wakes): ...

@asynccontextmanager
async def make():
    yield Engine()

engine = thread.EngineThread(make, lambda error: None)
engine.start()
engine.join()
"""


def watched(run: str) -> subprocess.Popen[str]:
    code = WATCHED.format(run=run)
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_process_whose_loop_stands_still_ends_and_says_where() -> None:
    with watched("time.sleep(3600)") as process:
        _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == STUCK
    assert "time.sleep" not in err  # a dump names files and lines
    assert "in run" in err


def test_a_process_that_was_held_still_and_goes_on_is_not_stuck() -> None:
    with watched("await asyncio.sleep(1.5); print('done', flush=True)") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "running\n"
        process.send_signal(signal.SIGSTOP)
        time.sleep(1.5)  # far longer than a loop may stand still here: the time itself is the point
        process.send_signal(signal.SIGCONT)
        out, err = process.communicate(timeout=PATIENCE_S)
    assert (process.returncode, out, err) == (0, "done\n", "")
