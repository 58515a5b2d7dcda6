"""One suite for both clients: the asyncio one is driven behind the verbs of the blocking one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import fakeredis
import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from onelane import AsyncContactQueue, ContactQueue, QueueSettings, keyspace
from onelane.publisher import Publisher
from onelane.turns import Turn


class Recorder(Publisher):
    """Keeps the turns instead of sending them."""

    def __init__(self) -> None:
        super().__init__("memory://")
        self.turns: list[Turn] = []

    def publish(self, wanted: Sequence[Turn]) -> bool:
        self.turns += wanted
        return True


class Driven:
    """An AsyncContactQueue behind blocking verbs."""

    def __init__(self, queue: AsyncContactQueue, runner: asyncio.Runner) -> None:
        self.queue = queue
        self._runner = runner

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            return await getattr(self.queue, verb)(*args, **kwargs)

        return lambda *args, **kwargs: self._runner.run(call(*args, **kwargs))


@dataclass
class Shop:
    """A queue with what is behind it: the Redis it writes to and the turns it published."""

    queue: Any
    redis: Redis
    publisher: Recorder = field(repr=False)

    def record(self, intent_id: str) -> dict[str, str]:
        return cast(dict[str, str], self.redis.hgetall(keyspace.intent(intent_id)))

    def lane(self, lane: str) -> list[str]:
        return cast(list[str], self.redis.lrange(keyspace.queue(lane), 0, -1))

    def stored(self) -> int:
        return len(self.redis.keys("onelane:*:intent:*"))

    def end(self, intent_id: str, **outcome: Any) -> None:
        """Do to the intent's record what settle and bury do."""
        key = keyspace.intent(intent_id)
        kind = json.loads(self.redis.hget(key, "payload") or "{}")["kind"]
        state = "dead" if outcome["result"] == "rejected" else "done"
        ended: dict[Any, Any] = {
            "state": state,
            "outcome": json.dumps(outcome),
            "ended": 1_800_000_000_000,
            "kind": kind,
        }
        with self.redis.pipeline() as pipe:
            pipe.hset(key, mapping=ended)
            pipe.hdel(key, "payload")
            pipe.execute()


Open = Callable[..., Shop]


@pytest.fixture(params=["blocking", "asyncio"])
def client(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def open_shop(redis: Redis, client: str, request: pytest.FixtureRequest) -> Iterator[Open]:
    """Opens a queue over an empty Redis: the double and the real one, with both clients."""
    with asyncio.Runner() as runner:
        closers: list[Callable[[], Any]] = []

        def open_it(**settings: Any) -> Shop:
            publisher = Recorder()
            options = QueueSettings.from_env({}, **settings)
            if client == "blocking":
                return Shop(ContactQueue(options, redis=redis, publisher=publisher), redis, publisher)
            other = runner.run(_twin(redis, request))
            queue = Driven(AsyncContactQueue(options, redis=other, publisher=publisher), runner)
            closers.append(queue.close)
            return Shop(queue, redis, publisher)

        yield open_it
        for close in closers:
            close()


async def _twin(redis: Redis, request: pytest.FixtureRequest) -> AsyncRedis:
    """An asyncio client of the same Redis."""
    if isinstance(redis, fakeredis.FakeRedis):
        server = redis.connection_pool.connection_kwargs["server"]
        return fakeredis.FakeAsyncRedis(server=server, decode_responses=True)
    return AsyncRedis.from_url(request.getfixturevalue("valkey_url"), decode_responses=True)


@pytest.fixture
def shop(open_shop: Open) -> Shop:
    return open_shop()
