"""Which worker processes are alive: each tells Redis by every tick of its due timer.

A worker that ends in good order takes its name back; one that was killed counts as alive for `LIFE_MS`.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from typing import Any, cast

from redis import Redis

from onelane import keyspace

LIFE_MS = 15_000
"""How long a worker counts as alive after it has told so last."""
_MOST_WORKERS = 200


class Presence:
    """One process's word that it is alive. Methods raise redis-py's errors."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self.name: str | None = None
        """The worker's name, `<name>@<host>`, once it is ready; nothing is told before."""

    def tell(self, life_ms: int = LIFE_MS) -> None:
        """Alive for the next `life_ms`; whoever has not told so for too long is forgotten."""
        if self.name is None:
            return
        now_ms = _now_ms(self._redis)
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.zadd(keyspace.WORKERS, {self.name: now_ms + life_ms})
            pipe.zremrangebyscore(keyspace.WORKERS, "-inf", now_ms)
            pipe.execute()

    def end(self) -> None:
        """This process ends."""
        if self.name is not None:
            self._redis.zrem(keyspace.WORKERS, self.name)


def free_name() -> str:
    """`onelane-1`, or with the next number that no worker of this machine has; this process's until it ends.

    Two workers of one name would be one to Flower, and a name with a process id in it would be another one
    after each restart, and in the labels of metrics a new series.
    """
    for number in range(1, _MOST_WORKERS + 1):
        place = os.path.join(tempfile.gettempdir(), f"onelane-worker-{number}.lock")
        try:
            lock = os.open(place, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError:  # another user's
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(lock)
            continue
        return f"onelane-{number}"
    return "onelane"  # nowhere to keep locks, as in a container that may write nowhere


def alive(redis: Redis) -> list[str]:
    """The names of the workers that are alive. Raises redis-py's errors."""
    found = cast(Any, redis.zrangebyscore(keyspace.WORKERS, _now_ms(redis), "+inf"))
    return sorted(name.decode() if isinstance(name, bytes) else name for name in found)


def _now_ms(redis: Redis) -> int:
    seconds, micros = cast(Any, redis.time())
    return int(seconds) * 1000 + int(micros) // 1000
