"""The processes of a whole Onelane on one machine: Valkey, the sandbox, workers, Flower.

`up`, `demo`, the pytest fixtures and our own tests start them here: together, awaited by condition, stopped
in order, none left behind. Every process leads a session of its own, so a Ctrl-C on the terminal reaches the
command alone, which then stops its processes one by one: first who writes, last who keeps.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

T = TypeVar("T")
HOST: Final = "127.0.0.1"
SANDBOX_TOKEN: Final = "sandbox"  # any will do
FLOWER_COLUMNS: Final = "name,uuid,kwargs,state,retries,exception,result,received,runtime"
"""What a person wants of an intent's row. Flower's own choice hides the retries and why; the last columns are
beyond the edge of most screens."""
DURABLE: Final = {"appendonly": "yes", "appendfsync": "always", "save": "", "hash-max-listpack-value": "1024"}
"""Configuration of a Valkey that forgets nothing it has acknowledged, as in the compose file."""
IN_MEMORY: Final = {"appendonly": "no", "save": ""}
"""Configuration of a Valkey that ends with its data."""
PATIENCE_S: Final = 60.0
"""How long a process may take to get ready. Machines are busy."""
_POLL_S = 0.05
_HTTP_TIMEOUT_S = 5.0
_SAVE_MS = 10_000
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_CHILD = [sys.executable, "-P", "-m", "onelane_worker.cli._child"]
"""-P: without the current folder on the import path. It may hold a redis.py or a celery.py of the user's."""


class ChildFailed(Exception):
    """A process ended, or did not become ready. The text says which; `tail` is the end of its log."""

    def __init__(self, message: str, tail: str) -> None:
        super().__init__(message)
        self.add_note(tail)  # for a traceback
        self.tail = tail


class Interrupted(Exception):
    """The operator asked for the end."""


class Program:
    """A process with a log file. It may be started again after its end."""

    def __init__(self, name: str, command: Sequence[str], env: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        self._command = list(command)
        self._env = dict(env)
        self._process: subprocess.Popen[bytes] | None = None
        self._log_begins = 0

    def start(self) -> Self:
        """Begin; does not wait until it is ready."""
        with self.log.open("ab") as output:
            self._log_begins = output.tell()
            self._process = subprocess.Popen(
                self._command,
                env=self._env,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self

    @property
    def pid(self) -> int:
        """0 before the first start."""
        return 0 if self._process is None else self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs, or before it was started."""
        return None if self._process is None else self._process.poll()

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def text(self) -> str:
        """All that it has said since its last start."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as log:
            log.seek(self._log_begins)
            return log.read().decode(errors="replace")

    def tail(self, lines: int = 20) -> str:
        """The end of its log."""
        return "\n".join(deque(self.text.splitlines(), lines)).rstrip()

    def says(self, pattern: str, timeout_s: float = PATIENCE_S) -> re.Match[str]:
        """Wait for text that matches. Raises `ChildFailed` if it ends before, or takes too long."""
        until = time.monotonic() + timeout_s
        while (found := re.search(pattern, self.text)) is None:
            if not self.running:
                raise self.failed(f"ended without saying {pattern!r}")
            if time.monotonic() > until:
                raise self.failed(f"did not say {pattern!r} within {timeout_s:g} s")
            time.sleep(_POLL_S)
        return found

    def failed(self, what: str) -> ChildFailed:
        return ChildFailed(f"{self.name} {what}", self.tail())

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the process, if it still runs."""
        if self._process is not None:
            self._process.send_signal(number)

    def join(self, timeout_s: float = PATIENCE_S) -> int:
        """Wait for its end; the exit code. Raises `ChildFailed`."""
        assert self._process is not None
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise self.failed(f"did not end within {timeout_s:g} s") from None

    def stop(self, grace_s: float = 20.0) -> None:
        """Ask it to end; after `grace_s`, kill it with all that it has started."""
        if self._process is None:
            return
        self.send(signal.SIGTERM)
        self.send(signal.SIGCONT)  # one that is held still could not obey
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self.kill()
        self._close_pipe()

    def kill(self) -> None:
        """End the whole session of the process at once; returns when it is dead."""
        if self._process is not None:
            self.signal_all(signal.SIGKILL)
            self._process.wait()
            self._close_pipe()

    def signal_all(self, number: signal.Signals) -> None:
        """Send a signal to the process and all that it has started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def _close_pipe(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class LocalStack:
    """The processes of one command: a context manager whose end stops them, the last one started first."""

    def __init__(self, logs: Path, grace_s: float = 30.0) -> None:
        self.logs = logs
        self._grace_s = grace_s
        self._running: list[Program] = []
        self.asked_to_stop = threading.Event()
        self.hurry = False

    def start(self, name: str, command: Sequence[str], env: Mapping[str, str] | None = None) -> Program:
        """Start one. With no `env` it gets ours."""
        log = self.logs / f"{name.lower()}.log"
        program = Program(name, command, os.environ if env is None else env, log).start()
        self._running.append(program)
        return program

    def wait_until(self, ready: Callable[[], T], program: Program, timeout_s: float = PATIENCE_S) -> T:
        """Wait for a condition that `program` brings about; its first true value.

        Raises `ChildFailed` and `Interrupted`.
        """
        until = time.monotonic() + timeout_s
        while not (value := ready()):
            self.asked_to_stop.wait(_POLL_S)
            self.check()
            if time.monotonic() > until:
                raise program.failed(f"was not ready within {timeout_s:g} s")
        return value

    def check(self) -> None:
        """Raise `Interrupted` if the end was asked for, `ChildFailed` if a process has ended before that."""
        if self.asked_to_stop.is_set():
            raise Interrupted
        for program in self._running:
            if program.exit_code is not None:
                raise program.failed(f"ended by itself with exit code {program.exit_code}")

    def watch(self) -> None:
        """Stay until the end: raises `Interrupted`, or `ChildFailed` if a process ends before."""
        while True:
            self.asked_to_stop.wait(4 * _POLL_S)
            self.check()

    def ask_to_stop(self) -> None:
        """Begin the end; asked a second time, end at once."""
        self.hurry = self.asked_to_stop.is_set()
        self.asked_to_stop.set()
        if self.hurry:
            for program in self._running:
                program.signal_all(signal.SIGKILL)

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
def stop_on_signals(stack: LocalStack) -> Iterator[None]:
    """Ctrl-C, SIGTERM and a closed terminal ask the processes to stop instead of raising an exception."""
    before = {one: signal.signal(one, lambda *_: stack.ask_to_stop()) for one in _STOP_SIGNALS}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


# ── the parts ─────────────────────────────────────────────────────────────────────────────────────────────


def environment(inherited: Mapping[str, str] = os.environ, /, **settings: object) -> dict[str, str]:
    """An environment with these settings of Onelane and no others: `LEASE_S=2` is ONELANE_LEASE_S."""
    rest = {name: value for name, value in inherited.items() if not name.startswith("ONELANE_")}
    return rest | {f"ONELANE_{name}": str(value) for name, value in settings.items()}


def free_port() -> int:
    """A port that nobody has."""
    with socket.create_server((HOST, 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def http_url(port: int) -> str:
    """Where the sandbox or the Flower of this port is."""
    return f"http://{HOST}:{port}"


def redis_url(port: int) -> str:
    """Where the embedded Valkey of this port is."""
    return f"redis://{HOST}:{port}/0"


def start_valkey(stack: LocalStack, port: int, directory: Path, config: Mapping[str, str] = DURABLE) -> str:
    """An embedded Valkey that answers; returns its URL."""
    words = [f"{name}={value}" for name, value in config.items()]
    valkey = stack.start("Valkey", [*_CHILD, "valkey", str(port), str(directory), *words])
    stack.wait_until(lambda: redis_answers(redis_url(port)), valkey)
    return redis_url(port)


def start_sandbox(stack: LocalStack, port: int, index_lag: str, attributes: Sequence[str] = ()) -> Program:
    """A sandbox as `onelane sandbox` runs it, on this port; it is ready once `sandbox_answers`."""
    options = ["--host", HOST, "--port", str(port), "--index-lag", index_lag]
    return stack.start(
        "Sandbox", [*_CHILD, "sandbox", *options, *(f"--attribute={one}" for one in attributes)]
    )


def worker_command(*options: str) -> list[str]:
    """A worker process as `onelane worker` runs it, with these options."""
    return [*_CHILD, "worker", *options]


def start_worker(stack: LocalStack, env: Mapping[str, str], *options: str, name: str = "Worker") -> Program:
    """A worker; it is ready once `is_ready`."""
    return stack.start(name, worker_command(*options), env)


def start_flower(stack: LocalStack, port: int, directory: Path, env: Mapping[str, str]) -> Program:
    """Flower; it is ready once `flower_sees_a_worker`. What it has seen is kept in `directory`.

    It writes nothing, so it gets no token of Intercom. Its API stays closed: open to callers without a login
    it would be open to every web page in this machine's browser.
    """
    options = [f"--address={HOST}", f"--port={port}", f"--tasks_columns={FLOWER_COLUMNS}"]
    options += ["--persistent=True", f"--db={directory / 'flower'}", f"--state_save_interval={_SAVE_MS}"]
    allowed = {name: value for name, value in env.items() if name != "ONELANE_INTERCOM_TOKEN"}
    return stack.start("Flower", [*_CHILD, "flower", *options], allowed)


def is_ready(worker: Program) -> bool:
    """Whether the worker serves, and listens to the broker."""
    return re.search(r"\S+@\S+ ready\.", worker.text) is not None


def sandbox_answers(url: str) -> bool:
    """Whether the sandbox serves."""
    return http_json(f"{url}/_sandbox/index") is not None


def flower_sees_a_worker(url: str) -> bool:
    """Whether Flower serves, and has heard a worker."""
    answer = http_json(f"{url}/workers?json=1")
    return bool(isinstance(answer, dict) and answer.get("data"))


def redis_answers(url: str) -> bool:
    """Whether a Redis serves there."""
    import redis

    with redis.Redis.from_url(url) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:  # not yet, or still loading what it kept
            return False


def http_json(url: str) -> object:
    """The JSON behind a local URL; None if there is none (yet)."""
    from urllib.request import ProxyHandler, build_opener  # late: it takes a while to load

    try:
        with build_opener(ProxyHandler({})).open(url, timeout=_HTTP_TIMEOUT_S) as response:
            answer: object = json.load(response)
            return answer
    except (OSError, ValueError):
        return None
