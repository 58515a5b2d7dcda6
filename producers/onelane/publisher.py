"""Sends turns to the broker, or gives up soon: a turn that is not sent costs time, not an intent.

The intent is stored, and its lane stands in `sent`, before any message exists; the workers' timer finds a
lane whose turn never came. So nothing here raises for a broker that is away.
"""

# mypy: allow-untyped-calls
# (kombu is typed only in part)

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from typing import Any

from kombu.connection import Connection
from kombu.exceptions import LimitExceeded
from kombu.messaging import Producer
from kombu.pools import ProducerPool

from onelane import tls, turns
from onelane.tls import Target
from onelane.turns import Turn

logger = logging.getLogger(__name__)

BROKER_TIMEOUT_S = 1.0
"""Most seconds for connecting to the broker, and for one answer of it."""
PAUSE_S = 5.0
"""Seconds for which nothing is sent after a failure: a dead broker is paid for once, not by every caller."""
BUSY_S = 5.0
"""Most seconds to wait for a connection while other threads use them all: no failure of the broker."""
_POOL_SIZE = 8  # connections; threads beyond that wait for one
_REDIS_SCHEMES = ("redis", "rediss", "redis+socket", "sentinel")


class Publisher:
    """A pool of broker connections of its own: neither the host's Celery app nor a forked child shares it."""

    def __init__(
        self, broker_url: str, ca_file: str | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._broker = tls.target(broker_url, ca_file)
        self._clock = clock
        self._paused_until_s = float("-inf")
        self._inherited: list[ProducerPool] = []
        self._start_over()
        _publishers.add(self)

    def _start_over(self) -> None:
        self._lock = threading.Lock()
        self._pool: ProducerPool | None = None

    def _leave_to_parent(self) -> None:
        """In a forked child: the sockets are the parent's, and dropping the pool might close them."""
        if self._pool is not None:
            self._inherited.append(self._pool)
        self._start_over()

    def publish(self, wanted: Sequence[Turn]) -> bool:
        """Send the turns. False, and a line in the log, if the broker did not take them all."""
        if not wanted:
            return True
        try:
            return self._send(wanted)
        except LimitExceeded:
            logger.warning(
                "%d turn(s) not sent, workers will find the lanes by themselves: other threads have used all "
                "%d connections to the broker for %g s",
                len(wanted), _POOL_SIZE, BUSY_S,
                extra={"action": "turn_not_published"},
            )  # fmt: skip
        except Exception as error:  # whatever it is: the intents are stored, and the timer goes on with them
            self._paused_until_s = self._clock() + PAUSE_S
            logger.warning(
                "the broker did not take %d turn(s), workers will find the lanes by themselves; "
                "no further try for %g s: %s: %s",
                len(wanted), PAUSE_S, type(error).__name__, error,
                extra={"action": "turn_not_published"},
            )  # fmt: skip
        return False

    def _send(self, wanted: Sequence[Turn]) -> bool:
        """False if the broker is known to be dead. Raises kombu's errors, and those of the transport."""
        producer = None if self._paused() else self._producer()
        if producer is None:
            return False
        with producer:
            if self._paused():  # the thread that had this connection has found the broker dead
                return False
            if len(wanted) == 1 or not getattr(producer, "supports_batch_publish", False):  # kombu 5.7
                for turn in wanted:
                    turns.send(producer, turn)
                return True
            with producer.batch():
                for turn in wanted:
                    turns.send(producer, turn, retry=False)
        return True

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
        """Close the connections. A later `publish` opens new ones."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.force_close_all()
            pool.connections.force_close_all()


_publishers: weakref.WeakSet[Publisher] = weakref.WeakSet()


def _after_fork() -> None:
    for publisher in list(_publishers):
        publisher._leave_to_parent()


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
