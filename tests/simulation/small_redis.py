"""Just enough of Redis for Onelane's scripts, and fast: the commands they use, on plain dictionaries.

A double of the whole server spends more than a millisecond on a script, and a long run makes hundreds of
millions of them. The scripts themselves are the real ones, run by the same Lua 5.1. A test holds this double
to the other one (fakeredis), history by history.

Values are bytes inside. Times are milliseconds of the clock that is given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Bytes = bytes | None


class Data:
    """The keys, and what lies under them."""

    def __init__(self, now_s: Callable[[], float]) -> None:
        self.now_s = now_s
        self.keys: dict[bytes, Any] = {}
        """bytes, list, or a dict: field → bytes for a hash, member → float for a sorted set."""
        self.ends_ms: dict[bytes, int] = {}
        self.touched: set[bytes] = set()
        """Keys that a command has named since this was last emptied."""

    def now_ms(self) -> int:
        return int(self.now_s() * 1000)

    def get(self, key: bytes) -> Any:
        """What is under a key; None if nothing is, or not any more."""
        end = self.ends_ms.get(key)
        if end is not None and end <= self.now_s() * 1000:
            self.delete(key)
        return self.keys.get(key)

    def made(self, key: bytes, kind: type) -> Any:
        """The same, with an empty one in place of nothing."""
        found = self.get(key)
        if found is None:
            found = self.keys[key] = kind()
        assert isinstance(found, kind), f"WRONGTYPE {key!r}"
        return found

    def delete(self, key: bytes) -> int:
        self.ends_ms.pop(key, None)
        return int(self.keys.pop(key, None) is not None)

    def drop_if_empty(self, key: bytes) -> None:
        if not self.keys.get(key):
            self.delete(key)


# --- commands: arguments are bytes; the result is an int, bytes, None, or a list of bytes and None ---------


def _time(data: Data) -> list[Bytes]:
    micros = round(data.now_s() * 1_000_000)
    return [b"%d" % (micros // 1_000_000), b"%d" % (micros % 1_000_000)]


def _exists(data: Data, key: bytes) -> int:
    return int(data.get(key) is not None)


def _del(data: Data, *keys: bytes) -> int:
    return sum(data.delete(key) for key in keys if data.get(key) is not None)


def _get(data: Data, key: bytes) -> Bytes:
    found: Bytes = data.get(key)
    return found


def _set(data: Data, key: bytes, value: bytes, *options: bytes) -> bytes:
    data.keys[key] = value
    if not options:
        data.ends_ms.pop(key, None)
    elif options[0].upper() == b"PX":
        data.ends_ms[key] = data.now_ms() + int(options[1])
    else:
        assert options[0].upper() == b"KEEPTTL", options
    return b"OK"


def _pexpire(data: Data, key: bytes, life_ms: bytes) -> int:
    if data.get(key) is None:
        return 0
    data.ends_ms[key] = data.now_ms() + int(life_ms)
    return 1


def _persist(data: Data, key: bytes) -> int:
    return int(data.get(key) is not None and data.ends_ms.pop(key, None) is not None)


def _pttl(data: Data, key: bytes) -> int:
    if data.get(key) is None:
        return -2
    return max(0, data.ends_ms[key] - data.now_ms()) if key in data.ends_ms else -1


def _hget(data: Data, key: bytes, field: bytes) -> Bytes:
    found: Bytes = (data.get(key) or {}).get(field)
    return found


def _hmget(data: Data, key: bytes, *fields: bytes) -> list[Bytes]:
    found = data.get(key) or {}
    return [found.get(field) for field in fields]


def _hgetall(data: Data, key: bytes) -> list[Bytes]:
    return [word for pair in (data.get(key) or {}).items() for word in pair]


def _hset(data: Data, key: bytes, *pairs: bytes) -> int:
    found = data.made(key, dict)
    before = len(found)
    found.update(zip(pairs[::2], pairs[1::2], strict=True))
    return len(found) - before


def _hdel(data: Data, key: bytes, *fields: bytes) -> int:
    found = data.get(key) or {}
    gone = sum(found.pop(field, None) is not None for field in fields)
    data.drop_if_empty(key)
    return gone


def _hincrby(data: Data, key: bytes, field: bytes, step: bytes) -> int:
    found = data.made(key, dict)
    value = int(found.get(field, b"0")) + int(step)
    found[field] = b"%d" % value
    return value


def _hlen(data: Data, key: bytes) -> int:
    return len(data.get(key) or ())


def _rpush(data: Data, key: bytes, *values: bytes) -> int:
    found = data.made(key, list)
    found.extend(values)
    return len(found)


def _lpush(data: Data, key: bytes, value: bytes) -> int:
    found = data.made(key, list)
    found.insert(0, value)
    return len(found)


def _llen(data: Data, key: bytes) -> int:
    return len(data.get(key) or ())


def _lindex(data: Data, key: bytes, index: bytes) -> Bytes:
    found: list[bytes] = data.get(key) or []
    at = int(index)
    return found[at] if -len(found) <= at < len(found) else None


def _lrange(data: Data, key: bytes, first: bytes, last: bytes) -> list[bytes]:
    found: list[bytes] = data.get(key) or []
    return found[_slice(len(found), first, last)]


def _slice(length: int, first: bytes, last: bytes) -> slice:
    start, end = int(first), int(last)
    start = max(0, start + length) if start < 0 else start
    end = end + length if end < 0 else end
    return slice(start, end + 1)


def _lrem(data: Data, key: bytes, count: bytes, value: bytes) -> int:
    assert int(count) == 1, "only what the scripts use"
    found: list[bytes] = data.get(key) or []
    if value not in found:
        return 0
    found.remove(value)
    data.drop_if_empty(key)
    return 1


def _zadd(data: Data, key: bytes, score: bytes, member: bytes) -> int:
    found = data.made(key, dict)
    new = member not in found
    found[member] = float(score)
    return int(new)


def _zrem(data: Data, key: bytes, *members: bytes) -> int:
    return _hdel(data, key, *members)


def _zscore(data: Data, key: bytes, member: bytes) -> Bytes:
    score = (data.get(key) or {}).get(member)
    return None if score is None else _number(score)


def _number(score: float) -> bytes:
    return b"%d" % score if score.is_integer() else repr(score).encode()


def _zrangebyscore(data: Data, key: bytes, least: bytes, most: bytes, *options: bytes) -> list[bytes]:
    low, high = float(least), float(most)
    found = sorted((score, member) for member, score in (data.get(key) or {}).items() if low <= score <= high)
    if not options:
        return [member for _, member in found]
    assert options[0].upper() == b"LIMIT", options
    start, count = int(options[1]), int(options[2])
    return [member for _, member in found[start : start + count]]


def _zrange(data: Data, key: bytes, first: bytes, last: bytes) -> list[bytes]:
    found = sorted((score, member) for member, score in (data.get(key) or {}).items())
    return [member for _, member in found[_slice(len(found), first, last)]]


COMMANDS: dict[str, Callable[..., Any]] = {
    name.removeprefix("_").upper(): command
    for name, command in tuple(globals().items())
    if name in {
        "_time", "_exists", "_del", "_get", "_set", "_pexpire", "_persist", "_pttl", "_hget", "_hmget",
        "_hgetall", "_hset", "_hdel", "_hincrby", "_hlen", "_rpush", "_lpush", "_llen", "_lindex", "_lrange",
        "_lrem", "_zadd", "_zrem", "_zscore", "_zrangebyscore", "_zrange",
    }
}  # fmt: skip
