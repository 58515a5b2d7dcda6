"""Holding a lane: the lease, its own deadline, and the heartbeat that renews it.

The own deadline is this process's monotonic clock, read *before* the call that granted or renewed the lease
was sent, plus the lease. It can only be earlier than Redis' idea of the end, whatever the network does.
No call to Intercom starts after it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from onelane_worker.lanes.model import Grant
from onelane_worker.lanes.store import LaneStore
from onelane_worker.redis_errors import said

log = structlog.get_logger(__name__)
Monotonic = Callable[[], float]


class Lease:
    """One turn's hold on one lane. Shared between the turn and the heartbeat."""

    def __init__(
        self, grant: Grant, asked_at: float, lease_s: float, clock: Monotonic = time.monotonic
    ) -> None:
        self.grant = grant
        self.lost = False
        self._lease_s = lease_s
        self._clock = clock
        self._granted_at = clock()
        self._granted_ms = grant.now_ms
        self._own_deadline = asked_at + lease_s
        self._steps = 0

    def extended(self, asked_at: float) -> None:
        """A call that was sent at `asked_at` has renewed the lease."""
        self._own_deadline = max(self._own_deadline, asked_at + self._lease_s)

    @property
    def own_deadline(self) -> float:
        """Monotonic seconds; no call is started after it."""
        return self._own_deadline

    def now_ms(self) -> int:
        """Redis' clock, at most a network delay behind: a fact's age is never understated."""
        return self._granted_ms + int((self._clock() - self._granted_at) * 1000)

    def op(self) -> str:
        """A new id for one call to the lane scripts, kept across resends of that call."""
        self._steps += 1
        return f"{self.grant.token}:{self._steps}"


class Heartbeat:
    """Renews the leases of all turns of this process, every `interval_s`, each for at most `max_hold_s`."""

    def __init__(
        self, store: LaneStore, interval_s: float, max_hold_s: float, clock: Monotonic = time.monotonic
    ) -> None:
        self._store = store
        self._interval_s = interval_s
        self._max_hold_s = max_hold_s
        self._clock = clock
        self._leases: dict[Lease, float] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def hold(self, lease: Lease) -> Iterator[Lease]:
        """Keep the lease alive for the length of the block."""
        with self._lock:
            self._leases[lease] = self._clock() + self._max_hold_s
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="onelane-heartbeat", daemon=True)
                self._thread.start()
        try:
            yield lease
        finally:
            with self._lock:
                self._leases.pop(lease, None)

    def stop(self) -> None:
        """End the thread; leases run out by themselves."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(self._interval_s):
            with self._lock:
                due = [lease for lease, until in self._leases.items() if self._clock() < until]
            for lease in due:
                self._renew(lease)

    def _renew(self, lease: Lease) -> None:
        asked_at = self._clock()
        try:
            renewed = self._store.renew(lease.grant)
        except Exception as error:  # Redis is away: the own deadline passes, and the turn stops calling
            log.warning("lease not renewed", lane=lease.grant.lane, problem=said(error))
            return
        if renewed:
            lease.extended(asked_at)
        else:
            lease.lost = True
