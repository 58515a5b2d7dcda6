"""An asyncio event loop in virtual time, for several processes at once.

Time jumps from one event to the next; an hour in which nothing happens costs nothing. One thing runs at a
time, and the order of all steps follows from their times alone, so a seed is always the same history.

The code under test runs in a `Process`: what is begun there belongs to it (by a context variable).
A process has its own monotonic clock; it can be frozen, and it can be killed: what belongs to it is then
never run again.
"""

from __future__ import annotations

import asyncio
import heapq
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context, ContextVar, copy_context
from typing import Any, TypeVar

T = TypeVar("T")
_Timer = tuple[float, int, events.Handle]
_owner: ContextVar[Process | None] = ContextVar("process", default=None)


class Process:
    """A simulated operating-system process: it dies, stands still and reads its clock as one.

    `skew_s` and `rate`: its monotonic clock is `rate` × the world's time + `skew_s`.
    """

    def __init__(self, name: str, skew_s: float = 0.0, rate: float = 1.0) -> None:
        self.name = name
        self.skew_s = skew_s
        self.rate = rate
        self.alive = True
        self.frozen_until_s = 0.0
        self.context = copy_context()
        self.context.run(_owner.set, self)


class VirtualLoop(asyncio.BaseEventLoop):
    """`now` is the world's time in seconds; `time()` is the clock of the process that is running."""

    def __init__(self, start_s: float, most_steps: int = 5_000_000) -> None:
        super().__init__()
        self.now = start_s
        self.steps = 0
        self.idle_until: Callable[[], float] = lambda: 0.0
        """Until when nothing of interest can happen but events of the world: the timers of processes then
        fire late, and once, in place of thousands of times."""
        self.most_steps = most_steps
        self._running: Process | None = None
        self._order = 0
        self._soon: deque[events.Handle] = deque()
        self._timers: list[_Timer] = []
        self._events: list[_Timer] = []
        self._world = copy_context()
        self._world.run(_owner.set, None)

    # ── asyncio's side ──

    def time(self) -> float:
        process = self._running
        return self.now if process is None else self.now * process.rate + process.skew_s

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> events.Handle:
        handle = events.Handle(callback, args, self, context)
        self._soon.append(handle)
        return handle

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> events.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> events.TimerHandle:
        process = self._running
        at_s = when if process is None else (when - process.skew_s) / process.rate
        handle = events.TimerHandle(when, callback, args, self, context)
        self._push(self._timers, at_s, handle)
        return handle

    def _timer_handle_cancelled(self, handle: events.TimerHandle) -> None: ...

    def get_debug(self) -> bool:
        return False

    # ── the world's side ──

    def at(self, time_s: float, action: Callable[[], object]) -> events.Handle:
        """Do something at a time of the world, outside all processes."""
        handle = events.Handle(action, (), self, self._world)
        self._push(self._events, time_s, handle)
        return handle

    def after(self, delay_s: float, action: Callable[[], object]) -> events.Handle:
        return self.at(self.now + delay_s, action)

    @property
    def has_events(self) -> bool:
        """Is something of the world's still to come?"""
        return _first(self._events) is not None

    def spawn(self, process: Process, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Begin a task of a process."""
        return process.context.run(self.create_task, coroutine)

    def run_until(self, done: Callable[[], bool], until_s: float = float("inf")) -> bool:
        """Go on until `done()`, the given time, or the end of all events. Whether it is done.

        Raises AssertionError if it goes in circles.
        """
        before = events._get_running_loop()
        events._set_running_loop(self)
        try:
            while not done():
                if not self._step(until_s):
                    self.now = max(self.now, until_s) if until_s != float("inf") else self.now
                    return done()
            return True
        finally:
            events._set_running_loop(before)

    def complete(self, process: Process, coroutine: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine that is run in a process."""
        task = self.spawn(process, coroutine)
        assert self.run_until(task.done), "it never ended"
        return task.result()

    def close(self) -> None:
        """End everything that still waits, without letting it wait again."""
        self._soon.clear()
        self._timers.clear()
        self._events.clear()
        for task in asyncio.all_tasks(self):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            with suppress(RuntimeError):  # it wants to wait in its `finally`
                task.get_coro().close()
        self._soon.clear()
        self._timers.clear()
        self._events.clear()
        super().close()

    # ── inside ──

    def _push(self, timers: list[_Timer], at_s: float, handle: events.Handle) -> None:
        self._order += 1
        heapq.heappush(timers, (at_s if at_s > self.now else self.now, self._order, handle))

    def _step(self, until_s: float) -> bool:
        """Run one handle; False if there is none before `until_s`."""
        handle = self._soon.popleft() if self._soon else self._next(until_s)
        if handle is None:
            return False
        if not handle._cancelled:
            self._run(handle)
        return True

    def _next(self, until_s: float) -> events.Handle | None:
        """Move the clock to the first timer."""
        timer, event = _first(self._timers), _first(self._events)
        if timer is None and event is None:
            return None
        if timer is not None and timer[0] > self.now and (event is None or timer < event):
            idle_s = min(self.idle_until(), until_s, event[0] if event else until_s)
            if timer[0] < idle_s < float("inf"):
                self.now = idle_s
        chosen, heap = timer, self._timers
        if timer is None or (event is not None and event < timer):
            chosen, heap = event, self._events
        assert chosen is not None
        if chosen[0] > until_s:
            return None
        heapq.heappop(heap)
        self.now = max(self.now, chosen[0])
        return chosen[2]

    def _run(self, handle: events.Handle) -> None:
        process = handle._context.get(_owner)  # type: ignore[attr-defined]
        if process is not None:
            if not process.alive:
                return
            if process.frozen_until_s > self.now:
                self._push(self._timers, process.frozen_until_s, handle)
                return
        self.steps += 1
        if self.steps > self.most_steps:
            raise AssertionError(f"no end after {self.most_steps} steps: something goes in circles")
        self._running = process
        try:
            handle._run()
        finally:
            self._running = None


def _first(timers: list[_Timer]) -> _Timer | None:
    """The first that is not cancelled."""
    while timers and timers[0][2]._cancelled:
        heapq.heappop(timers)
    return timers[0] if timers else None
