"""Performing one operation under a lease: limiter, connection, record in Redis, send — in this order.

Law 3: Redis knows of a write before Intercom does; of a create it also keeps the journal. Reads are not
recorded; nothing at all is started after the lease's own deadline.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from onelane.identity import digest
from onelane_worker.planner import operations as op
from onelane_worker.lanes.model import Part
from onelane_worker.lanes.store import LaneStore
from onelane_worker.lease import Lease

TYPES_LIFE_S = 3600
Monotonic = Callable[[], float]


class Gateway(Protocol):
    """What answers operations: the real one, or a simulation."""

    def perform(
        self,
        operation: op.Operation,
        *,
        now_ms: Callable[[], int],
        send_by: float | None = None,
        deadline: float | None = None,
        before_send: Callable[[], float] | None = None,
    ) -> op.Reply: ...


class Limiter(Protocol):
    """The shared budget of calls."""

    def acquire(self, max_wait_s: float = 0.0) -> float | None: ...

    def throttle(self, wait_s: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Performed:
    """A reply, and what the caller must know of its sending."""

    reply: op.Reply
    sent_ms: int
    """Redis clock, just before sending; for a write, its record."""
    commit_until_ms: int | None = None
    """When the write can no longer commit; None for reads and for writes that were never recorded."""
    held_back: bool = False
    """Our own budget of calls was used up: Intercom was not asked."""

    @property
    def asked(self) -> bool:
        """Was a request made?"""
        return not (self.held_back or isinstance(self.reply, op.NotSent))


@dataclass(frozen=True, slots=True)
class WriteRecord:
    """What a checkpoint stores besides the open write."""

    intents: tuple[str, ...]
    belief: Part
    journal: Part
    """The journal of a create, or what has to stand in its place."""


class Performer:
    """Shared by all turns of a process."""

    def __init__(
        self,
        store: LaneStore,
        gateway: Gateway,
        limiter: Limiter,
        *,
        commit_ms: int,
        send_grace_s: float,
        clock: Monotonic = time.monotonic,
    ) -> None:
        self._store = store
        self._gateway = gateway
        self._limiter = limiter
        self._commit_ms = commit_ms
        self._send_grace_s = send_grace_s
        self._clock = clock
        self._types = _TypesCache(clock)

    def read(self, operation: op.ReadOperation, lease: Lease) -> Performed:
        """Ask; nothing is recorded."""
        waited = self._wait_for_budget(lease)
        if waited is not None:
            return waited
        sent_ms = lease.now_ms()
        reply = self._gateway.perform(operation, now_ms=lease.now_ms, send_by=lease.own_deadline)
        return self._noticed(Performed(reply, sent_ms))

    def types(self, needed: frozenset[str], lease: Lease) -> Performed:
        """The workspace's subscription types; asked again when one is needed that we have not heard of."""
        known = self._types.get(needed)
        if known is not None:
            return Performed(op.Types(known), lease.now_ms())
        performed = self.read(op.ListTypes(), lease)
        if isinstance(performed.reply, op.Types):
            self._types.put(performed.reply.by_id)
        return performed

    def write(self, operation: op.WriteOperation, lease: Lease, record: WriteRecord) -> Performed:
        """Record and send. Raises `Fenced` if the lane is somebody else's; then nothing was sent."""
        waited = self._wait_for_budget(lease)
        if waited is not None:
            return waited
        commit_until_ms: int | None = None
        sent_ms = lease.now_ms()

        def record_write() -> float:
            nonlocal commit_until_ms, sent_ms
            asked_at = self._clock()
            sent_ms = lease.now_ms()
            checkpointed = self._store.checkpoint(
                lease.grant,
                lease.op(),
                belief=record.belief,
                journal=record.journal,
                open_write=_open_write(operation, record.intents),
                commit_ms=self._commit_ms,
            )
            lease.extended(asked_at)
            commit_until_ms = checkpointed.commit_until_ms
            return min(asked_at + self._send_grace_s, lease.own_deadline)

        reply = self._gateway.perform(
            operation, now_ms=lease.now_ms, send_by=lease.own_deadline, before_send=record_write
        )
        return self._noticed(Performed(reply, sent_ms, commit_until_ms))

    def _wait_for_budget(self, lease: Lease) -> Performed | None:
        left_s = max(0.0, min(1.0, lease.own_deadline - self._clock() - self._send_grace_s))
        wait_s = self._limiter.acquire(left_s)
        if wait_s is None:
            return None
        problem = op.Problem("rate_limited", message="our own budget of calls is used up")
        return Performed(op.Throttled(wait_s, problem), lease.now_ms(), held_back=True)

    def _noticed(self, performed: Performed) -> Performed:
        if isinstance(performed.reply, op.Throttled):
            self._limiter.throttle(performed.reply.retry_in_s)
        return performed


def _open_write(operation: op.WriteOperation, intents: tuple[str, ...]) -> str:
    """What an operator sees of a write in flight: never its values, which name a person."""
    body = getattr(operation, "body", None)
    record: dict[str, object] = {"op": type(operation).__name__.lower(), "intents": intents}
    if body is not None:
        record["body"] = digest(json.dumps(body, sort_keys=True, default=str))
    return json.dumps(record, separators=(",", ":"))


class _TypesCache:
    """Subscription types change about never; one list serves all turns for an hour."""

    def __init__(self, clock: Monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._types: Mapping[str, op.ConsentType] = {}
        self._until = 0.0

    def get(self, needed: frozenset[str]) -> Mapping[str, op.ConsentType] | None:
        with self._lock:
            fresh = self._clock() < self._until and needed <= set(self._types)
            return self._types if fresh else None

    def put(self, types: Mapping[str, op.ConsentType]) -> None:
        with self._lock:
            self._types, self._until = types, self._clock() + TYPES_LIFE_S
