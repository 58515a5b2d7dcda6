"""A world: one sandbox, one Redis database, and the workers between them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from redis import Redis

from onelane import ContactQueue
from onelane_sandbox.client import SandboxControl
from onelane_worker.cli._local_stack import Program

from .processes import READY, sandbox_program, wait_until, worker_program

LONG_LAG_S = 120.0
"""Far longer than any story: the index never shows what a story writes."""
SHORT_LAG_S = 0.4
"""Shorter than the settle window, for stories about writes of unknown result: the index is all they have."""

CALM: dict[str, object] = {
    "LEASE_S": 2,
    "HTTP_TIMEOUT_S": 2,
    "WRITE_TAIL_S": 0.5,
    "SEND_GRACE_S": 1,
    "SETTLE_WINDOW_S": 30,
    "SETTLE_MARGIN_S": 60,
    "REGISTRY_TTL_S": 300,
    "BACKOFF_BASE_S": 0.05,
    "BACKOFF_CAP_S": 0.3,
    "PARKED_RETRY_S": 0.2,
    "NEW_REDIS": "true",
}
"""The windows of production, shrunk. Nobody waits for the settle window: the index never catches up."""
STORMY: dict[str, object] = {**CALM, "HTTP_TIMEOUT_S": 1, "SETTLE_WINDOW_S": 2}
"""For stories about lost answers: they wait until a write can no longer commit, and for the index."""
STRICT: dict[str, object] = {**STORMY, "MAX_ATTEMPTS": 2}
"""For stories about giving up: on an intent, or on an index that shows what is no more."""

ATTRIBUTES = {"plan": "string", "seats": "integer", "left": "integer", "right": "integer"}


class World:
    """Everything a story needs, running. `close` ends it."""

    def __init__(
        self,
        name: str,
        redis_url: str,
        logs: Path,
        settings: Mapping[str, object] = CALM,
        *,
        lag_s: float = LONG_LAG_S,
        workers: int = 1,
    ) -> None:
        self.name = name
        self.redis_url = redis_url
        self.lag_s = lag_s
        self.weather = threading.RLock()
        """Held while there are faults that meet whoever comes, and by those whom they must not meet."""
        self.index = threading.Barrier(1)
        """All stories that begin with an indexed past meet here; then the index catches up, once."""
        self._logs = logs
        self.workers: list[Program] = []
        self._stack = ExitStack()
        try:
            self._begin(settings, workers)
        except BaseException:
            self.close()
            raise

    def _begin(self, settings: Mapping[str, object], workers: int) -> None:
        program = self._stack.enter_context(sandbox_program(self._logs / f"{self.name}-sandbox.log"))
        self.sandbox = SandboxControl(program.says(r"http://\S+")[0])
        self.settings: dict[str, object] = {
            "REDIS_URL": self.redis_url,
            "INTERCOM_URL": self.sandbox.url,
            "INTERCOM_TOKEN": "acceptance",
            **settings,
        }
        self.queue = self._stack.enter_context(ContactQueue.from_url(self.redis_url))
        self.redis: Redis = self._stack.enter_context(Redis.from_url(self.redis_url))
        self.start_workers(workers)

    def start_workers(self, count: int = 1, **settings: object) -> list[Program]:
        """Start workers and wait until they are ready."""
        started = [self.start_worker(settings) for _ in range(count)]
        for worker in started:
            worker.says(READY)
        return started

    def start_worker(self, settings: Mapping[str, object]) -> Program:
        """Start one, ready or not."""
        name = f"{self.name}{len(self.workers)}"
        program = worker_program(self._logs / f"{name}.log", name, {**self.settings, **settings})
        self.workers.append(program)
        return self._stack.enter_context(program)

    def seconds(self, setting: str) -> float:
        """A setting of the workers."""
        return float(str(self.settings[setting]))

    @property
    def commit_s(self) -> float:
        """How long a write of unknown result may still commit."""
        return sum(self.seconds(name) for name in ("SEND_GRACE_S", "HTTP_TIMEOUT_S", "WRITE_TAIL_S"))

    def renew(self, stories: int = 0, **switches: object) -> None:
        """An empty workspace with the attributes that stories use. `stories`: how many come to the index."""
        self.sandbox.reset()
        self.sandbox.lag(self.lag_s)
        for name, value in switches.items():
            self.sandbox.switch(name, value)
        for name, data_type in ATTRIBUTES.items():
            body = {"name": name, "model": "contact", "data_type": data_type}
            status, answer = self.sandbox.call("POST", "/data_attributes", body)
            assert status == 200, answer
        self.index = threading.Barrier(max(1, stories), action=self.sandbox.catch_up)

    def wait_for_call(self, method: str, path: str) -> None:
        """Wait until Intercom is at such a call."""

        def under_way() -> bool:
            calls = [one for one in self.sandbox.requests() if (one["method"], one["path"]) == (method, path)]
            return any(one["duration_ms"] is None for one in calls)

        wait_until(under_way, what=f"{method} {path} to be under way")

    def log(self) -> str:
        """All that the workers have said."""
        return "".join(worker.text for worker in self.workers)

    def close(self) -> None:
        """End all processes."""
        self._stack.close()


@contextmanager
def opened(name: str, redis_url: str, logs: Path, **options: Any) -> Iterator[World]:
    """A world, closed at the end."""
    world = World(name, redis_url, logs, **options)
    try:
        yield world
    finally:
        world.close()


OpenWorld = Callable[..., World]
