"""What the lane tests share: a bench with one store on it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from redis import Redis

from onelane import keyspace
from onelane.identity import lane_id
from onelane.keyspace import INTERACTIVE, QUEUES, QueueName
from onelane_worker.lanes.model import Grant, LaneSettings, Refused
from onelane_worker.lanes.store import LaneStore

from .laws import Dump

EMAIL = "ann@example.test"
LANE = lane_id(EMAIL)
PARTITION = keyspace.partition_of(LANE)
LEASE_MS = 5_000
COMMIT_MS = 31_000
DONE = '{"result":"updated"}'
SUBMIT = (files("onelane") / "scripts" / "submit.lua").read_text("utf-8")


@dataclass(frozen=True)
class Submitted:
    """The words of submit.lua's answer."""

    status: str
    id: str
    seq: int
    queue: QueueName


class Bench:
    """A LaneStore, a producer, and a hand on the clock."""

    def __init__(self, redis: Redis, **limits: int) -> None:
        self.redis = redis
        self.limits = LaneSettings(**{"lease_ms": LEASE_MS, **limits})
        self.store = LaneStore(redis, self.limits)
        self._submit = redis.register_script(SUBMIT)
        self._ids = 0
        self._tokens = 0

    # --- producing

    def new_id(self, partition: str = PARTITION) -> str:
        self._ids += 1
        return f"{partition}{self._ids:031x}"

    def submit(
        self,
        id_: str | None = None,
        *,
        email: str = EMAIL,
        queue: QueueName = INTERACTIVE,
        dedupe: str | None = None,
        content: str = "c",
        schema: int = 1,
        lane_limit: int = 1000,
        partition_limit: int = 1000,
    ) -> Submitted:
        lane = lane_id(email)
        partition = keyspace.partition_of(lane)
        id_ = id_ or self.new_id(partition)
        kind = "lead_capture" if queue == INTERACTIVE else "contact_sync"
        keys = [keyspace.intent(id_), keyspace.queue(lane), keyspace.lane(lane), keyspace.due(partition)]
        keys += [keyspace.sent(partition, name) for name in QUEUES] + [keyspace.counters(partition)]
        keys += [keyspace.dedupe(lane, kind, dedupe)] if dedupe else []
        payload = json.dumps({"kind": kind, "email": email})
        args = [id_, lane, payload, queue, schema, content, lane_limit, partition_limit]
        status, known, seq, name, _ = self._submit(keys, args)
        return Submitted(status, known, int(seq), name)

    def submit_many(self, count: int, **kwargs: Any) -> list[str]:
        return [self.submit(**kwargs).id for _ in range(count)]

    # --- working

    def new_token(self) -> str:
        self._tokens += 1
        return f"t{self._tokens}"

    def ask(
        self, *, seq: int = 0, queue: QueueName = INTERACTIVE, token: str | None = None, lane: str = LANE
    ) -> Grant | Refused:
        return self.store.claim(lane, queue, seq, token or self.new_token())

    def claim(self, *, seq: int = 0, queue: QueueName = INTERACTIVE, token: str | None = None) -> Grant:
        answer = self.ask(seq=seq, queue=queue, token=token)
        assert isinstance(answer, Grant), answer
        return answer

    def refusal(self, **kwargs: Any) -> str:
        answer = self.ask(**kwargs)
        assert isinstance(answer, Refused), answer
        return answer.reason

    def settle(self, grant: Grant, op: str, count: int = 1, **kwargs: Any) -> Any:
        ended = [(intent.id, DONE) for intent in grant.intents[:count]]
        wish = {"belief": None, "memory": None, "want_more": False, **kwargs}
        return self.store.settle(grant, op, ended, **wish)

    def postpone(self, grant: Grant, op: str, delay_ms: int = 1_000, **kwargs: Any) -> int:
        wish: dict[str, Any] = {
            "state": "retrying",
            "error": None,
            "count_attempt": True,
            "unknown_write": False,
            "yields": False,
            **kwargs,
        }
        return self.store.postpone(grant, op, delay_ms, **wish)

    def bury(self, grant: Grant, op: str, **kwargs: Any) -> Any:
        wish = {"want_more": False, **kwargs}
        return self.store.bury(grant, op, '{"class":"Refused"}', '{"result":"rejected"}', **wish)

    def hand_out(self, *, limit: int = 100, **seen_empty: int) -> list[Any]:
        return self.store.hand_out(PARTITION, limit, seen_empty)  # type: ignore[arg-type]

    # --- looking

    def intent(self, id_: str) -> dict[str, str]:
        return self.redis.hgetall(keyspace.intent(id_))  # type: ignore[return-value]

    def lane(self, lane: str = LANE) -> dict[str, str]:
        return self.redis.hgetall(keyspace.lane(lane))  # type: ignore[return-value]

    def queue(self, lane: str = LANE) -> list[str]:
        return self.redis.lrange(keyspace.queue(lane), 0, -1)  # type: ignore[return-value]

    def due_ms(self, lane: str = LANE) -> int | None:
        score: Any = self.redis.zscore(keyspace.due(keyspace.partition_of(lane)), lane)
        return None if score is None else int(score)

    def sent(self, lane: str = LANE) -> dict[QueueName, int]:
        return dict(self.store.describe(lane).sent)

    def now_ms(self) -> int:
        seconds, micros = self.redis.time()  # type: ignore[misc]
        return int(seconds) * 1000 + int(micros) // 1000

    def snapshot(self) -> dict[str, Any]:
        """Everything stored, without times to live and answers."""
        return Dump(self.redis).lasting()

    # --- waiting

    def elapse(self, ms: int) -> None:
        """Time goes by: everything stored grows older. (A real server's clock cannot be turned.)"""
        for partition in {key[9] for key in _keys(self.redis) if "{" in key}:
            for lane, _ in self.redis.zscan_iter(keyspace.due(partition)):
                self.redis.zincrby(keyspace.due(partition), -ms, lane)
        for key in _keys(self.redis):
            if key.split(":")[2] in ("lane", "ext"):
                self._age(key, ms)

    def _age(self, key: str, ms: int) -> None:
        for field in ("until", "commit", "pointer_until"):
            at: Any = self.redis.hget(key, field)
            if at is not None:
                self.redis.hset(key, field, str(int(at) - ms))


def _keys(redis: Redis) -> Iterator[str]:
    keys: Any = redis.keys("onelane:*")
    return iter(sorted(keys))
