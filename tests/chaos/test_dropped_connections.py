"""A connection that is silently dropped: nothing comes, nothing goes, and nobody is told."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from redis import Redis

from onelane import ContactQueue, LeadCapture, QueueUnavailable
from onelane.wakeup import BROKER_TIMEOUT_S as PUBLISH_TIMEOUT_S
from onelane_sandbox.serve import RunningSandbox
from onelane_worker.celery_app import BROKER_TIMEOUT_S, HEALTH_CHECK_S
from onelane_worker.cli._local_stack import is_ready

from .processes import python, wait_until
from .proxy import Proxy

START_S = 60.0
STOP_GRACE_S = 2.0
SLOW_S = 1.0
LATEST_STOP_S = STOP_GRACE_S + 10 * BROKER_TIMEOUT_S
"""How long the end of a worker may take, whatever its concurrency: what it still asks of the broker costs a
time-out each."""
LATEST_RECOVERY_S = 6 * (BROKER_TIMEOUT_S + HEALTH_CHECK_S)


class Stand:
    """A worker, whose broker and lanes are behind proxies, and a sandbox."""

    def __init__(self, stack: ExitStack, redis: Redis, valkey_url: str, folder: Path) -> None:
        self.redis = redis
        host, port = urlsplit(valkey_url).hostname or "", urlsplit(valkey_url).port or 0
        self.lanes = stack.enter_context(Proxy(host, port))
        self.broker = stack.enter_context(Proxy(host, port))
        self.lanes_url = f"redis://127.0.0.1:{self.lanes.port}/0"
        self.broker_url = f"redis://127.0.0.1:{self.broker.port}/0"
        sandbox = stack.enter_context(RunningSandbox())
        self.sandbox = sandbox.control
        self.queue = stack.enter_context(ContactQueue.from_url(f"{valkey_url}/0"))
        settings = {
            "REDIS_URL": self.lanes_url,
            "BROKER_URL": self.broker_url,
            "INTERCOM_URL": sandbox.url,
            "INTERCOM_TOKEN": "any",
            "STOP_GRACE_S": STOP_GRACE_S,
            "NEW_REDIS": "true",
        }
        args = ["-m", "celery", "-A", "onelane_worker.app", "worker", "-l", "INFO"]
        self.worker = python("worker", args, settings, folder / "worker.log")
        stack.callback(self.worker.stop)
        self.worker.start()
        wait_until(lambda: is_ready(self.worker), START_S, "the worker is ready")

    def busy(self, count: int = 4) -> None:
        """Returns when so many lanes are at work, each of them for a moment more."""
        self.sandbox.fault("slow", seconds=SLOW_S, times=1000)
        self.queue.enqueue_many([LeadCapture(email=f"p{n}@example.test") for n in range(count)])
        wait_until(lambda: len(self.sandbox.requests()) >= count, START_S, "all are at work")


@pytest.fixture
def stand(valkey: Redis, valkey_url: str, tmp_path: Path) -> Iterator[Stand]:
    with ExitStack() as stack:
        yield Stand(stack, valkey, valkey_url, tmp_path)


def test_a_producer_is_answered_in_time_though_the_broker_is_silent(stand: Stand) -> None:
    with ContactQueue.from_url(stand.lanes_url, broker_url=stand.broker_url, enqueue_timeout_s=2) as queue:
        queue.enqueue(LeadCapture(email="first@example.test"))
        stand.broker.stall()
        began_s = time.monotonic()
        queue.enqueue(LeadCapture(email="second@example.test"))
        stand.lanes.stall()
        with pytest.raises(QueueUnavailable):
            queue.enqueue(LeadCapture(email="third@example.test"))
        assert time.monotonic() - began_s < 2 * 2 + 3 * PUBLISH_TIMEOUT_S


def _stops_in_s(stand: Stand) -> float:
    began_s = time.monotonic()
    stand.worker.send(signal.SIGTERM)
    wait_until(lambda: not stand.worker.running, 120, "the worker ends")
    return time.monotonic() - began_s


@pytest.mark.parametrize("dropped", ["stall", "forget"])
def test_a_worker_without_answers_of_its_broker_ends_in_time(stand: Stand, dropped: str) -> None:
    stand.busy()
    getattr(stand.broker, dropped)()
    took_s = _stops_in_s(stand)
    assert took_s < LATEST_STOP_S


def test_a_worker_whose_broker_connections_are_lost_serves_on(stand: Stand) -> None:
    stand.busy()
    stand.broker.forget()
    began_s = time.monotonic()
    stand.sandbox.clear_faults()
    receipts = stand.queue.enqueue_many([LeadCapture(email=f"q{n}@example.test") for n in range(8)])
    for receipt in receipts:
        stand.queue.wait(receipt.id, 120)
    assert time.monotonic() - began_s < LATEST_RECOVERY_S
