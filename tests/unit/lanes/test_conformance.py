"""The scripts do what the model of the protocol does: the same answers and the same state, call by call.

A seed is the same sequence every time. What it finds is made as short as it goes before it is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any

import pytest
from redis import Redis
from tests.model.drawn import Drawn
from tests.model.twin import Call, Difference, Server, Twin
from tests.world.redis import SmallRedis

from onelane.keys import Keys
from onelane_worker.lanes.store import Script, Word
from onelane_worker.lanes.types import LaneSettings

PREFIX = Keys().prefix
CALLS = 150
LONG_MS = 40 * 86_400_000
SHORT_MS = 55_000
"""Shorter than the life of all keys that end: on a server with its own clock none does."""
LONGEST_MS = 500_000
"""Shorter than the lives that no setting says (an engine's record: ten minutes)."""
DUMP = """
local all = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  local kind = redis.call('TYPE', key)
  kind = kind.ok or kind
  local value
  if kind == 'hash' then value = redis.call('HGETALL', key)
  elseif kind == 'list' then value = redis.call('LRANGE', key, 0, -1)
  elseif kind == 'set' then value = redis.call('SMEMBERS', key)
  elseif kind == 'zset' then value = redis.call('ZRANGE', key, 0, -1, 'WITHSCORES')
  else value = redis.call('GET', key) end
  all[#all + 1] = { key, kind, value }
end
return all
"""


def _value(kind: str, value: Any) -> Any:
    if kind == "hash":
        return dict(zip(value[::2], value[1::2], strict=True))
    if kind == "zset":
        return [(name, float(score)) for name, score in zip(value[::2], value[1::2], strict=True)]
    return set(value) if kind == "set" else value


def _without_prefix(found: Any) -> dict[str, Any]:
    return {key.removeprefix(PREFIX): _value(kind, value) for key, kind, value in found}


class RedisServer:
    """A server behind redis-py. Its keys end by its own clock: nothing ends in a test."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis

    def run(self, script: Script, key: str, args: Sequence[Word]) -> Any:
        return self._redis.eval(script.text, 1, key, *args)

    def command(self, *words: Word) -> Any:
        return self._redis.execute_command(*words)

    def dump(self) -> dict[str, Any]:
        return _without_prefix(self._redis.eval(DUMP, 0))

    def set_time(self, now_us: int) -> None:
        pass

    def empty(self) -> None:
        self._redis.flushall()


class SmallServer:
    """The double in this process. Its keys end by the clock of the test."""

    def __init__(self) -> None:
        self._now_us = 0
        self._redis = SmallRedis(lambda: self._now_us / 1_000_000)

    def run(self, script: Script, key: str, args: Sequence[Word]) -> Any:
        return self._redis.run(script.text, key, args, script.name)

    def command(self, *words: Word) -> Any:
        return self._redis.execute(*words)

    def dump(self) -> dict[str, Any]:
        return _without_prefix((key, *self._read(key)) for key in self._redis.all_keys())

    def _read(self, key: str) -> tuple[str, Any]:
        kind, value = self._redis.execute("TYPE", key), self._redis.dump(key)
        return ("map" if kind == "hash" else kind), value

    def set_time(self, now_us: int) -> None:
        self._now_us = now_us

    def empty(self) -> None:
        self._redis.empty()


def settings_for(random: Random, keys_end: bool) -> LaneSettings:
    """Small limits, so that they are met."""
    lives = {
        "registry_ttl_ms": 40_000,
        "dedupe_ttl_ms": 30_000,
        "status_ttl_ms": 60_000,
        "unchanged_ttl_ms": 20_000,
        "version_ttl_ms": 45_000,
        "consent_ttl_ms": 50_000,
    }
    return LaneSettings(
        lease_ms=5_000,
        commit_ms=16_000,
        failover_hold_ms=random.choice((0, 16_000)),
        new_redis=random.random() < 0.7,
        durable=random.random() < 0.1,
        max_hold_ms=20_000,
        settle_window_ms=60_000,
        fold_max=3,
        batch_bytes=250,
        schema=2,
        wake_max=3,
        requests_per_10s=random.choice((60, 400, 100_000)),
        lane_max=5,
        queue_max=14,
        timeline_max=4,
        breaker_calls=2,
        breaker_lanes=2,
        bulk_rejections=random.choice((0, 2, 3)),
        bulk_pause_ms=4_000,
        **(lives if keys_end else dict.fromkeys(lives, LONG_MS)),
    )


def compare(server: Server, seed: int, *, keys_end: bool, calls: list[Call] | None = None) -> None:
    """A sequence of calls, made on both. Raises `Difference`. `calls` is told what was called."""
    made = calls if calls is not None else []
    twin = Twin(server, settings_for(Random(seed), keys_end))
    drawn = Drawn(Random(seed), twin, LONGEST_MS if keys_end else SHORT_MS)
    for _ in range(CALLS):
        made.append(drawn.next())
        drawn.heard(made[-1], twin.do(made[-1]))


def play(server: Server, seed: int, *, keys_end: bool) -> None:
    """Fails with the shortest sequence that shows a difference."""
    settings = settings_for(Random(seed), keys_end)
    calls: list[Call] = []
    try:
        compare(server, seed, keys_end=keys_end, calls=calls)
    except Difference as difference:
        shortest, why = _shrink(server, settings, calls, difference)
        pytest.fail(f"seed {seed}, {settings}\n" + "\n".join(map(str, shortest)) + f"\n{why}")


def _shrink(
    server: Server, settings: LaneSettings, calls: list[Call], why: Difference
) -> tuple[list[Call], Difference]:
    """Leave out every call without which they differ, too."""
    found, at = calls, len(calls) - 1
    while at >= 0:
        fewer = found[:at] + found[at + 1 :]
        difference = _difference(server, settings, fewer)
        if difference is not None:
            found, why = fewer, difference
        at -= 1
    return found, why


def _difference(server: Server, settings: LaneSettings, calls: Sequence[Call]) -> Difference | None:
    twin = Twin(server, settings)
    try:
        for call in calls:
            twin.do(call)
    except Difference as difference:
        return difference
    except Exception:
        return None
    return None


@pytest.mark.parametrize("first", range(0, 40, 10))
def test_scripts_on_a_real_server_do_what_the_model_does(valkey: Redis, first: int) -> None:
    for seed in range(first, first + 10):
        play(RedisServer(valkey), seed, keys_end=False)


def test_scripts_on_the_in_process_double_do_what_the_model_does(fake_redis: Redis) -> None:
    for seed in range(1_000, 1_004):
        play(RedisServer(fake_redis), seed, keys_end=False)


@pytest.mark.parametrize("first", range(2_000, 2_080, 20))
def test_scripts_do_what_the_model_does_while_keys_end(first: int) -> None:
    server = SmallServer()
    for seed in range(first, first + 20):
        play(server, seed, keys_end=True)
