"""ContactQueue: what a service calls to say what should be true of a contact."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from onelane import keyspace, records, registry
from onelane.errors import OnelaneError, WaitTimeout
from onelane.intents import Intent
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

if TYPE_CHECKING:
    from redis import Redis

    from onelane.publisher import Publisher

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
        redis: Redis | None = None,
        publisher: Publisher | None = None,
    ) -> None:
        """With the given settings, else those of the environment.

        `redis`, if given, is used in place of a client made from the settings, with its own time-outs;
        likewise `publisher`. Raises `BadSetting`.
        """
        # redis and kombu take longer to load than all the rest: only who makes a queue waits for them.
        from onelane.link import blocking_client
        from onelane.publisher import Publisher

        self.settings = settings or QueueSettings.from_env()
        self._redis = redis or blocking_client(self.settings)
        self._publisher = publisher or Publisher(self.settings.broker, self.settings.ca_file)

    @classmethod
    def from_url(cls, url: str, *, broker_url: str | None = None, **settings: Any) -> Self:
        """The queue in this Redis, its turns carried by the same Redis or by `broker_url`.

        Further settings are those of the environment, or given by name: `lane_max=100`. Raises `BadSetting`.
        """
        return cls(QueueSettings.from_env(redis_url=url, broker_url=broker_url, **settings))

    def enqueue(self, intent: Intent | Mapping[str, Any]) -> Receipt:
        """Store one intent, given as a model or as its JSON object, in its lane, and wake the lane.

        Raises `InvalidIntent`, `DedupeMismatch`, `QueueFull`. If only the wake-up cannot be sent, the receipt
        is valid all the same: the workers find the lane by themselves.
        """
        submission = prepare(intent, self.settings)
        [reply] = self._submit([submission])
        receipt, turn = submission.accepted(reply)
        if turn is not None:
            self._publisher.publish([turn])
        return receipt

    def enqueue_many(self, intents: Iterable[Intent | Mapping[str, Any]]) -> list[Receipt]:
        """Store many intents, pipelined in chunks; the receipts are in the order of the intents.

        All are checked before the first is sent: `InvalidIntent` has the `index`, and nothing was stored. It
        is no transaction: after `DedupeMismatch` the rest of the batch was sent, after `QueueFull` and
        `QueueUnavailable` the rest of the chunk. Each carries `index` and `receipts`: what was stored.
        """
        batch = Batch(prepare_all(intents, self.settings))
        for start, chunk in batch.chunks():
            try:
                replies = self._submit(chunk)
            except OnelaneError as error:
                raise batch.told(error) from error.__cause__
            self._publisher.publish(batch.take(start, replies))
        return batch.receipts()

    def status(self, intent_id: str) -> Status | None:
        """Where the intent stands; None if the id is unknown or forgotten (ONELANE_STATUS_TTL_S)."""
        if not records.is_intent_id(intent_id):
            return None
        key = keyspace.intent(intent_id)
        return records.status_of(intent_id, self._call(lambda: self._redis.hgetall(key)))

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
        key = keyspace.intent(records.known_form(intent_id))
        values = self._call(lambda: self._redis.hmget(key, records.WAIT_FIELDS))
        return records.outcome_of(intent_id, values)

    def latest(self, email: str) -> Latest | None:
        """The newest facts of the contact of this address, if a recent write or read brought any.

        It reads the registry and asks nobody: None means "not known here", not "not in Intercom".
        Raises `InvalidIntent` if `email` is no address.
        """
        key = keyspace.belief(lane_of(email))
        belief, (seconds, micros) = self._call(lambda: self._with_time(key))
        return registry.latest_of(belief, seconds * 1000 + micros // 1000)

    def _with_time(self, key: str) -> Any:
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.get(key)
            pipe.time()
            return pipe.execute()

    def _submit(self, chunk: Sequence[Submission]) -> Sequence[Any]:
        replies = self._run([submission.call for submission in chunk])
        gates = [submission.gate(reply) for submission, reply in zip(chunk, replies, strict=True)]
        wanted = [gate for gate in gates if gate is not None]
        if wanted:
            self._run(wanted)
        return replies

    def _run(self, calls: Sequence[Call]) -> Sequence[Any]:
        return self._call(lambda: self._run_once(calls))

    def _run_once(self, calls: Sequence[Call]) -> Sequence[Any]:
        from onelane import link

        replies = self._evaluate(calls)
        if link.script_is_missing(replies):
            for script in SCRIPTS:
                self._redis.script_load(script)
            replies = self._evaluate(calls)  # all of them: those that were stored are known by their ids
        return link.checked(replies)

    def _evaluate(self, calls: Sequence[Call]) -> Sequence[Any]:
        with self._redis.pipeline(transaction=False) as pipe:
            for call in calls:
                pipe.evalsha(call.sha, len(call.keys), *call.keys, *call.args)
            return pipe.execute(raise_on_error=False)

    def _call(self, do: Callable[[], T]) -> T:
        from redis.exceptions import ReadOnlyError, RedisError

        from onelane import link

        patience = link.Patience(self.settings.enqueue_timeout_s)
        while True:
            try:
                return do()
            except RedisError as error:
                pause_s = patience.pause_s(error)
                if isinstance(error, ReadOnlyError):  # a demoted primary: look up the new one
                    self._redis.connection_pool.disconnect()
                time.sleep(pause_s)

    def close(self) -> None:
        """Close all connections. Use after that opens new ones."""
        self._publisher.close()
        self._redis.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
