"""One budget and one throttle for all workers of a Redis."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import redis as redis_module
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from onelane.keyspace import THROTTLE
from onelane_worker.intercom.limiter import SPREAD_S, Limiter


@dataclass
class Clock:
    """Unix seconds that only sleeping moves."""

    now: float = 1_800_000_004.0
    naps: list[float] = field(default_factory=list)

    def read(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def limiter(client: Redis, clock: Clock, requests_per_10s: int = 3) -> Limiter:
    return Limiter(client, requests_per_10s, wall_s=clock.read, sleep=clock.sleep)


def test_workers_share_one_budget(redis: Redis, clock: Clock) -> None:
    one, other = limiter(redis, clock), limiter(redis, clock)
    assert [one.acquire(), other.acquire(), one.acquire()] == [None, None, None]
    assert other.acquire() == one.acquire() == 6.0


def test_a_new_window_is_a_new_budget(redis: Redis, clock: Clock) -> None:
    mine = limiter(redis, clock, 1)
    assert mine.acquire() is None
    clock.now = 1_800_000_010.0
    assert mine.acquire() is None
    assert mine.acquire() == 10.0


def test_a_short_wait_is_waited_for(redis: Redis, clock: Clock) -> None:
    mine = limiter(redis, clock, 1)
    assert mine.acquire() is None
    assert mine.acquire(max_wait_s=7) is None
    (nap,) = clock.naps
    assert 6.0 <= nap <= 6.0 + SPREAD_S


def test_a_long_wait_is_handed_back(redis: Redis, clock: Clock) -> None:
    mine = limiter(redis, clock, 1)
    assert mine.acquire() is None
    assert mine.acquire(max_wait_s=5) == 6.0
    assert clock.naps == []


def test_all_naps_together_fit_into_the_wait(redis: Redis, clock: Clock) -> None:
    mine, other = limiter(redis, clock, 1), limiter(redis, clock, 1)
    assert mine.acquire() is None

    def overtaken(seconds: float) -> None:
        clock.sleep(seconds)
        assert other.acquire() is None

    late = Limiter(redis, 1, wall_s=clock.read, sleep=overtaken)
    wait_s = late.acquire(max_wait_s=12)  # enough for any one of the two windows
    assert wait_s is not None
    assert wait_s > 12 - sum(clock.naps)
    assert len(clock.naps) == 1


def test_a_throttle_holds_all_workers(redis: Redis, clock: Clock) -> None:
    limiter(redis, clock).throttle(30)
    wait_s = limiter(redis, clock).acquire(max_wait_s=20)
    assert wait_s is not None
    assert 20 < wait_s <= 30
    redis.delete(THROTTLE)  # its time is over
    assert limiter(redis, clock).acquire() is None


def test_the_throttle_tells_people_until_when(redis: Redis, clock: Clock) -> None:
    limiter(redis, clock).throttle(12.5)
    assert redis.get(THROTTLE) == "1800000016500"
    assert 0 < redis.pttl(THROTTLE) <= 12_500


def test_every_key_expires(redis: Redis, clock: Clock) -> None:
    mine = limiter(redis, clock, 1)
    mine.throttle(1)
    mine.acquire()
    keys = [str(key) for key in redis.keys("*")]
    assert len(keys) == 2
    assert all(key.startswith("onelane:") and redis.pttl(key) > 0 for key in keys)


def test_one_round_trip_per_call(valkey: Redis, clock: Clock) -> None:
    mine = limiter(valkey, clock)
    mine.acquire()
    before = valkey.info("commandstats")
    mine.acquire()
    after = valkey.info("commandstats")

    def calls(stats: dict[str, dict[str, int]], name: str) -> int:
        return int(stats.get(f"cmdstat_{name}", {}).get("calls", 0))

    ran = {name for name in after if after[name] != before.get(name)} - {"cmdstat_info"}
    assert ran == {"cmdstat_multi", "cmdstat_incrby", "cmdstat_expire", "cmdstat_pttl", "cmdstat_exec"}
    assert calls(after, "exec") - calls(before, "exec") == 1


@pytest.fixture
def silent() -> Iterator[Redis]:
    """A client whose server is not there."""
    with redis_module.Redis(port=1, socket_connect_timeout=1, retry=Retry(NoBackoff(), 0)) as client:
        yield client


def test_without_redis_calls_go_ahead(silent: Redis, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    mine = limiter(silent, clock)
    mine.throttle(5)
    assert mine.acquire() is None
    assert "Redis does not answer" in caplog.text


def test_a_client_that_answers_in_bytes_will_do(valkey_url: str, clock: Clock) -> None:
    with Redis.from_url(valkey_url) as client:
        client.flushall()
        mine = limiter(client, clock, 1)
        assert mine.acquire() is None
        assert mine.acquire() == 6.0
