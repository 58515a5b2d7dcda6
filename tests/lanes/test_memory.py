"""What a waiting intent costs: a backlog of a million must fit into memory."""

from __future__ import annotations

from typing import Any

from redis import Redis

from onelane import keyspace
from onelane.identity import lane_id

from .bench import Bench

INTENTS = 3_000
MOST_BYTES = 870
"""Beyond its payload, with a dedupe key and a lane of its own: with its turn's message less than 1.5 KB."""


def _used_bytes(redis: Redis) -> int:
    memory: Any = redis.info("memory")
    return int(memory["used_memory"])


def test_a_waiting_intent_is_small(valkey: Redis) -> None:
    bench = Bench(valkey)
    bench.submit(
        email="first@example.test", partition_limit=10
    )  # the scripts are loaded, the buffers are there
    before = _used_bytes(valkey)

    for i in range(INTENTS):
        email = f"user{i:06}@example.test"
        bench.submit(
            bench.new_id(keyspace.partition_of(lane_id(email))), email=email, dedupe="k", content="d" * 32
        )

    payload = len('{"kind": "lead_capture", "email": "user000000@example.test"}')
    assert (_used_bytes(valkey) - before) / INTENTS - payload < MOST_BYTES
