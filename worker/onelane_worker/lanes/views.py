"""Reading lanes for people and for the timer. Nothing here changes anything."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, cast

from onelane.keyspace import QUEUES, QueueName
from onelane.receipts import State
from redis import Redis

from onelane import keyspace
from onelane_worker.lanes.model import DeadLetter, Holder, LaneView, TurnCounters, WaitingIntent
from onelane_worker.lanes.scripts import as_text

Hash = dict[str, str]


def turn_counters(redis: Redis, partition: str) -> TurnCounters:
    """How far the turns of a partition have come."""
    found = _hash(redis.hgetall(keyspace.counters(partition)))
    return TurnCounters(
        seq={queue: int(found.get(f"seq:{queue}", 0)) for queue in QUEUES},
        claimed={queue: int(found.get(f"claimed:{queue}", 0)) for queue in QUEUES},
        pending=int(found.get("pending", 0)),
    )


def describe(redis: Redis, lane: str, most: int | None = None) -> LaneView:
    """A lane as it stands, with `most` of its intents, or all of them."""
    partition = keyspace.partition_of(lane)
    pipe = redis.pipeline(transaction=False)
    pipe.hgetall(keyspace.lane(lane))
    pipe.llen(keyspace.queue(lane))
    pipe.lrange(keyspace.queue(lane), 0, -1 if most is None else most - 1)
    pipe.zscore(keyspace.due(partition), lane)
    for queue in QUEUES:
        pipe.zscore(keyspace.sent(partition, queue), lane)
    pipe.get(keyspace.belief(lane))
    pipe.get(keyspace.memory(lane))
    fields, waiting, ids, due, interactive, bulk, belief, memory = pipe.execute()
    found = _hash(fields)
    return LaneView(
        lane=lane,
        waiting=int(waiting),
        intents=_waiting(redis, [as_text(id_) for id_ in ids]),
        holder=_holder(found),
        dirty=found.get("dirty") == "1",
        due_ms=None if due is None else int(due),
        sent=_scores(interactive, bulk),
        open_write=found.get("open"),
        commit_until_ms=int(found["commit"]) if "commit" in found else None,
        journal=found.get("journal"),
        belief=as_text(belief) or None,
        memory=as_text(memory) or None,
    )


def dead_letters(redis: Redis, partition: str, limit: int) -> list[tuple[str, int]]:
    """(intent id, ms of burial), oldest first."""
    found = cast(Any, redis.zrange(keyspace.dead(partition), 0, limit - 1, withscores=True))
    return [(as_text(id_), int(at)) for id_, at in found]


def dead_before(redis: Redis, partition: str, older_than_ms: int, limit: int) -> list[DeadLetter]:
    """The oldest dead letters of a partition, of those that were buried so long ago."""
    seconds, micros = cast(Any, redis.time())
    until_ms = int(seconds) * 1000 + int(micros) // 1000 - older_than_ms
    found = cast(Any, redis.zrangebyscore(keyspace.dead(partition), "-inf", until_ms, start=0, num=limit))
    return dead_letters_of(redis, [as_text(id_) for id_ in found]) if found else []


def ended_in(redis: Redis, lane: str) -> list[str]:
    """What is kept of the lane's ended intents: of each its id, and after a blank its dedupe key's digest."""
    return [as_text(one) for one in cast(Any, redis.zrange(keyspace.ended(lane), 0, -1))]


def dead_letter(redis: Redis, intent_id: str) -> DeadLetter | None:
    """One dead letter, whole."""
    return next(iter(dead_letters_of(redis, [intent_id])), None)


def dead_letters_of(redis: Redis, intent_ids: Sequence[str]) -> list[DeadLetter]:
    """Those of these intents that are dead letters, whole, in one round trip."""
    pipe = redis.pipeline(transaction=False)
    for intent_id in intent_ids:
        pipe.hgetall(keyspace.intent(intent_id))
    found = zip(intent_ids, map(_hash, pipe.execute()), strict=True)
    return [_dead_letter(id_, fields) for id_, fields in found if fields.get("state") == "dead"]


def _dead_letter(intent_id: str, found: Hash) -> DeadLetter:
    return DeadLetter(
        id=intent_id,
        lane=found["lane"],
        kind=found["kind"],
        buried_at_ms=int(found["ended"]),
        accepted_at_ms=int(found["at"]),
        attempts=int(found.get("attempts", 0)),
        payload=found["payload"],
        error=found.get("error"),
        outcome=found.get("outcome"),
    )


def _waiting(redis: Redis, ids: list[str]) -> tuple[WaitingIntent, ...]:
    pipe = redis.pipeline(transaction=False)
    for id_ in ids:
        pipe.hgetall(keyspace.intent(id_))
    found = [(id_, _hash(fields)) for id_, fields in zip(ids, pipe.execute(), strict=True)]
    # One that has ended between the two steps has no payload any more and does not wait.
    return tuple(_waiting_intent(id_, fields) for id_, fields in found if "payload" in fields)


def _waiting_intent(id_: str, fields: Hash) -> WaitingIntent:
    state = cast(State, fields.get("state", "waiting"))
    return WaitingIntent(id_, _kind(fields["payload"]), state, int(fields.get("attempts", 0)))


def _kind(payload: str) -> str:
    try:
        return str(json.loads(payload)["kind"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return "unreadable"  # people look at a lane most of all when something is wrong with it


def _holder(fields: Hash) -> Holder | None:
    if "token" not in fields:
        return None
    return Holder(fields["token"], int(fields["fence"]), int(fields["until"]))


def _scores(*scores: float | None) -> dict[QueueName, int]:
    return {queue: int(score) for queue, score in zip(QUEUES, scores, strict=True) if score is not None}


def _hash(fields: Any) -> Hash:
    return {as_text(name): as_text(value) for name, value in fields.items()}
