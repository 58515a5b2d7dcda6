"""Virtual time, and blocking code that takes turns.

The turn loop is ordinary blocking code. Each running turn gets a greenlet: where it has to wait, the loop of
events goes on in its place, and comes back to it when it is woken. One thing runs at a time, and the order of
all steps follows from the times of the events alone: one seed, one history.

Time jumps from event to event; an hour in which nothing happens costs nothing.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from greenlet import getcurrent, greenlet

Action = Callable[[], Any]


class Unwind(BaseException):
    """Ends a task where it stands: its process has died, or the history is over."""


class Process:
    """What dies, and what stands still, as one: a worker with all its tasks."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.frozen_until = 0.0


class Task:
    """A piece of blocking code."""

    __slots__ = ("greenlet", "label", "process", "run")

    def __init__(self, process: Process, run: Action, label: str) -> None:
        self.process = process
        self.run = run
        self.label = label
        self.greenlet: greenlet | None = None
        """None: not begun."""


class Alarm:
    """Wakes the task that waits for it, once: by `ring`, at the present time."""

    __slots__ = ("_scheduler", "_task", "rung", "value")

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._task: Task | None = None
        self.rung = False
        self.value: Any = None

    def ring(self, value: Any = None) -> None:
        if self.rung:
            return
        self.rung, self.value = True, value
        if self._task is not None:
            self._scheduler.wake(self._task)

    def wait(self) -> Any:
        """Block the running task until it rings; raises Unwind if its process is dead by then."""
        if not self.rung:
            self._task = self._scheduler.current
            self._scheduler.block()
        return self.value


class Scheduler:
    """Runs events in the order of their time."""

    def __init__(self, start: float, most_events: int = 30_000) -> None:
        self.now = start
        self.events = 0
        self._most_events = most_events
        self._order = itertools.count()
        self._heap: list[tuple[float, int, Action]] = []
        self._current: Task | None = None
        self._loop = getcurrent()
        self._blocked: dict[Task, None] = {}
        self._closing = False

    # --- for events

    @property
    def current(self) -> Task:
        """The task that is running."""
        assert self._current is not None
        return self._current

    def at(self, time: float, action: Action) -> None:
        """Do something at `time`."""
        heapq.heappush(self._heap, (max(time, self.now), next(self._order), action))

    def after(self, delay_s: float, action: Action) -> None:
        self.at(self.now + delay_s, action)

    def spawn(self, process: Process, run: Action, label: str = "") -> Task:
        """Begin a task now."""
        task = Task(process, run, label)
        self.wake(task)
        return task

    def wake(self, task: Task) -> None:
        """Let a task go on, at once or when its process is no longer frozen."""
        self.at(max(self.now, task.process.frozen_until), lambda: self._go_on(task))

    def _go_on(self, task: Task) -> None:
        if task.process.frozen_until > self.now:
            self.wake(task)
            return
        if task.greenlet is None:
            if not task.process.alive:
                return
            task.greenlet = greenlet(self._perform, self._loop)
        self._blocked.pop(task, None)
        self._current = task
        task.greenlet.switch(task)
        self._current = None

    def _perform(self, task: Task) -> None:
        with suppress(Unwind):
            task.run()

    # --- for tasks

    def block(self) -> None:
        """Let others run until somebody wakes the running task. Raises Unwind if its process has died."""
        task = self.current
        if not self._closing and task.process.alive:
            self._blocked[task] = None
            self._loop.switch()
        if self._closing or not task.process.alive:
            raise Unwind

    def sleep(self, delay_s: float) -> None:
        """Block the running task for a while."""
        task = self.current
        self.at(self.now + delay_s, lambda: self._go_on(task))
        self.block()

    # --- from outside

    def run(self) -> None:
        """Until no event is left. Raises what an event or a task raised."""
        while self._heap:
            self.now, _, action = heapq.heappop(self._heap)
            self.events += 1
            if self.events > self._most_events:
                raise AssertionError(f"no end after {self._most_events} events: something goes in circles")
            action()

    def close(self) -> None:
        """Unwind every task that still waits."""
        self._closing = True
        self._heap.clear()
        while self._blocked:
            task = next(iter(self._blocked))
            task.process.frozen_until = 0.0
            self._go_on(task)
