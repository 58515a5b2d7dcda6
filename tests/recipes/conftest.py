"""The recipes of docs/recipes.md, run as an adopter would run them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from onelane import ContactQueue, Status
from onelane.keys import Keys

EXAMPLES = Path(__file__).parent.parent.parent / "examples"
AWAY = "redis://127.0.0.1:1/0"
"""No Redis is there."""


@pytest.fixture(autouse=True)
def examples(monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of examples/ can be imported."""
    monkeypatch.syspath_prepend(str(EXAMPLES))


@pytest.fixture
def redis_url(valkey: Redis, valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty Redis, which the environment names."""
    monkeypatch.setenv("ONELANE_REDIS_URL", valkey_url)
    return valkey_url


@pytest.fixture
def redis_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment names a Redis that is not there."""
    monkeypatch.setenv("ONELANE_REDIS_URL", AWAY)
    monkeypatch.setenv("ONELANE_ENQUEUE_TIMEOUT_S", "0.2")


class Ledger:
    """What Redis holds of the intents."""

    def __init__(self, queue: ContactQueue, redis: Redis) -> None:
        self._queue = queue
        self._redis = redis

    def status(self, intent_id: str) -> Status:
        status = self._queue.status(intent_id)
        assert status is not None
        return status

    def waiting(self) -> list[dict[str, Any]]:
        """The JSON form of all waiting intents, lane by lane, each in its order."""
        keys = Keys()
        lanes = self._redis.keys(keys.key("queue", "*"))
        ids = [one for lane in lanes for one in self._redis.lrange(lane, 0, -1)]
        return [json.loads(self._redis.hget(keys.key("intent", one), "payload") or "") for one in ids]

    def kinds(self) -> list[str]:
        """Their kinds."""
        return [intent["kind"] for intent in self.waiting()]


@pytest.fixture
def ledger(redis_url: str, valkey: Redis) -> Iterator[Ledger]:
    with ContactQueue.from_url(redis_url) as queue:
        yield Ledger(queue, valkey)
