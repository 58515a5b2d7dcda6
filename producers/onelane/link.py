"""How the SDK reaches Redis: bounded in time, tried again while there is time left. No I/O here.

Every exchange may be started over: reads may be repeated, and scripts know an intent by its id. redis-py's
own retries are off: they nest (one around connecting, one around the command), so their total has no clear
bound.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    AuthenticationError,
    ClusterCrossSlotError,
    ClusterDownError,
    ConnectionError,
    MasterDownError,
    MovedError,
    ReadOnlyError,
    RedisError,
    TimeoutError,
    TryAgainError,
)
from redis.retry import Retry

from onelane.errors import QueueUnavailable
from onelane.settings import QueueSettings

PASSING = (ConnectionError, TimeoutError, ReadOnlyError, ClusterDownError, MasterDownError, TryAgainError)
"""Errors that a moment may heal: a restart, a failover."""
OF_A_CLUSTER = (MovedError, AskError, ClusterCrossSlotError, ClusterDownError)
"""What only a node of a Redis Cluster answers."""


def is_of_a_cluster(error: Exception) -> bool:
    """Whether only a node of a Redis Cluster answers so. redis-py 5.0 tells some of it by words alone."""
    return isinstance(error, OF_A_CLUSTER) or str(error).startswith("CLUSTERDOWN")


NEEDS_ONE_SERVER = "Onelane needs a single server, and this one is a node of a Redis Cluster"
_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 0.5


def client_options(settings: QueueSettings) -> dict[str, Any]:
    """Options of the Redis client, blocking or asyncio, its URL among them, without the retry policy."""
    answer_s = _answer_s(settings.enqueue_timeout_s)
    target = settings.redis_target
    return {
        "url": target.url,
        **target.tls,
        "socket_connect_timeout": answer_s,
        "socket_timeout": answer_s,
        "decode_responses": True,
    }


def blocking_client(settings: QueueSettings) -> Redis:
    """The Redis client of a blocking queue. It connects when it is used."""
    client: Redis = Redis.from_url(retry=Retry(NoBackoff(), 0), **client_options(settings))
    return client


def _answer_s(timeout_s: float) -> float:
    """Most seconds for connecting, and for one answer."""
    return timeout_s / 5


class Patience:
    """The time one call has. No round trip begins that could not end in time.

    The first round trip of an attempt is at worst one connect and one answer that both time out, each further
    one an answer.
    """

    def __init__(self, timeout_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._timeout_s = timeout_s
        self._clock = clock
        self._begun_s = clock()
        self._pause_s = _FIRST_PAUSE_S

    def pause_s(self, error: RedisError) -> float:
        """Seconds to wait before the next attempt. Raises `QueueUnavailable` if it is no use or too late."""
        pause_s = self._pause_s * random.uniform(0.5, 1)
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)
        if isinstance(error, AuthenticationError) or not isinstance(error, PASSING):
            raise QueueUnavailable(f"Redis refused: {_words(error)}") from error
        if self._left_s() - pause_s < 2 * _answer_s(self._timeout_s):
            raise QueueUnavailable(f"{self._waited()}: {_words(error)}") from error
        return pause_s

    def go_on(self) -> None:
        """Before a further round trip of an attempt. Raises `QueueUnavailable` if it is too late."""
        if self._left_s() < _answer_s(self._timeout_s):
            raise QueueUnavailable(f"{self._waited()}: it is slow")

    def _left_s(self) -> float:
        return self._begun_s + self._timeout_s - self._clock()

    def _waited(self) -> str:
        waited_s = self._clock() - self._begun_s
        return f"Redis did not answer in {waited_s:.1f} s ({self._timeout_s:g} s allowed)"


def _words(error: RedisError) -> str:
    hint = f" ({NEEDS_ONE_SERVER})" if is_of_a_cluster(error) else ""
    return f"{type(error).__name__}: {error}{hint}"
