"""When the line starts again by hand: parked lanes need not wait for the times they were given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from redis import Redis

from onelane import keyspace
from onelane_worker.lanes.scripts import as_text

_CHUNK = 500


def offer_parked(redis: Redis) -> int:
    """Make every lane whose head is parked due now, at the latest; returns how many those are.

    Lanes may move in between. That does no harm: none gets a time that had none, nor a later one, and a time
    that is too early is put right by `due` (a living lease) and by `claim` (an open write).
    """
    offered = 0
    for partition in keyspace.PARTITIONS:
        lanes = (as_text(lane) for lane, _ in redis.zscan_iter(keyspace.due(partition), count=_CHUNK))
        while chunk := list(islice(lanes, _CHUNK)):
            parked = list(_parked(redis, chunk))
            _make_due(redis, partition, parked)
            offered += len(parked)
    return offered


def _parked(redis: Redis, lanes: Sequence[str]) -> Iterator[str]:
    pipe = redis.pipeline(transaction=False)
    for lane in lanes:
        pipe.lindex(keyspace.queue(lane), 0)
    heads = [as_text(head) for head in pipe.execute()]
    for head in heads:
        pipe.hget(keyspace.intent(head or "0"), "state")
    for lane, state in zip(lanes, pipe.execute(), strict=True):
        if as_text(state) == "parked":
            yield lane


def _make_due(redis: Redis, partition: str, lanes: Sequence[str]) -> None:
    if lanes:
        seconds, micros = redis.time()
        now_ms = int(seconds) * 1000 + int(micros) // 1000
        redis.zadd(keyspace.due(partition), dict.fromkeys(lanes, now_ms), xx=True, lt=True)
