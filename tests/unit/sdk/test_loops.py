"""One AsyncContactQueue, and an event loop in each of many threads."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from onelane import AsyncContactQueue, LeadCapture

PATIENCE_S = 30


class OneByOne(AsyncContactQueue):
    """Holds the first thread where its client is made, until the second has made its own."""

    def __init__(self) -> None:
        super().__init__()
        self.first_is_here = threading.Event()
        self.second_is_done = threading.Event()
        self.loops: dict[int, asyncio.AbstractEventLoop] = {}

    def _client(self) -> AsyncRedis:
        client = super()._client()
        self.loops[id(client)] = asyncio.get_running_loop()
        if not self.first_is_here.is_set():
            self.first_is_here.set()
            assert self.second_is_done.wait(PATIENCE_S)
        return client


def test_no_loop_is_given_the_client_of_another_B11b() -> None:
    queue = OneByOne()

    async def client_is_ours() -> bool:
        return queue.loops[id(queue._redis)] is asyncio.get_running_loop()

    async def first() -> list[bool]:
        return [await client_is_ours()]

    async def second() -> list[bool]:
        assert queue.first_is_here.wait(PATIENCE_S)
        seen = [await client_is_ours()]
        queue.second_is_done.set()
        await asyncio.wrap_future(begun)
        return [*seen, await client_is_ours()]

    with ThreadPoolExecutor(2) as pool:
        begun = pool.submit(asyncio.run, first())
        ended = pool.submit(asyncio.run, second())
        assert [begun.result(PATIENCE_S), ended.result(PATIENCE_S)] == [[True], [True, True]]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_forked_child_leaves_its_parents_connection_to_its_loop(valkey: Redis, valkey_url: str) -> None:
    queue = AsyncContactQueue.from_url(valkey_url)

    async def enqueue(n: int) -> None:
        await queue.enqueue(LeadCapture(email=f"p{n}@example.test"))
        gc.collect()

    def connections() -> int:
        return int(valkey.info("stats")["total_connections_received"])

    with asyncio.Runner() as runner:
        runner.run(enqueue(1))
        child = os.fork()
        if child == 0:
            ended = 1
            try:
                asyncio.run(enqueue(2))
                ended = 0
            finally:
                os._exit(ended)
        assert os.waitpid(child, 0)[1] == 0
        before = connections()
        runner.run(enqueue(3))
        assert connections() == before
        runner.run(queue.close())


@pytest.fixture
def frequent_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("frequent_switches")
def test_threads_with_loops_of_their_own_share_a_queue(valkey: Redis, valkey_url: str) -> None:
    queue = AsyncContactQueue.from_url(valkey_url)
    threads, each = 8, 5

    async def work(thread: int) -> int:
        for n in range(each):
            await queue.enqueue(LeadCapture(email=f"p{thread}.{n}@example.test"))
        await queue.close()
        return each

    with ThreadPoolExecutor(threads) as pool:
        futures = [pool.submit(asyncio.run, work(thread)) for thread in range(threads)]
        assert sum(future.result(PATIENCE_S) for future in futures) == threads * each
    assert len(valkey.keys("{ol:main}:intent:*")) == threads * each
