"""The laws that hold after every script, whatever happened before, told from everything that is stored."""

from __future__ import annotations

from collections import Counter
from typing import Any

from redis import Redis

from onelane import keyspace
from onelane.keyspace import PARTITIONS, QUEUES

NO_END = -1
"""Redis' word for a key without a time to live."""


class Dump:
    """Everything Onelane keeps, read in three round trips; or whatever Redis does, by another pattern."""

    def __init__(self, redis: Redis, pattern: str = "onelane:*") -> None:
        keys: Any = redis.keys(pattern)
        self.keys: list[str] = sorted(keys)
        types = self._ask(redis, "type")
        self.ttl_ms = dict(zip(self.keys, self._ask(redis, "pttl"), strict=True))
        self.values = dict(zip(self.keys, self._read(redis, types), strict=True))

    def _ask(self, redis: Redis, command: str) -> list[Any]:
        pipe = redis.pipeline(transaction=False)
        for key in self.keys:
            getattr(pipe, command)(key)
        return pipe.execute()

    def _read(self, redis: Redis, types: list[str]) -> list[Any]:
        pipe: Any = redis.pipeline(transaction=False)
        for key, type_ in zip(self.keys, types, strict=True):
            {
                "hash": lambda key: pipe.hgetall(key),
                "list": lambda key: pipe.lrange(key, 0, -1),
                "zset": lambda key: pipe.zrange(key, 0, -1, withscores=True),
                "set": lambda key: pipe.smembers(key),
                "string": lambda key: pipe.get(key),
                "none": lambda key: pipe.get(key),  # gone by now
            }[type_](key)
        found: list[Any] = pipe.execute()
        return found

    def lasting(self) -> dict[str, Any]:
        """Without times to live and answers."""
        return {key: value for key, value in self.values.items() if ":answer:" not in key}

    def hash(self, key: str) -> dict[str, str]:
        return self.values.get(key, {})  # type: ignore[no-any-return]

    def list(self, key: str) -> list[str]:
        return self.values.get(key, [])  # type: ignore[no-any-return]

    def scores(self, key: str) -> dict[str, int]:
        return {member: int(score) for member, score in self.values.get(key, [])}

    def under(self, prefix: str) -> dict[str, Any]:
        """What has keys with this prefix, by the rest of the key."""
        return {k.removeprefix(prefix): v for k, v in self.values.items() if k.startswith(prefix)}


def check_laws(redis: Redis, now_ms: int) -> None:
    """Fails with the law that is broken."""
    dump = Dump(redis)
    for key in dump.keys:
        assert dump.ttl_ms[key] != NO_END or _may_stay(dump, key), f"{key} has no time to live"
    for partition in PARTITIONS:
        _every_id_is_in_one_place(dump, partition)
        for lane in _lanes(dump, partition):
            _changes_are_those_that_wait(dump, lane)
            _the_lane_is_in_one_state(dump, lane, now_ms)


def check_nothing_empty(redis: Redis) -> None:
    """Fails if a text, object or list is kept that says nothing. Empty collections are no keys at all."""
    for key, value in Dump(redis).values.items():
        fields = value.items() if isinstance(value, dict) else [("", value)]
        for name, content in fields:
            assert content not in ("", "{}", "[]", "null"), f"{key} {name} keeps nothing"


def _may_stay(dump: Dump, key: str) -> bool:
    """Permanent keys, and those that last while something waits (an intent also as a dead letter)."""
    if "{" not in key:
        return key.split(":")[1] in keyspace.PERMANENT
    word, name = (key.split(":", 2)[2] + ":").split(":")[:2]
    if word == "lane":
        return bool(dump.list(keyspace.queue(name)))
    if word == "intent":
        return dump.hash(key).get("state") != "done"
    if word == "dedupe":
        owner = keyspace.intent(str(dump.values[key]).partition(":")[0])
        return dump.hash(owner).get("state") not in ("done", "dead")
    return word in keyspace.PERMANENT or word in ("queue", "changes")  # there only while they are not empty


def _every_id_is_in_one_place(dump: Dump, partition: str) -> None:
    queued = Counter(id_ for ids in dump.under(keyspace.queue_prefix(partition)).values() for id_ in ids)
    dead = dump.scores(keyspace.dead(partition))
    intents = dump.under(keyspace.intent_prefix(partition))
    for id_, record in intents.items():
        places = (queued[id_], int(id_ in dead), int(record.get("state") == "done"))
        assert sum(places) == 1, f"{id_}: queued, dead, done = {places}"
        assert (record.get("state") == "dead") == (id_ in dead)
        ends = dump.ttl_ms[keyspace.intent(id_)] != NO_END
        assert ends == bool(places[2]), f"{id_}: has a time to live: {ends}"
        assert ("payload" in record) != bool(places[2])
    assert set(queued) | set(dead) <= set(intents)
    pending = dump.hash(keyspace.counters(partition)).get("pending", "0")
    assert int(pending) == queued.total()


def _changes_are_those_that_wait(dump: Dump, lane: str) -> None:
    waiting = dump.list(keyspace.queue(lane))
    named = {id_: dump.hash(keyspace.intent(id_)).get("change") for id_ in waiting}
    told = {f"{change}:{id_}" for id_, change in named.items() if change}
    assert set(dump.scores(keyspace.changes(lane))) == told


def _lanes(dump: Dump, partition: str) -> set[str]:
    lanes = {*dump.under(keyspace.queue_prefix(partition)), *dump.under(keyspace.lane_prefix(partition))}
    for key in (keyspace.due(partition), *(keyspace.sent(partition, queue) for queue in QUEUES)):
        lanes |= set(dump.scores(key))
    return lanes


def _the_lane_is_in_one_state(dump: Dump, lane: str, now_ms: int) -> None:
    partition = keyspace.partition_of(lane)
    fields = dump.hash(keyspace.lane(lane))
    due = dump.scores(keyspace.due(partition)).get(lane)
    sent = [(queue, dump.scores(keyspace.sent(partition, queue)).get(lane)) for queue in QUEUES]
    seqs = [(queue, seq) for queue, seq in sent if seq is not None]
    newest = dump.hash(keyspace.counters(partition))
    assert all(seq <= int(newest[f"seq:{queue}"]) for queue, seq in seqs)
    told = f"lane {lane}: {fields}, due {due}, sent {seqs}"
    assert len(seqs) <= 1, f"two turns are outstanding; {told}"
    if not dump.list(keyspace.queue(lane)):
        owed = int(fields["check_at"]) if "check_at" in fields else None
        assert due == owed and not seqs and "token" not in fields, f"an empty lane is not asleep; {told}"  # noqa: PT018
    elif "token" not in fields:
        assert (due is None) == bool(seqs), f"a waiting lane must be either sent or due; {told}"
    elif int(fields["until"]) > now_ms:
        assert due == int(fields["until"]), f"a leased lane must be due at its lease's end; {told}"
    else:
        assert due is not None or seqs, f"a lane whose holder is gone is forgotten; {told}"
