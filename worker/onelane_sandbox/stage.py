"""A whole Onelane for other people's tests: a Redis, a real worker process, and a queue to speak to.

The worker is a process of its own, as in production: it shares no thread, no warning filter and no patched
clock with the tests. It is started once per run, which takes some seconds, and ends with the run, whatever
ends that.

Its windows are those of production, shrunk so that a lost answer costs a test some seconds and not minutes.
They rest on an index that lags for less than SETTLE_WINDOW_S: a test that loses answers keeps to that.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from redis import Redis

from onelane import ContactQueue
from onelane.keys import DEFAULT_WORKSPACE, WORKSPACES, Keys
from onelane.wakeup import Waker
from onelane_sandbox.client import SandboxControl
from onelane_worker.cli import _local_stack as local

WINDOWS: Mapping[str, object] = {
    "LEASE_S": 2,
    "HTTP_TIMEOUT_S": 2,
    "WRITE_TAIL_S": 0.5,
    "SEND_GRACE_S": 1,
    "REDIS_DURABLE": "true",  # it ends with the run, and `reset` alone forgets anything
    "SETTLE_WINDOW_S": 3,
    "SETTLE_MARGIN_S": 60,
    "SETTLE_CHECK": "false",  # nobody's test should find a search that it did not ask for
    "REGISTRY_TTL_S": 900,
    "BACKOFF_BASE_S": 0.05,
    "BACKOFF_CAP_S": 0.5,
    "PARKED_RETRY_S": 0.2,
}
"""Settings of the worker; the variable of each is ONELANE_ + its name."""


class Stage:
    """Redis, worker and queue: a context manager. `settings` go to the worker, over `WINDOWS`."""

    def __init__(self, sandbox: SandboxControl, settings: Mapping[str, object] | None = None) -> None:
        self._sandbox = sandbox
        self._settings = {
            **WINDOWS,
            "INTERCOM_URL": sandbox.url,
            "INTERCOM_TOKEN": sandbox.token,
            **(settings or {}),
        }
        self._workspace = str(self._settings.get("WORKSPACE", DEFAULT_WORKSPACE))
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="onelane-")))
            self._processes = stack.enter_context(local.LocalStack(folder))
            url = local.start_valkey(self._processes, local.free_port(), folder, local.IN_MEMORY)
            env = local.environment(**{**self._settings, "REDIS_URL": url})
            self._worker = local.start_worker(self._processes, env)
            self._redis: Redis = stack.enter_context(Redis.from_url(url, decode_responses=True))
            self._waker = Waker(url, self._workspace)
            stack.callback(self._waker.close)
            self.queue = stack.enter_context(ContactQueue.from_url(url, workspace=self._workspace))
            self._wait_until(lambda: local.is_ready(self._worker))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def log(self) -> Path:
        """What the worker says."""
        return self._worker.log

    def reset(self) -> None:
        """Forget everything. When this returns, nothing that came before is written any more.

        Without its keys the engine records no further write, and sends none. It drops what it is at, and
        begins anew: then it has made the workspace again. What Intercom is still at comes to its end.
        """
        keys = Keys(self._workspace)
        self._redis.unlink(WORKSPACES, *self._redis.scan_iter(f"{keys.prefix}*", count=1000))
        self._waker.wake()
        self._wait_until(lambda: self._redis.zcard(keys.key("engines")))
        self._wait_until(lambda: all(one["duration_ms"] is not None for one in self._sandbox.requests()))

    def _wait_until(self, condition: Callable[[], object]) -> None:
        self._processes.wait_until(condition, self._worker)
