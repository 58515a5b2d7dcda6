"""The thread in which a worker process runs its engine, on an asyncio loop of its own.

Celery has the main thread, with the signals and the connection to the broker. An engine is made again only
when Redis was emptied: its workspace has another secret then.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Final

import structlog

from onelane_worker.lanes.types import NoWorkspace

if TYPE_CHECKING:
    from onelane_worker.engine.engine import Engine

log = structlog.get_logger(__name__)
BEAT_S: Final = 1.0
LOOK_S: Final = 5.0
LOOKS: Final = 6
"""A loop that has not moved in so many looks is stuck: 30 s. Counted in looks, because a process that was
stopped and goes on, or a laptop that slept, is not stuck."""
STUCK: Final = 70
"""Exit code of a process whose loop was stuck (EX_SOFTWARE)."""


MakeEngine = Callable[[], AbstractAsyncContextManager["Engine"]]
"""Opens what an engine works with, and closes it at the end. It is entered in the loop."""


class EngineThread:
    """One engine after the other, until it is asked to stop. Methods may be called from any thread."""

    def __init__(self, make: MakeEngine, on_end: Callable[[BaseException | None], None]) -> None:
        """`on_end` is called in the thread when it ends after `start`: with the error, if there was one."""
        self._make = make
        self._on_end = on_end
        self._loop = asyncio.new_event_loop()
        self._engine: Engine | None = None
        self._main: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="onelane-engine", daemon=True)
        self._made: Future[None] = Future()
        self._watchdog = _Watchdog(self._loop)
        self.stopping = False
        """Somebody has asked for the end."""

    def start(self) -> None:
        """Begin; returns when the first engine is made, or the end was asked for before.

        Raises what making it raises.
        """
        self._thread.start()
        self._made.result()

    def poke(self, wakes: int = 1) -> None:
        """So many wake-ups were taken from the broker."""
        self._call(lambda: self._poke(wakes))

    def stop(self) -> None:
        """Begin nothing more and hand back what is not done within the grace. Asked again: end at once, and
        let the leases run out. A signal handler may call it."""
        again, self.stopping = self.stopping, True
        self._call(lambda: self._stop(again))

    def join(self) -> None:
        """Wait for the end. Signal handlers run meanwhile."""
        if self._thread.is_alive():
            self._thread.join()

    def _call(self, what: Callable[[], object]) -> None:
        try:
            self._loop.call_soon_threadsafe(what)
        except RuntimeError:  # the loop is closed: there is nothing left to tell
            return

    def _poke(self, wakes: int) -> None:
        if self._engine is not None:
            self._engine.poke(wakes)

    def _stop(self, again: bool) -> None:
        if self._engine is not None and not again:
            self._engine.stop()
        elif self._main is not None:
            self._main.cancel()

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._serve())
        except asyncio.CancelledError:
            log.warning("ended at once: the leases of what was at work run out")
        except BaseException as raised:
            error = raised
        finally:
            self._watchdog.stop()
            self._end(error)

    def _end(self, error: BaseException | None) -> None:
        if not self._made.done():  # `start` waits, and raises it
            self._made.set_result(None) if error is None else self._made.set_exception(error)
            return
        if error is not None:
            log.error("the engine has failed", exc_info=error)
        self._on_end(error)

    async def _serve(self) -> None:
        self._main = asyncio.current_task()
        self._watchdog.start()
        while not self.stopping:
            async with self._make() as engine:
                self._engine = engine
                if not self._made.done():
                    self._made.set_result(None)
                if self.stopping:
                    engine.stop()
                try:
                    await engine.run()
                    return
                except NoWorkspace:
                    log.warning("Redis was emptied: what waited there is lost; the engine begins anew")
                finally:
                    self._engine = None


class _Watchdog:
    """Ends the process if the loop stands still: its leases would be renewed by nobody, and nobody would see
    why it does nothing."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._beats = 0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="onelane-watchdog", daemon=True)

    def start(self) -> None:
        """Called in the loop."""
        self._beat()
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()

    def _beat(self) -> None:
        self._beats += 1
        self._loop.call_later(BEAT_S, self._beat)

    def _watch(self) -> None:
        seen, still = -1, 0
        while not self._stopped.wait(LOOK_S):
            still = still + 1 if self._beats == seen else 0
            seen = self._beats
            if still >= LOOKS:
                log.critical("the engine's loop stands still: this process ends", seconds=LOOKS * LOOK_S)
                faulthandler.dump_traceback(all_threads=True)
                os._exit(STUCK)
