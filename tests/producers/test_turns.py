"""The turn's message: what a Celery worker makes of it, and how small it is."""

from __future__ import annotations

import queue as threadsafe
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker
from redis import Redis

from onelane import ContactQueue, ContactSync, LeadCapture
from onelane.publisher import Publisher
from onelane.turns import QUEUE_HEADER, SEQ_HEADER, Turn, celery_queue, publish

TURN = Turn("a" * 32, "b" * 32, "lead_capture", "a***@example.test", "interactive", 7, retries=3)


class Worker:
    """A Celery worker whose tasks hand over what they were called with."""

    def __init__(self, url: str) -> None:
        self.app = Celery("turn-test", broker=url, set_as_current=False)
        self.app.conf.task_queues = [celery_queue("interactive"), celery_queue("bulk")]
        self.calls: threadsafe.Queue[dict[str, Any]] = threadsafe.Queue()
        for kind in ("lead_capture", "contact_sync"):
            self.app.task(self._task(), name=f"contacts.{kind}", bind=True, shared=False)

    def _task(self) -> Callable[..., None]:
        def look(task: Any, *args: Any, **kwargs: Any) -> None:
            request = task.request
            self.calls.put(
                {
                    "task": request.task,
                    "id": request.id,
                    "args": args,
                    "kwargs": kwargs,
                    "retries": request.retries,
                    "seq": request.get(SEQ_HEADER),
                    "queue": request.get(QUEUE_HEADER),
                    "shown": (request.argsrepr, request.kwargsrepr),  # by Flower
                }
            )

        return look

    @contextmanager
    def running(self) -> Iterator[None]:
        with start_worker(self.app, pool="solo", perform_ping_check=False, loglevel="error"):
            yield
        self.app.close()


@pytest.fixture
def worker(valkey: Redis, valkey_url: str) -> Worker:
    return Worker(valkey_url)


def test_a_celery_worker_understands_it(worker: Worker, valkey_url: str) -> None:
    with ContactQueue.from_url(valkey_url) as queue:
        receipts = queue.enqueue_many(
            [LeadCapture(email="ann@example.test"), ContactSync(email="bob@example.test")]
        )
    publish(worker.app, TURN)
    with worker.running():
        calls = {call["id"]: call for call in (worker.calls.get(timeout=30) for _ in range(3))}
    lead, sync, retried = calls[receipts[0].id], calls[receipts[1].id], calls[TURN.head]
    assert lead == {
        "task": "contacts.lead_capture",
        "id": receipts[0].id,
        "args": (receipts[0].lane,),
        "kwargs": {"who": "a***@example.test"},
        "retries": 0,
        "seq": 1,
        "queue": "interactive",
        "shown": (f"['{receipts[0].lane}']", "{'who': 'a***@example.test'}"),
    }
    assert (sync["task"], sync["queue"]) == ("contacts.contact_sync", "bulk")
    assert (retried["retries"], retried["seq"]) == (3, 7)


@pytest.mark.parametrize("turns", [[TURN], [TURN, TURN]], ids=["one", "batch"])
def test_it_is_small_and_names_nobody(valkey: Redis, valkey_url: str, turns: list[Turn]) -> None:
    publisher = Publisher(valkey_url)
    assert publisher.publish(turns)
    publisher.close()
    messages = valkey.lrange("onelane.interactive", 0, -1)
    assert len(messages) == len(turns)
    for message in messages:
        assert len(message) < 700
        assert "ann" not in message
