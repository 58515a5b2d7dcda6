"""One suite for both clients: the asyncio one is driven behind the verbs of the blocking one."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, cast

import fakeredis
import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from onelane import AsyncContactQueue, ContactQueue, QueueSettings
from onelane.email_address import normalise_email
from onelane.keys import Keys
from onelane.wakeup import Waker
from onelane.workspace import Workspace


class Recorder(Waker):
    """Counts the wake-ups instead of sending them."""

    def __init__(self) -> None:
        super().__init__("memory://", "main")
        self.sent: list[int] = []

    def wake(self, count: int = 1) -> bool:
        self.sent.append(count)
        return True


def workspace_of(redis: Redis, name: str = "main") -> Workspace:
    """The workspace as it stands in this Redis."""
    return Workspace(name, cast(str, redis.hget(Keys(name).key("meta"), "secret")))


class Driven:
    """An AsyncContactQueue behind blocking verbs."""

    def __init__(self, queue: AsyncContactQueue, runner: asyncio.Runner) -> None:
        self.queue = queue
        self._runner = runner

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            return await getattr(self.queue, verb)(*args, **kwargs)

        return lambda *args, **kwargs: self._runner.run(call(*args, **kwargs))


def waiting(redis: Redis, lane: str) -> list[str]:
    return cast(list[str], redis.lrange(Keys().key("queue", lane), 0, -1))


def stored(redis: Redis) -> int:
    return len(redis.keys(Keys().key("intent", "*")))


def wake_ups(redis: Redis) -> int:
    return cast(int, redis.llen("onelane.main"))


@dataclass
class Shop:
    """A queue with what is behind it: the Redis it writes to and the wake-ups it sent."""

    queue: Any
    redis: Redis
    waker: Recorder = field(repr=False)
    name: str = "main"

    @property
    def workspace(self) -> Workspace:
        return workspace_of(self.redis, self.name)

    def key(self, *words: str) -> str:
        return Keys(self.name).key(*words)

    def record(self, intent_id: str) -> dict[str, str]:
        return cast(dict[str, str], self.redis.hgetall(self.key("intent", intent_id)))

    def lane_of(self, email: str) -> str:
        return self.workspace.lane(normalise_email(email))

    def waiting(self, lane: str) -> list[str]:
        return cast(list[str], self.redis.lrange(self.key("queue", lane), 0, -1))

    def stored(self) -> int:
        return len(self.redis.keys(self.key("intent", "*")))

    def end(self, intent_id: str, **outcome: Any) -> None:
        """Do to the intent what settle and bury do."""
        state = "dead" if outcome["result"] == "rejected" else "done"
        ended: dict[Any, Any] = {"state": state, "outcome": json.dumps(outcome), "ended": 1_800_000_000_000}
        lane = self.record(intent_id)["lane"]
        with self.redis.pipeline() as pipe:
            pipe.hset(self.key("intent", intent_id), mapping=ended)
            pipe.hdel(self.key("intent", intent_id), "payload")
            pipe.lrem(self.key("queue", lane), 1, intent_id)
            pipe.hincrby(self.key("counters"), "pending", -1)
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
            waker, options = Recorder(), QueueSettings.from_env({}, **settings)
            if client == "blocking":
                queue = ContactQueue(options, redis=redis, waker=waker)
                return Shop(queue, redis, waker, options.workspace)
            other = runner.run(_twin(redis, request))
            driven = Driven(AsyncContactQueue(options, redis=other, waker=waker), runner)
            closers.append(driven.close)
            return Shop(driven, redis, waker, options.workspace)

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


@pytest.fixture
def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]
