"""The small Redis gives the answers of a real one, command by command, from scripts and from outside."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import ResponseError

from .redis import SmallRedis

KEYS = {kind: [f"{kind}{n}" for n in range(2)] for kind in ("string", "hash", "list", "set", "zset")}
NAMES = ("a", "b", "c", "d")
NUMBERS = ("-1", "0", "1", "2", "10")
LIFE = "100000"


def _string(dice: Random) -> list[Any]:
    options = dice.choice(([], ["PX", LIFE], ["NX"], ["XX"], ["KEEPTTL"]))
    return dice.choice((["GET"], ["SET", dice.choice(NUMBERS), *options], ["INCRBY", dice.choice(NUMBERS)]))


def _hash(dice: Random) -> list[Any]:
    name = dice.choice(NAMES)
    return dice.choice(
        (
            ["HGET", name],
            ["HMGET", *NAMES],
            ["HSET", name, dice.choice(NUMBERS), "d", "7"],
            ["HSETNX", name, "1"],
            ["HDEL", name, "d"],
            ["HINCRBY", name, dice.choice(NUMBERS)],
            ["HEXISTS", name],
            ["HLEN"],
        )
    )


def _list(dice: Random) -> list[Any]:
    name, first, last = dice.choice(NAMES), dice.choice(NUMBERS), dice.choice(NUMBERS)
    return dice.choice(
        (
            ["RPUSH", name, "a"],
            ["LPUSH", name, "b"],
            ["LPOP"],
            ["LPOP", "2"],
            ["RPOP"],
            ["LLEN"],
            ["LINDEX", first],
            ["LRANGE", first, last],
            ["LTRIM", first, last],
            ["LREM", dice.choice(("-1", "0", "1", "2")), name],
            ["LPOS", name],
        )
    )


def _set(dice: Random) -> list[Any]:
    name = dice.choice(NAMES)
    return dice.choice((["SADD", name, "a"], ["SREM", name], ["SISMEMBER", name], ["SCARD"]))


def _zset(dice: Random) -> list[Any]:
    name, first, last = dice.choice(NAMES), dice.choice(NUMBERS), dice.choice(NUMBERS)
    low = dice.choice(("-inf", first, f"({first}"))
    flags = dice.choice(([], ["NX"], ["XX"], ["GT"], ["LT"], ["CH"]))
    more = dice.choice(([], ["WITHSCORES"], ["LIMIT", "0", "2"], ["LIMIT", "1", "-1"]))
    return dice.choice(
        (
            ["ZADD", *flags, first, name, last, "d"],
            ["ZINCRBY", first, name],
            ["ZREM", name, "d"],
            ["ZSCORE", name],
            ["ZCARD"],
            ["ZRANK", name],
            ["ZRANGE", first, last],
            ["ZRANGE", low, last, "BYSCORE", *more],
            ["ZRANGEBYSCORE", low, "+inf", *more],
            ["ZCOUNT", low, last],
            ["ZPOPMIN"],
            ["ZPOPMIN", "2"],
            ["ZREMRANGEBYSCORE", low, last],
        )
    )


def _any(dice: Random) -> list[Any]:
    return dice.choice(
        (
            ["EXISTS"],
            ["DEL"],
            ["TYPE"],
            ["PEXPIRE", LIFE],
            ["PEXPIRE", LIFE, "NX"],
            ["PERSIST"],
            ["PEXPIREAT", "1"],
        )
    )


MAKERS = {"string": _string, "hash": _hash, "list": _list, "set": _set, "zset": _zset}


def _drawn(dice: Random) -> list[str]:
    kind = dice.choice(list(KEYS))
    name, *rest = (_any if dice.random() < 0.15 else MAKERS[kind])(dice)
    key = dice.choice(KEYS[dice.choice(list(KEYS)) if dice.random() < 0.05 else kind])
    return [name, key, *rest]


SCRIPT = "return redis.call(unpack(ARGV))"


@pytest.mark.parametrize("seed", range(10))
def test_it_answers_as_a_real_server_does(valkey: Redis, seed: int) -> None:
    dice, small = Random(seed), SmallRedis(lambda: 1_000_000.0)
    for _ in range(1_000):
        words = _drawn(dice)
        assert _answer(small.run, SCRIPT, "", words) == _answer(valkey.eval, SCRIPT, 0, *words), words
        ends = ["return redis.call('PTTL', KEYS[1]) < 0", 1, words[1]]
        assert _answer(small.run, ends[0], words[1], []) == _answer(valkey.eval, *ends), words
    assert small.all_keys() == sorted(str(key) for key in valkey.scan_iter())


def _answer(ask: Any, *words: Any) -> Any:
    try:
        return ask(*words)
    except ResponseError:
        return "an error"


def test_keys_end_in_virtual_time() -> None:
    now = [1_000.0]
    small = SmallRedis(lambda: now[0])
    small.execute("SET", "a", "1", "PX", 5_000)
    now[0] += 4.999
    assert small.execute("GET", "a") == "1"
    now[0] += 0.001
    assert small.execute("GET", "a") is None
    assert small.execute("TIME") == ["1005", "0"]


def test_another_server_holds_what_it_was_given() -> None:
    small = SmallRedis(lambda: 1_000.0)
    small.execute("HSET", "a", "x", "1")
    before, told = small.snapshot(), small.execute("INFO")
    small.execute("HSET", "a", "x", "2")
    small.restore(before)
    small.execute("HINCRBY", "a", "x", "1")
    small.restore(before)
    assert small.execute("HGETALL", "a") == {"x": "1"}
    assert small.execute("INFO") != told
    small.empty()
    assert small.all_keys() == []


def test_a_script_makes_no_globals_and_its_errors_are_told() -> None:
    small = SmallRedis(lambda: 1_000.0)
    for text in (
        "found = 1",
        "return redis.error_reply('no')",
        "redis.call('NOTHING')",
        "return redis.call('GET', {})",
    ):
        with pytest.raises(ResponseError):
            small.run(text, "", [])
