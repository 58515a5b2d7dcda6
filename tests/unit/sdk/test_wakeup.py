"""The wake-up's message: what a Celery worker makes of it, and that it names nobody."""

from __future__ import annotations

import queue as threadsafe
from typing import Any

import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker
from redis import Redis

from onelane import ContactQueue, ContactSync, LeadCapture
from onelane.wakeup import TASK, Waker, celery_queue


@pytest.mark.usefixtures("logging_stays")
def test_a_celery_worker_takes_one_for_each_lane_that_became_ready(valkey: Redis, valkey_url: str) -> None:
    app = Celery("wake-test", broker=valkey_url, set_as_current=False)
    app.conf.task_queues = [celery_queue("shop")]
    taken: threadsafe.Queue[dict[str, Any]] = threadsafe.Queue()

    @app.task(name=TASK, bind=True, shared=False)
    def wake(task: Any, *args: Any, **kwargs: Any) -> None:
        taken.put({"id": task.request.id, "args": args, "kwargs": kwargs})

    with ContactQueue.from_url(valkey_url, workspace="shop") as queue:
        queue.enqueue(LeadCapture(email="ann@example.test"))
        queue.enqueue_many([ContactSync(email=f"{name}@example.test") for name in ("ann", "bob", "cy")])
    with start_worker(app, pool="solo", perform_ping_check=False, loglevel="error"):
        calls = [taken.get(timeout=30) for _ in range(3)]
    app.close()
    assert len({call["id"] for call in calls}) == 3
    assert {(call["args"], tuple(call["kwargs"])) for call in calls} == {(("shop",), ())}
    assert taken.empty()


@pytest.mark.parametrize("count", [1, 3])
def test_it_is_small(valkey: Redis, valkey_url: str, count: int) -> None:
    waker = Waker(valkey_url, "main")
    assert waker.wake(count)
    waker.close()
    messages = valkey.lrange("onelane.main", 0, -1)
    assert len(messages) == count
    assert max(map(len, messages)) < 500
