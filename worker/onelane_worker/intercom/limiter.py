"""The rate limit, counted by us before Intercom counts it: one budget for all workers of a Redis.

Two brakes, both looked at in one round trip
 * the budget: `requests_per_10s` calls in each window of ten seconds. The windows are multiples of ten of the
   epoch, as Intercom's are (recorded traffic 2021), so that one of ours is not spread over two of theirs.
 * the throttle: after a 429 nobody calls until the key `onelane:throttle` has expired.

The limiter is a courtesy that saves 429s; correctness does not rest on it. If Redis does not answer, calls go
ahead uncounted, and Intercom's own 429 remains.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable

import redis
from limits import RateLimitItemPerSecond
from limits.storage import RedisStorage
from limits.strategies import FixedWindowRateLimiter

from onelane.keyspace import CALLS, THROTTLE

log = logging.getLogger(__name__)

WINDOW_S = 10
SPREAD_S = 0.25
"""Waiters of one window come back spread over this time instead of all at its first instant."""


class Limiter:
    """Shared by all threads of a process. `client` must be a client of one server, not of a cluster.

    `wall_s` (unix seconds) only numbers the windows: workers with clocks apart count some calls in the
    neighbouring window.
    """

    def __init__(
        self,
        client: redis.Redis,
        requests_per_10s: int,
        *,
        wall_s: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._client = client
        self._item = RateLimitItemPerSecond(requests_per_10s, WINDOW_S)
        self._limiter = FixedWindowRateLimiter(_Counter(client))
        self._wall_s = wall_s
        self._sleep = sleep

    def acquire(self, max_wait_s: float = 0.0) -> float | None:
        """Take one call out of the budget: None if it may be made now.

        Otherwise the seconds to wait, which are more than were left of `max_wait_s`; waits up to that are
        slept here.
        """
        left_s = max_wait_s
        while (wait_s := self._try()) is not None:
            nap_s = wait_s + random.uniform(0, SPREAD_S)
            if nap_s > left_s:
                return wait_s
            self._sleep(nap_s)
            left_s -= nap_s
        return None

    def throttle(self, wait_s: float) -> None:
        """Intercom answered 429: nobody calls for `wait_s` seconds."""
        wait_ms = max(1, round(wait_s * 1000))
        try:
            self._client.set(THROTTLE, round(self._wall_s() * 1000) + wait_ms, px=wait_ms)
        except redis.RedisError as error:
            log.warning("the throttle could not be shared: %s", type(error).__name__)

    def _try(self) -> float | None:
        """One round trip: None, or the seconds until it is worth asking again."""
        now = self._wall_s()
        window = int(now // WINDOW_S)
        try:
            granted = self._limiter.hit(self._item, str(window))
        except _Throttled as throttled:
            return throttled.wait_s
        except redis.RedisError as error:
            log.warning("calling without a rate limit, Redis does not answer: %s", type(error).__name__)
            return None
        return None if granted else (window + 1) * WINDOW_S - now


class _Throttled(Exception):
    """The throttle is on for so many seconds more."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(wait_s)
        self.wait_s = wait_s


class _Counter(RedisStorage):
    """The Redis storage of `limits`, whose count looks at the throttle in the same round trip."""

    def __init__(self, client: redis.Redis) -> None:
        super().__init__("redis://", connection_pool=client.connection_pool, key_prefix=CALLS)

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """The window's count after adding `amount`. Raises _Throttled; the call is counted all the same."""
        name = self.prefixed_key(key)
        with self.storage.pipeline(transaction=True) as pipe:
            pipe.incrby(name, amount).expire(name, expiry).pttl(THROTTLE)
            count, _, throttled_ms = pipe.execute()
        if throttled_ms > 0:
            raise _Throttled(throttled_ms / 1000)
        return int(count)
