"""Moving a queue to another workspace, on purpose: what is true in the former one only is forgotten.

Kept: waiting intents and dead letters, which will be written to the new workspace; receipts and timelines;
the dedupe keys of waiting intents; and what people last said of all mail, because that is theirs.

Forgotten: beliefs, contact ids, journals and open writes, checks that lanes owe, versions that were applied,
consent to single subscription types (another workspace has others), and the dedupe keys of ended intents:
those were not applied there.

Nobody may be at work meanwhile: see `obstacles`. The move is marked in Redis until it has ended, and no
worker starts on a queue with that mark; a move that was cut off is run again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

from redis import Redis

from onelane import keyspace
from onelane_worker.lanes.scripts import as_text
from onelane_worker.payloads import to_store
from onelane_worker.planner.operations import Workspace
from onelane_worker.planner.registry import ALL_MAIL, ConsentMemory
from onelane_worker.presence import alive

_CHUNK = 500
_FORGOTTEN = frozenset({"belief", "ext", "known"})
_OF_A_HOLDER = (
    "token", "until", "batch", "seen", "usable", "dirty", "open", "commit", "journal", "yields",
    "check", "check_id", "check_at",
)  # fmt: skip
"""Fields of a lane that speak of its holder and of what was written; its fence stays."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a move takes along."""

    intents: int
    dead_letters: int


def waiting(redis: Redis) -> Waiting:
    """How much waits to be written. Raises redis-py's errors."""
    pipe = redis.pipeline(transaction=False)
    for partition in keyspace.PARTITIONS:
        pipe.hget(keyspace.counters(partition), "pending")
        pipe.zcard(keyspace.dead(partition))
    found = pipe.execute()
    return Waiting(sum(int(one or 0) for one in found[::2]), sum(found[1::2]))


def obstacles(redis: Redis) -> tuple[list[str], int]:
    """Workers that are alive, and lanes that somebody holds or that a write may still take effect in."""
    seconds, micros = redis.time()
    now_ms = int(seconds) * 1000 + int(micros) // 1000
    held = 0
    for keys in _chunks(redis):
        lanes = [key for key in keys if keyspace.word_of(key) == "lane"]
        pipe = redis.pipeline(transaction=False)
        for key in lanes:
            pipe.hmget(key, "until", "commit")
        held += sum(any(int(ms or 0) > now_ms for ms in found) for found in pipe.execute())
    return alive(redis), held


def begin(redis: Redis, to: Workspace) -> None:
    """Mark the move to the workspace `to`: from now on no worker starts, and one that is alive ends.

    Look for `obstacles` after it, and `finish` only without any. Raises redis-py's errors.
    """
    redis.hset(keyspace.WORKSPACE, mapping={"id": to.id, "name": to.name, "moving": "1"})


def finish(redis: Redis, on_step: Callable[[int], None] = lambda count: None) -> None:
    """Forget, and take the mark away. `on_step` is told how many keys have been looked at.

    Whoever holds a lane by now has lost it. Run again, it does the same. Raises redis-py's errors.
    """
    redis.delete(keyspace.THROTTLE)
    for keys in _chunks(redis):
        _forget(redis, keys)
        on_step(len(keys))
    redis.hdel(keyspace.WORKSPACE, "moving")


def _chunks(redis: Redis) -> Iterator[list[str]]:
    keys = map(as_text, redis.scan_iter(keyspace.OF_LANES, count=_CHUNK))
    while chunk := list(islice(keys, _CHUNK)):
        yield chunk


def _forget(redis: Redis, keys: Sequence[str]) -> None:
    by_word: dict[str, list[str]] = {}
    for key in keys:
        by_word.setdefault(keyspace.word_of(key), []).append(key)
    gone = [key for word in _FORGOTTEN for key in by_word.get(word, ())]
    gone += _of_ended(redis, by_word.get("dedupe", ()))
    if gone:
        redis.unlink(*gone)
    _release(redis, by_word.get("lane", ()))
    _keep_consent(redis, by_word.get("memory", ()))


def _of_ended(redis: Redis, keys: Sequence[str]) -> list[str]:
    """Dedupe keys whose intent has ended: only those have a time to live."""
    pipe = redis.pipeline(transaction=False)
    for key in keys:
        pipe.pttl(key)
    return [key for key, life_ms in zip(keys, pipe.execute(), strict=True) if life_ms >= 0]


def _release(redis: Redis, keys: Sequence[str]) -> None:
    """Nobody holds these lanes, and the empty ones owe nothing. The due timer looks at those and lets them
    sleep: a producer may have put something into one by then, and have left it to its time."""
    pipe = redis.pipeline(transaction=False)
    lanes = [key.rpartition(":")[2] for key in keys]
    for key, lane in zip(keys, lanes, strict=True):
        pipe.hdel(key, *_OF_A_HOLDER)
        pipe.llen(keyspace.queue(lane))
    for lane, count in zip(lanes, pipe.execute()[1::2], strict=True):
        if not count:
            pipe.zadd(keyspace.due(keyspace.partition_of(lane)), {lane: 0}, xx=True)
    pipe.execute()


def _keep_consent(redis: Redis, keys: Sequence[str]) -> None:
    """Of a memory, only what the person last said of all mail."""
    if not keys:
        return
    pipe = redis.pipeline(transaction=False)
    for key, stored in zip(keys, redis.mget(keys), strict=True):
        kept = _said_of_mail(stored)
        if kept is None:
            pipe.unlink(key)
        else:
            pipe.set(key, kept, keepttl=True)
    pipe.execute()


def _said_of_mail(stored: Any) -> str | None:
    try:
        said = ConsentMemory.model_validate_json(stored or "{}").consent.get(ALL_MAIL)
    except ValueError:  # of a newer form: a consent that cannot be read is kept for who can read it
        return str(as_text(stored))
    return None if said is None else to_store(ConsentMemory(consent={ALL_MAIL: said}))
