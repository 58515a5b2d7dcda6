"""Child processes of a command: started together, awaited by condition, stopped in order, none left behind.

Every child leads a session of its own. A Ctrl-C on the terminal therefore reaches the command alone, which
then stops its children one by one: first who writes, last who keeps.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

_POLL_S = 0.05
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class ChildFailed(Exception):
    """A child ended, or did not become ready. The text says which; `tail` is the end of its log."""

    def __init__(self, message: str, tail: str) -> None:
        super().__init__(message)
        self.tail = tail


class Interrupted(Exception):
    """The operator asked for the end."""


class Child:
    """One running child. Its output goes to a log file."""

    def __init__(self, name: str, command: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        self.name = name
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def tail(self, lines: int = 20) -> str:
        """The end of its log."""
        with self._log.open(errors="replace") as log:
            return "".join(deque(log, lines)).rstrip()

    def failed(self, what: str) -> ChildFailed:
        return ChildFailed(f"{self.name} {what}", self.tail())

    def stop(self, grace_s: float) -> None:
        """Ask it to end; after `grace_s`, kill it with all that it has started."""
        if self.exit_code is None:
            self._process.terminate()
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End the whole session of the child at once."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()


class Children:
    """The children of one command: a context manager whose end stops them, the last one started first."""

    def __init__(self, logs: Path, grace_s: float = 30.0) -> None:
        self._logs = logs
        self._grace_s = grace_s
        self._running: list[Child] = []
        self.asked_to_stop = threading.Event()
        self.hurry = False

    def start(self, name: str, command: Sequence[str], env: Mapping[str, str] | None = None) -> Child:
        """Start one. With no `env` it gets ours."""
        log = self._logs / f"{name.lower()}.log"
        child = Child(name, command, os.environ if env is None else env, log)
        self._running.append(child)
        return child

    def wait_until(self, ready: Callable[[], bool], child: Child, timeout_s: float = 60.0) -> None:
        """Wait for a condition that `child` brings about. Raises `ChildFailed` and `Interrupted`."""
        until = time.monotonic() + timeout_s
        while not ready():
            self.asked_to_stop.wait(_POLL_S)
            self.check()
            if time.monotonic() > until:
                raise child.failed(f"was not ready within {timeout_s:g} s")

    def check(self) -> None:
        """Raise `Interrupted` if the end was asked for, `ChildFailed` if a child has ended before that."""
        if self.asked_to_stop.is_set():
            raise Interrupted
        for child in self._running:
            if child.exit_code is not None:
                raise child.failed(f"ended by itself with exit code {child.exit_code}")

    def watch(self) -> None:
        """Stay until the end: raises `Interrupted`, or `ChildFailed` if a child ends before."""
        while True:
            self.asked_to_stop.wait(4 * _POLL_S)
            self.check()

    def ask_to_stop(self) -> None:
        """Begin the end; asked a second time, end at once."""
        self.hurry = self.asked_to_stop.is_set()
        self.asked_to_stop.set()
        if self.hurry:
            for child in self._running:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)

    def stop(self) -> None:
        """Stop all, the last one started first, each before the next."""
        while self._running:
            self._running[-1].stop(self._grace_s)
            self._running.pop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


@contextmanager
def stop_on_signals(children: Children) -> Iterator[None]:
    """Ctrl-C, SIGTERM and a closed terminal ask the children to stop instead of raising an exception."""
    before = {one: signal.signal(one, lambda *_: children.ask_to_stop()) for one in _STOP_SIGNALS}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
