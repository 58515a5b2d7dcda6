"""One asyncio loop in one daemon thread, for callers that have none.

A fork takes the memory of the loop along but not its thread: a child must forget it and start its own
(`Gateway` does). `close` cancels what is still running, so every future it gave out gets an end.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")


class LoopClosed(RuntimeError):
    """The loop has been closed; nothing was started."""


class LoopThread:
    """Runs coroutines of any thread on its own loop."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._lock = threading.Lock()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start `work` on the loop. Raises LoopClosed after `close`."""
        with self._lock:
            if self._closing:
                work.close()
                raise LoopClosed("the loop is closed")
            return asyncio.run_coroutine_threadsafe(work, self._loop)

    def close(self, last: Coroutine[Any, Any, None]) -> None:
        """Cancel everything, run `last`, end the thread. Callable from any thread but the loop's, once."""
        with self._lock:
            self._closing = True
            self._last = last
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        await self._stop.wait()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._last
