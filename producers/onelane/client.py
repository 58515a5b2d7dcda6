"""ContactQueue: what a service calls to say what should be true of a contact."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from onelane import records, registry
from onelane.errors import OnelaneError, WaitTimeout
from onelane.intents import Intent
from onelane.results import Latest, Outcome, Receipt, Status
from onelane.session import Exchange, Session
from onelane.settings import QueueSettings, settings_for
from onelane.submission import Answer, Batch, Submission, address_of, prepare, prepare_all, submit, withdraw

if TYPE_CHECKING:
    from redis import Redis

    from onelane.link import Patience
    from onelane.wakeup import Waker
    from onelane.workspace import Command

T = TypeVar("T")


class ContactQueue:
    """The queue of contact intents, for blocking code. One per process is enough; threads may share it.

    It may be made before a fork: a child opens connections of its own. Nothing is connected until it is used.
    Every verb raises `QueueUnavailable` if Redis cannot be reached for ENQUEUE_TIMEOUT_S.
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

        `redis`, if given, is used in place of a client made from the settings, with its own time-outs;
        likewise `waker`. Raises `BadSetting`.
        """
        # redis and kombu take longer to load than all the rest: only who makes a queue waits for them.
        from onelane.link import blocking_client
        from onelane.wakeup import Waker

        self.settings = settings_for(settings, workspace)
        self._session = Session(self.settings.workspace)
        self._redis = redis or blocking_client(self.settings)
        self._waker = waker or Waker.of(self.settings)

    @classmethod
    def from_url(cls, url: str, *, broker_url: str | None = None, **settings: Any) -> Self:
        """The queue in this Redis, its wake-ups carried by the same Redis or by `broker_url`.

        Further settings are those of the environment, or given by name: `workspace="shop"`, `lane_max=100`.
        Raises `BadSetting`.
        """
        return cls(QueueSettings.from_env(redis_url=url, broker_url=broker_url, **settings))

    def enqueue(self, intent: Intent | Mapping[str, Any]) -> Receipt:
        """Store one intent, given as a model or as its JSON object, in its lane, and wake a worker.

        Raises `InvalidIntent`, `DedupeMismatch`, `QueueFull`. If only the wake-up cannot be sent, the receipt
        is valid all the same: the workers find the lane by themselves.
        """
        [answer] = self._submit([prepare(intent)])
        receipt = answer.receipt()
        self._wake(answer.wake)
        return receipt

    def enqueue_many(self, intents: Iterable[Intent | Mapping[str, Any]]) -> list[Receipt]:
        """Store many intents, pipelined in chunks; the receipts are in the order of the intents.

        All are checked before the first is sent: `InvalidIntent` has the `index`, and nothing was stored. It
        is no transaction: after `DedupeMismatch` the rest of the batch was sent, after `QueueFull` and
        `QueueUnavailable` the rest of the chunk. Each carries `index` and `receipts`: what was stored.
        """
        batch = Batch(prepare_all(intents))
        for start, chunk in batch.chunks():
            try:
                answers = self._submit(chunk)
            except OnelaneError as error:
                raise batch.told(error) from error.__cause__
            self._wake(batch.take(start, answers))
        return batch.receipts()

    def withdraw(self, intent_id: str) -> bool:
        """Take back an intent that waits: it ends `withdrawn`. False if it is at work, ended or unknown.

        An intent that a worker has begun is not taken back, nor one that returned from the dead letters.
        """
        if not records.is_intent_id(intent_id):
            return False
        return self._exchange(lambda: withdraw(self._session, intent_id, self.settings))

    def status(self, intent_id: str) -> Status | None:
        """Where the intent stands; None if the id is unknown or forgotten (ONELANE_STATUS_TTL_S)."""
        if not records.is_intent_id(intent_id):
            return None
        return self._exchange(lambda: records.status(self._session.keys, intent_id))

    def wait(self, intent_id: str, timeout: float) -> Outcome:
        """The outcome of the intent, also a rejected one, waiting up to `timeout` seconds for it.

        Raises `WaitTimeout`, and `UnknownIntent` for an id of which nothing is known.
        """
        started_s = time.monotonic()
        while (outcome := self._outcome(intent_id)) is None:
            waited_s = time.monotonic() - started_s
            if waited_s >= timeout:
                raise WaitTimeout(records.not_ended(intent_id, timeout))
            time.sleep(min(records.poll_pause_s(waited_s), timeout - waited_s))
        return outcome

    def _outcome(self, intent_id: str) -> Outcome | None:
        return self._exchange(lambda: records.outcome(self._session.keys, intent_id))

    def latest(self, email: str) -> Latest | None:
        """The newest facts of the contact of this address, if a recent write or read brought any.

        It reads the registry and asks nobody: None means "not known here", not "not in Intercom".
        Raises `InvalidIntent` if `email` is no address.
        """
        address = address_of(email)
        return self._exchange(lambda: registry.latest(self._session, address))

    def _submit(self, chunk: Sequence[Submission]) -> list[Answer]:
        return self._exchange(lambda: submit(self._session, chunk, self.settings))

    def _wake(self, count: int) -> None:
        if count:
            self._waker.wake(count)

    def _exchange(self, start: Callable[[], Exchange[T]]) -> T:
        """The result of an exchange, which is started over while errors pass and there is time."""
        from redis.exceptions import ReadOnlyError, RedisError

        from onelane.link import Patience

        patience = Patience(self.settings.enqueue_timeout_s)
        while True:
            try:
                return self._attempt(start(), patience)
            except RedisError as error:
                pause_s = patience.pause_s(error)
                if isinstance(error, ReadOnlyError):  # a demoted primary: look up the new one
                    self._redis.connection_pool.disconnect()
                time.sleep(pause_s)

    def _attempt(self, exchange: Exchange[T], patience: Patience) -> T:
        try:
            commands = next(exchange)
            while True:
                commands = exchange.send(self._ask(commands))
                patience.go_on()
        except StopIteration as end:
            result: T = end.value
            return result

    def _ask(self, commands: Sequence[Command]) -> Sequence[Any]:
        """One round trip. Error replies are among the replies."""
        from redis.exceptions import ResponseError

        if len(commands) == 1:  # a pipeline of one takes longer
            try:
                return [self._redis.execute_command(*commands[0])]  # type: ignore[no-untyped-call]
            except ResponseError as error:
                return [error]
        with self._redis.pipeline(transaction=False) as pipe:
            for command in commands:
                pipe.execute_command(*command)  # type: ignore[no-untyped-call]
            return pipe.execute(raise_on_error=False)

    def close(self) -> None:
        """Close all connections. Use after that opens new ones."""
        self._waker.close()
        self._redis.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
