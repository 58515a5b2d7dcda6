"""Threads, tasks, event loops and forked processes that share one queue."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import Redis

from onelane import (
    AsyncContactQueue,
    ContactQueue,
    LeadCapture,
)
from onelane.submission import WAKE_MAX
from onelane.wakeup import Waker

from .conftest import stored, wake_ups

ANN = LeadCapture(email="ann@example.test")


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
