"""The wake-up: an anonymous Celery message that says "a lane of this workspace is ready".

It carries no data and no right: a lost, doubled or late one changes latency and nothing else, because engines
look for ready lanes by themselves, too. So nothing here raises for a broker that is away.

The message follows Celery's message protocol, version 2. It is written here and not by `send_task`, because a
service need not have Celery.
"""

# mypy: allow-untyped-calls
# (kombu is typed only in part)

from __future__ import annotations

import json
import logging
import os
import secrets
import threading
import time
import weakref
from collections.abc import Callable
from functools import cache
from typing import Any, Final, Self

from kombu.connection import Connection
from kombu.entity import Exchange, Queue
from kombu.exceptions import LimitExceeded
from kombu.messaging import Producer
from kombu.pools import ProducerPool

from onelane import tls
from onelane.keys import wake_queue
from onelane.settings import QueueSettings
from onelane.tls import Target

logger = logging.getLogger(__name__)

TASK: Final = "onelane.wake"
"""Name of the Celery task; its only argument is the workspace."""
BROKER_TIMEOUT_S = 1.0
"""Most seconds for connecting to the broker, and for one answer of it."""
PAUSE_S = 5.0
"""Seconds for which nothing is sent after a failure: a dead broker is paid for once, not by every caller."""
BUSY_S = 5.0
"""Most seconds to wait for a connection while other threads use them all: no failure of the broker."""
_POOL_SIZE = 8  # connections; threads beyond that wait for one
_REDIS_SCHEMES = ("redis", "rediss", "redis+socket", "sentinel")
_ONE_RETRY = {"max_retries": 1, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.1}


@cache
def celery_queue(workspace: str) -> Queue:
    """A workspace's queue as both sides must declare it: producers here, workers as `task_queues`."""
    name = wake_queue(workspace)
    return Queue(name, Exchange(name, type="direct"), routing_key=name)


class Waker:
    """Sends wake-ups, or gives up soon.

    It has a pool of connections of its own: neither the host's Celery app nor a forked child shares it.
    """

    def __init__(
        self,
        broker_url: str,
        workspace: str,
        ca_file: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._broker = tls.target(broker_url, ca_file)
        self._workspace = workspace
        self._clock = clock
        self._paused_until_s = float("-inf")
        self._inherited: list[ProducerPool] = []
        self._start_over()
        _wakers.add(self)

    @classmethod
    def of(cls, settings: QueueSettings) -> Self:
        """The waker of the settings' broker and workspace."""
        return cls(settings.broker, settings.workspace, settings.ca_file)

    def _start_over(self) -> None:
        self._lock = threading.Lock()
        self._pool: ProducerPool | None = None

    def _leave_to_parent(self) -> None:
        """In a forked child: the sockets are the parent's, and dropping the pool might close them."""
        if self._pool is not None:
            self._inherited.append(self._pool)
        self._start_over()

    def wake(self, count: int = 1) -> bool:
        """Send this many wake-ups. False, and a line in the log, if the broker did not take them all.

        A script has said how many, and has counted them as being under way.
        """
        try:
            return self._send(count)
        except LimitExceeded:
            logger.warning(
                "%d wake-up(s) not sent, workers will find the lanes by themselves: other threads have used "
                "all %d connections to the broker for %g s",
                count, _POOL_SIZE, BUSY_S,
                extra={"action": "wake_not_sent"},
            )  # fmt: skip
        except Exception as error:  # whatever it is: the intents are stored, and a worker's timer finds them
            self._paused_until_s = self._clock() + PAUSE_S
            logger.warning(
                "the broker did not take %d wake-up(s), workers will find the lanes by themselves; "
                "no further try for %g s: %s: %s",
                count, PAUSE_S, type(error).__name__, error,
                extra={"action": "wake_not_sent"},
            )  # fmt: skip
        return False

    def _send(self, count: int) -> bool:
        """False if the broker is known to be dead. Raises kombu's errors, and those of the transport."""
        producer = None if self._paused() else self._producer()
        if producer is None:
            return False
        with producer:
            if self._paused():  # the thread that had this connection has found the broker dead
                return False
            if count == 1 or not getattr(producer, "supports_batch_publish", False):  # kombu 5.7
                for _ in range(count):
                    self._publish(producer, retry=True)
                return True
            with producer.batch():
                for _ in range(count):
                    self._publish(producer, retry=False)
        return True

    def _publish(self, producer: Producer, *, retry: bool) -> None:
        """Send one; with `retry`, once more over a new connection if this one turns out to be dead."""
        queue = celery_queue(self._workspace)
        producer.publish(
            json.dumps([[self._workspace], {}, {}], separators=(",", ":")),
            exchange="",
            routing_key=queue.name,
            content_type="application/json",
            content_encoding="utf-8",
            headers={"lang": "py", "task": TASK, "id": secrets.token_hex(16), "ignore_result": True},
            declare=[queue],
            retry=retry,
            retry_policy=_ONE_RETRY if retry else None,
        )

    def _producer(self) -> Producer | None:
        """A connection that nobody uses now; None if meanwhile the broker was found dead."""
        give_up_s = self._clock() + BUSY_S
        while True:
            try:
                free: Producer = self._producers().acquire(block=True, timeout=BROKER_TIMEOUT_S)
                return free
            except LimitExceeded:
                if self._paused():
                    return None
                if self._clock() >= give_up_s:
                    raise

    def _paused(self) -> bool:
        return self._clock() < self._paused_until_s

    def _producers(self) -> ProducerPool:
        with self._lock:
            if self._pool is None:
                connections = _connection(self._broker).Pool(_POOL_SIZE)
                self._pool = ProducerPool(connections, limit=_POOL_SIZE)
            return self._pool

    def close(self) -> None:
        """Close the connections. A later `wake` opens new ones."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.force_close_all()
            pool.connections.force_close_all()


_wakers: weakref.WeakSet[Waker] = weakref.WeakSet()


def _after_fork() -> None:
    for waker in list(_wakers):
        waker._leave_to_parent()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def _connection(broker: Target) -> Connection:
    scheme = broker.url.partition("://")[0]
    options: dict[str, Any] = {"max_retries": 1, "interval_start": 0, "interval_step": 0.1}
    if scheme in _REDIS_SCHEMES:
        options |= {"socket_timeout": BROKER_TIMEOUT_S, "socket_connect_timeout": BROKER_TIMEOUT_S}
    return Connection(
        broker.url,
        connect_timeout=BROKER_TIMEOUT_S,
        transport_options=options,
        ssl=dict(broker.tls) or False,
    )
