"""AsyncContactQueue: the same verbs for asyncio."""

from __future__ import annotations

import asyncio
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ReadOnlyError, RedisError, ResponseError

from onelane import link, records, registry
from onelane.errors import OnelaneError, WaitTimeout
from onelane.intents import Intent
from onelane.link import Patience
from onelane.results import Latest, Outcome, Receipt, Status
from onelane.session import Exchange, Session
from onelane.settings import QueueSettings, settings_for
from onelane.submission import Answer, Batch, Submission, address_of, prepare, prepare_all, submit, withdraw
from onelane.wakeup import Waker
from onelane.workspace import Command

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
        workspace: str | None = None,
        redis: Redis | None = None,
        waker: Waker | None = None,
    ) -> None:
        """With the given settings, else those of the environment; `workspace` stands above both.

        Raises `BadSetting`.
        """
        self.settings = settings_for(settings, workspace)
        self._session = Session(self.settings.workspace)
        self._given = redis
        self._own = _Own()
        self._inherited: list[Redis] = []
        """The parent process's clients. Dropped here, they would take their sockets out of the epoll set,
        which both processes share: the parent would wait in vain for its answers."""
        self._waker = waker or Waker.of(self.settings)

    @classmethod
    def from_url(cls, url: str, *, broker_url: str | None = None, **settings: Any) -> Self:
        """The queue in this Redis, its wake-ups carried by the same Redis or by `broker_url`.

        See `ContactQueue.from_url`.
        """
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
        """Store one intent in its lane and wake a worker. See `ContactQueue.enqueue`."""
        [answer] = await self._submit([prepare(intent)])
        receipt = answer.receipt()
        await self._wake(answer.wake)
        return receipt

    async def enqueue_many(self, intents: Iterable[Intent | Mapping[str, Any]]) -> list[Receipt]:
        """Store many intents, pipelined in chunks. See `ContactQueue.enqueue_many`."""
        batch = Batch(prepare_all(intents))
        for start, chunk in batch.chunks():
            try:
                answers = await self._submit(chunk)
            except OnelaneError as error:
                raise batch.told(error) from error.__cause__
            await self._wake(batch.take(start, answers))
        return batch.receipts()

    async def withdraw(self, intent_id: str) -> bool:
        """Take back an intent that waits: it ends `withdrawn`. See `ContactQueue.withdraw`."""
        if not records.is_intent_id(intent_id):
            return False
        return await self._exchange(lambda: withdraw(self._session, intent_id, self.settings))

    async def status(self, intent_id: str) -> Status | None:
        """Where the intent stands; None if the id is unknown or forgotten (ONELANE_STATUS_TTL_S)."""
        if not records.is_intent_id(intent_id):
            return None
        return await self._exchange(lambda: records.status(self._session.keys, intent_id))

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
        return await self._exchange(lambda: records.outcome(self._session.keys, intent_id))

    async def latest(self, email: str) -> Latest | None:
        """The newest facts of the contact of this address, from the registry. See `ContactQueue.latest`."""
        address = address_of(email)
        return await self._exchange(lambda: registry.latest(self._session, address))

    async def _submit(self, chunk: Sequence[Submission]) -> list[Answer]:
        return await self._exchange(lambda: submit(self._session, chunk, self.settings))

    async def _wake(self, count: int) -> None:
        if count:  # kombu blocks
            await asyncio.to_thread(self._waker.wake, count)

    async def _exchange(self, start: Callable[[], Exchange[T]]) -> T:
        """The result of an exchange, which is started over while errors pass and there is time."""
        patience = Patience(self.settings.enqueue_timeout_s)
        while True:
            try:
                return await self._attempt(start(), patience)
            except RedisError as error:
                pause_s = patience.pause_s(error)
                if isinstance(error, ReadOnlyError):  # a demoted primary: look up the new one
                    await self._redis.connection_pool.disconnect()
                await asyncio.sleep(pause_s)

    async def _attempt(self, exchange: Exchange[T], patience: Patience) -> T:
        try:
            commands = next(exchange)
            while True:
                commands = exchange.send(await self._ask(commands))
                patience.go_on()
        except StopIteration as end:
            result: T = end.value
            return result

    async def _ask(self, commands: Sequence[Command]) -> Sequence[Any]:
        """One round trip. Error replies are among the replies."""
        if len(commands) == 1:
            try:
                return [await self._redis.execute_command(*commands[0])]  # type: ignore[no-untyped-call]
            except ResponseError as error:
                return [error]
        async with self._redis.pipeline(transaction=False) as pipe:
            for command in commands:
                pipe.execute_command(*command)
            return await pipe.execute(raise_on_error=False)

    async def close(self) -> None:
        """Close the connections of this event loop and to the broker. Use after that opens new ones."""
        self._waker.close()
        if self._given is not None or self._own.client is not None:
            await self._redis.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()
