"""AsyncContactQueue: the same verbs for asyncio."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ReadOnlyError, RedisError

from onelane import keyspace, link, records, registry
from onelane.errors import OnelaneError, WaitTimeout
from onelane.intents import Intent
from onelane.publisher import Publisher
from onelane.receipts import Latest, Outcome, Receipt, Status
from onelane.settings import QueueSettings
from onelane.submission import (
    SCRIPTS,
    Batch,
    Call,
    Submission,
    lane_of,
    prepare,
    prepare_all,
)
from onelane.turns import Turn

T = TypeVar("T")

MAX_CONNECTIONS = 16
"""A thousand tasks at once wait for one of these and do not open a thousand."""


class _Own(threading.local):
    """What one thread has made. A loop runs in one thread at a time, so nobody else can come in between."""

    client: Redis | None = None
    home: tuple[int, weakref.ref[asyncio.AbstractEventLoop]] | None = None
    """The process and the event loop that the client belongs to."""


class AsyncContactQueue:
    """The queue of contact intents, for asyncio. See `ContactQueue`: verbs, answers and errors are the same.

    Connections belong to the running event loop: used in another loop, or in a forked child, it opens new
    ones; threads that each run a loop may share it. Cancelling `enqueue` leaves open whether the intent was
    stored.
    """

    def __init__(
        self,
        settings: QueueSettings | None = None,
        *,
        redis: Redis | None = None,
        publisher: Publisher | None = None,
    ) -> None:
        """With the given settings, else those of the environment. Raises `BadSetting`."""
        self.settings = settings or QueueSettings.from_env()
        self._given = redis
        self._own = _Own()
        self._inherited: list[Redis] = []
        """The parent process's clients. Dropped here, they would take their sockets out of the epoll set,
        which both processes share: the parent would wait in vain for its answers."""
        self._publisher = publisher or Publisher(self.settings.broker, self.settings.ca_file)

    @classmethod
    def from_url(cls, url: str, *, broker_url: str | None = None, **settings: Any) -> Self:
        """The queue in this Redis, its turns carried by the same Redis or by `broker_url`."""
        return cls(QueueSettings.from_env(redis_url=url, broker_url=broker_url, **settings))

    @property
    def _redis(self) -> Redis:
        """The client of this process and event loop."""
        if self._given is not None:
            return self._given
        home = os.getpid(), weakref.ref(asyncio.get_running_loop())
        if self._own.client is None or self._own.home != home:
            if self._own.client is not None and self._own.home is not None and self._own.home[0] != home[0]:
                self._inherited.append(self._own.client)
            self._own.home, self._own.client = home, self._client()
        return self._own.client

    def _client(self) -> Redis:
        options = link.client_options(self.settings)
        pool = BlockingConnectionPool.from_url(
            max_connections=MAX_CONNECTIONS,
            timeout=options["socket_timeout"],
            retry=Retry(NoBackoff(), 0),
            **options,
        )
        return Redis.from_pool(pool)

    async def enqueue(self, intent: Intent | Mapping[str, Any]) -> Receipt:
        """Store one intent in its lane and wake the lane. See `ContactQueue.enqueue`."""
        submission = prepare(intent, self.settings)
        [reply] = await self._submit([submission])
        receipt, turn = submission.accepted(reply)
        if turn is not None:
            await self._publish([turn])
        return receipt

    async def enqueue_many(self, intents: Iterable[Intent | Mapping[str, Any]]) -> list[Receipt]:
        """Store many intents, pipelined in chunks. See `ContactQueue.enqueue_many`."""
        batch = Batch(prepare_all(intents, self.settings))
        for start, chunk in batch.chunks():
            try:
                replies = await self._submit(chunk)
            except OnelaneError as error:
                raise batch.told(error) from error.__cause__
            await self._publish(batch.take(start, replies))
        return batch.receipts()

    async def _publish(self, wanted: Sequence[Turn]) -> None:
        if wanted:  # kombu blocks
            await asyncio.to_thread(self._publisher.publish, wanted)

    async def status(self, intent_id: str) -> Status | None:
        """Where the intent stands; None if the id is unknown or forgotten (ONELANE_STATUS_TTL_S)."""
        if not records.is_intent_id(intent_id):
            return None
        key = keyspace.intent(intent_id)
        return records.status_of(intent_id, await self._call(lambda: self._redis.hgetall(key)))

    async def wait(self, intent_id: str, timeout: float) -> Outcome:
        """The outcome, waiting up to `timeout` seconds for it. Raises `WaitTimeout`, `UnknownIntent`."""
        started_s = time.monotonic()
        while (outcome := await self._outcome(intent_id)) is None:
            waited_s = time.monotonic() - started_s
            if waited_s >= timeout:
                raise WaitTimeout(records.not_ended(intent_id, timeout))
            await asyncio.sleep(min(records.poll_pause_s(waited_s), timeout - waited_s))
        return outcome

    async def _outcome(self, intent_id: str) -> Outcome | None:
        key = keyspace.intent(records.known_form(intent_id))
        values = await self._call(lambda: self._redis.hmget(key, records.WAIT_FIELDS))
        return records.outcome_of(intent_id, values)

    async def latest(self, email: str) -> Latest | None:
        """The newest facts of the contact of this address, from the registry. See `ContactQueue.latest`."""
        key = keyspace.belief(lane_of(email))
        belief, (seconds, micros) = await self._call(lambda: self._with_time(key))
        return registry.latest_of(belief, seconds * 1000 + micros // 1000)

    async def _with_time(self, key: str) -> Any:
        async with self._redis.pipeline(transaction=False) as pipe:
            pipe.get(key)
            pipe.time()
            return await pipe.execute()

    async def _submit(self, chunk: Sequence[Submission]) -> Sequence[Any]:
        replies = await self._run([submission.call for submission in chunk])
        gates = [submission.gate(reply) for submission, reply in zip(chunk, replies, strict=True)]
        wanted = [gate for gate in gates if gate is not None]
        if wanted:
            await self._run(wanted)
        return replies

    async def _run(self, calls: Sequence[Call]) -> Sequence[Any]:
        return await self._call(lambda: self._run_once(calls))

    async def _run_once(self, calls: Sequence[Call]) -> Sequence[Any]:
        replies = await self._evaluate(calls)
        if link.script_is_missing(replies):
            for script in SCRIPTS:
                await self._redis.script_load(script)
            replies = await self._evaluate(calls)
        return link.checked(replies)

    async def _evaluate(self, calls: Sequence[Call]) -> Sequence[Any]:
        async with self._redis.pipeline(transaction=False) as pipe:
            for call in calls:
                pipe.evalsha(call.sha, len(call.keys), *call.keys, *call.args)
            return await pipe.execute(raise_on_error=False)

    async def _call(self, do: Callable[[], Awaitable[T]]) -> T:
        patience = link.Patience(self.settings.enqueue_timeout_s)
        while True:
            try:
                return await do()
            except RedisError as error:
                pause_s = patience.pause_s(error)
                if isinstance(error, ReadOnlyError):
                    await self._redis.connection_pool.disconnect()
                await asyncio.sleep(pause_s)

    async def close(self) -> None:
        """Close the connections of this event loop and to the broker. Use after that opens new ones."""
        self._publisher.close()
        if self._given is not None or self._own.client is not None:
            await self._redis.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
