"""Virtual time, and threads of which exactly one runs.

The turn loop is ordinary blocking code. Each running turn gets a thread, and a baton is handed from thread to
thread: whoever has to wait looks itself which event comes next, and hands the baton on only if that event
belongs to another thread. So a history in which one turn runs costs no switch at all, and the order of all
steps follows from the times of the events alone: one seed, one history.

Time jumps from event to event; an hour in which nothing happens costs nothing.
"""

from __future__ import annotations

import heapq
import itertools
import threading
from collections.abc import Callable
from typing import Any

Action = Callable[[], Any]
STACK_BYTES = 512 * 1024


class Unwind(BaseException):
    """Ends a thread where it stands: its process has died, or the history is over."""


class Process:
    """What dies, and what stands still, as one: a worker with all its threads."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.frozen_until = 0.0


class Task:
    """A piece of blocking code on a thread of its own."""

    __slots__ = ("done", "label", "process", "run", "thread")

    def __init__(self, process: Process, run: Action, label: str) -> None:
        self.process = process
        self.run = run
        self.label = label
        self.thread: _Thread | None = None
        self.done = False


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
    """Runs events in the order of their time. Not for two threads at once, and it never needs to be."""

    def __init__(self, start: float, most_events: int = 10_000) -> None:
        self.now = start
        self.events = 0
        self.failure: BaseException | None = None
        self._most_events = most_events
        self._order = itertools.count()
        self._heap: list[tuple[float, int, Action]] = []
        self._next: Task | None = None
        self._current: Task | None = None
        self._main = threading.Lock()
        self._main.acquire()
        self._blocked: dict[Task, None] = {}
        self._closing = False

    # --- for events

    @property
    def current(self) -> Task:
        """The task that is running."""
        assert self._current is not None
        return self._current

    def at(self, time: float, action: Action) -> None:
        """Do something at `time`, in the thread of whoever has the baton then."""
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
        self.at(max(self.now, task.process.frozen_until), lambda: self._chosen(task))

    def _chosen(self, task: Task) -> None:
        if task.process.frozen_until > self.now:
            self.wake(task)
        elif task.thread is None and not task.process.alive:
            task.done = True
        else:
            self._next = task

    # --- for tasks

    def block(self) -> None:
        """Give the baton away until somebody wakes the running task."""
        task = self.current
        if not self._closing and task.process.alive:
            self._blocked[task] = None
            self._pass_on(task.thread)
            del self._blocked[task]
            self._current = task
        if self._closing or not task.process.alive:
            raise Unwind

    def sleep(self, delay_s: float) -> None:
        """Block the running task for a while."""
        task = self.current
        self.at(self.now + delay_s, lambda: self._chosen(task))
        self.block()

    # --- from outside

    def run(self) -> None:
        """Until no event is left. Raises what an event or a task raised."""
        self._pass_on(None)
        if self.failure is not None:
            raise self.failure

    def close(self) -> None:
        """Unwind every task that still waits."""
        self._closing = True
        self._heap.clear()
        while self._blocked:
            self._hand_to(next(iter(self._blocked)))
            self._main.acquire()

    # --- the baton

    def _pick(self) -> Task | None:
        """Run events until one of them chooses a task; None when nothing is left."""
        if self._closing:
            return None
        try:
            while self._heap:
                self._next = None
                self.now, _, action = heapq.heappop(self._heap)
                self.events += 1
                if self.events > self._most_events:
                    raise AssertionError(
                        f"no end after {self._most_events} events: something goes in circles"
                    )
                action()
                if self._next is not None:
                    return self._next
        except BaseException as failure:
            self.failure = self.failure or failure
        return None

    def _pass_on(self, thread: _Thread | None) -> None:
        """Hand the baton to whom it belongs now, and come back when it is `thread`'s (None: main's) again."""
        task = self._pick()
        if task is not None and thread is not None and task.thread is thread:
            return
        self._hand_to(task)
        (self._main if thread is None else thread.baton).acquire()

    def _hand_to(self, task: Task | None) -> None:
        if task is None:
            self._main.release()
            return
        if task.thread is None:
            task.thread = _threads.pop() if _threads else _Thread()
            task.thread.work = (self, task)
        task.thread.baton.release()

    def _finish(self, task: Task) -> Task | None:
        """The rest of a thread's life after its task: another task that begins here, or None."""
        task.done = True
        following = self._pick()
        if following is not None and following.thread is None:
            return following
        thread = task.thread
        assert thread is not None
        _threads.append(thread)
        self._hand_to(following)
        return None

    def _perform(self, task: Task) -> None:
        self._current = task
        try:
            if task.process.alive and not self._closing:
                task.run()
        except Unwind:
            pass
        except BaseException as failure:
            self.failure = self.failure or failure
            self._closing = True


class _Thread:
    """A thread to be lent to one task after the other."""

    def __init__(self) -> None:
        self.baton = threading.Lock()
        self.baton.acquire()
        self.work: tuple[Scheduler, Task] | None = None
        before = threading.stack_size(STACK_BYTES)
        try:
            threading.Thread(target=self._live, daemon=True, name="simulated").start()
        finally:
            threading.stack_size(before)

    def _live(self) -> None:
        while True:
            self.baton.acquire()
            assert self.work is not None
            scheduler, task = self.work
            following: Task | None = task
            while following is not None:
                task, following.thread = following, self
                scheduler._perform(task)
                following = scheduler._finish(task)


_threads: list[_Thread] = []
"""Idle ones; they outlive a history."""
