"""Data of version 0.2 is seen, counted, and named with what to do."""

from __future__ import annotations

import pytest
from redis import Redis

from onelane.keys import WORKSPACES, Keys
from onelane_worker.operate import old_data


def complaint(redis: Redis) -> str | None:
    return old_data.complaint([redis.execute_command(*command) for command in old_data.calls()])  # type: ignore[no-untyped-call]


def test_a_redis_of_this_version_holds_none(redis: Redis) -> None:
    assert complaint(redis) is None
    redis.sadd(WORKSPACES, "main")
    redis.hset(Keys("main").key("meta"), "secret", "s")
    assert complaint(redis) is None


def test_what_waits_and_what_is_dead_is_counted(redis: Redis) -> None:
    redis.hset("onelane:{0}:counters", mapping={"pending": 2, "seq:interactive": 3})
    redis.hset("onelane:{f}:counters", mapping={"pending": 5})
    redis.zadd("onelane:{7}:dead", {"i1": 1})
    told = complaint(redis)
    assert told is not None
    assert "(7 waiting intents, 1 dead letters)" in told
    assert f"grep -v '^{WORKSPACES}$'" in told


@pytest.mark.parametrize("key", ["onelane:workspace", "onelane:{a}:counters"])
def test_also_what_nothing_waits_in_is_named(key: str, redis: Redis) -> None:
    redis.hset(key, "id", "x")
    assert "(0 waiting intents" in (complaint(redis) or "")
