"""Dead letters that are older than ONELANE_DEAD_LETTER_TTL_S are given up, and no others."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest
from redis import Redis

from onelane.keys import Keys
from onelane.workspace import Workspace, open_calls, opened
from onelane_worker.engine import dead_letter_expiry
from onelane_worker.lanes.client import LaneClient
from onelane_worker.lanes.store import LaneStore
from onelane_worker.lanes.types import LaneSettings

T = TypeVar("T")
KEYS = Keys("main")
LANE = "1" * 32
DAY_S = 86_400
REJECTED = json.dumps({"result": "rejected", "reason": "refused"})


def bury(redis: Redis, intent_id: str, days_ago: float, burials: int = 1) -> None:
    """What stands in Redis of a dead letter."""
    record = {"state": "dead", "lane": LANE, "burials": burials, "outcome": REJECTED, "payload": "{}"}
    redis.hset(KEYS.key("intent", intent_id), mapping=record)
    redis.sadd(KEYS.key("letters", LANE), intent_id)
    redis.zadd(KEYS.key("dead"), {intent_id: round((time.time() - days_ago * DAY_S) * 1000)})


@pytest.fixture
def look(valkey: Redis, valkey_url: str) -> Callable[[], int]:
    """One look, for letters older than a day."""

    def with_store(do: Callable[[LaneStore, LaneClient, Workspace], Awaitable[T]]) -> T:
        async def run() -> T:
            client = LaneClient.from_url(f"{valkey_url}/0", {})
            try:
                workspace = opened("main", await client.ask(open_calls(KEYS)))
                return await do(LaneStore(client, workspace, LaneSettings()), client, workspace)
            finally:
                await client.aclose()

        return asyncio.run(run())

    return lambda: with_store(
        lambda store, client, workspace: dead_letter_expiry.give_up_old(
            store, client.ask, workspace.keys, DAY_S
        )
    )


def test_only_old_ones_go(valkey: Redis, look: Callable[[], int]) -> None:
    bury(valkey, "old", days_ago=2)
    bury(valkey, "young", days_ago=0.5)

    assert look() == 1

    assert valkey.zrange(KEYS.key("dead"), 0, -1) == ["young"]
    assert valkey.smembers(KEYS.key("letters", LANE)) == {"young"}
    told = valkey.hgetall(KEYS.key("intent", "old"))
    assert (told["state"], told["outcome"], "payload" in told) == ("done", REJECTED, False)
    assert look() == 0


def test_a_few_at_a_time(valkey: Redis, look: Callable[[], int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dead_letter_expiry, "MOST", 2)
    for n in range(3):
        bury(valkey, f"i{n}", days_ago=2 + n)

    assert look() == 2
    assert valkey.zrange(KEYS.key("dead"), 0, -1) == ["i0"]  # the oldest go first


def test_one_that_was_replayed_meanwhile_stays(valkey: Redis, look: Callable[[], int]) -> None:
    bury(valkey, "replayed", days_ago=2)
    valkey.hset(KEYS.key("intent", "replayed"), "state", "waiting")

    assert look() == 0
    assert valkey.hget(KEYS.key("intent", "replayed"), "payload") == "{}"


def test_one_whose_record_is_gone_is_no_trouble(valkey: Redis, look: Callable[[], int]) -> None:
    valkey.zadd(KEYS.key("dead"), {"gone": 1})
    assert look() == 0
