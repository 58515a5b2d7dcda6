"""One call to Intercom under a lease: budget, connection, record in Redis, send; in this order.

Law 3: Redis knows of a write before Intercom does, and of a create it also keeps the journal. Reads are not
recorded. Nothing is sent after the lease's own deadline, after the grace of its record, or with a call of the
rate budget that has run out: the client looks at the clock in the same step of the loop in which it sends.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from onelane.workspace import Workspace
from onelane_worker.engine.lease import Lease
from onelane_worker.engine.rate_budget import RateBudget
from onelane_worker.lanes.store import LaneStore
from onelane_worker.lanes.types import Part, StoredEntry
from onelane_worker.planner import operations as op

TYPES_LIFE_S = 3600
TRIES = 3
"""How often a call is begun anew that came too late for its record or its reservation, and was not sent."""
LATE = op.NotSent(
    op.Problem("late", message="the call would have left after the lease, or its record, ran out")
)


class Intercom(Protocol):
    """What answers operations: the HTTP client, or a simulation."""

    async def perform(
        self,
        operation: op.Operation,
        *,
        now_ms: Callable[[], int],
        send_by: float,
        before_send: Callable[[], Awaitable[float]] | None = None,
    ) -> op.Reply: ...


@dataclass(frozen=True, slots=True)
class Performed:
    """A reply, and what the caller must know of its sending."""

    reply: op.Reply
    sent_ms: int
    """Redis clock, just before sending; of a write, just before its record."""
    commit_until_ms: int | None = None
    """When the write can no longer commit; None for reads and for writes that were never recorded."""
    step: int | None = None
    """Number of the step that recorded the write."""

    @property
    def asked(self) -> bool:
        """Was a request made?"""
        return not isinstance(self.reply, op.NotSent)


@dataclass(frozen=True, slots=True)
class WriteRecord:
    """What is stored before a write is sent."""

    intents: tuple[str, ...]
    entry: StoredEntry | None
    """Pointers of all contacts that are known, the one that is written to among them."""
    journal: Part
    """The journal of a create; None for other writes."""
    contacts: tuple[str, ...] = ()
    """Digests of those that it changes and that live at another address."""
    external_id: str | None = None
    """Digest of a further external id that must be locked."""


class LockBusy(Exception):
    """Another lane holds the further external id (`digest`), or took one of the grant's (None). Nothing was
    sent."""

    def __init__(self, digest: str | None) -> None:
        self.digest = digest
        super().__init__("another lane holds the external id")


class Executor:
    """Makes the calls of one engine."""

    def __init__(
        self,
        store: LaneStore,
        intercom: Intercom,
        budget: RateBudget,
        workspace: Workspace,
        send_grace_s: float,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._intercom = intercom
        self._budget = budget
        self._workspace = workspace
        self._send_grace_s = send_grace_s
        self._clock = clock
        self._types: Mapping[str, op.ConsentType] = {}
        self._types_until = 0.0

    async def read(self, operation: op.ReadOperation, lease: Lease) -> Performed:
        """Ask; nothing is recorded."""
        performed = Performed(LATE, lease.now_ms())
        for _ in range(TRIES):
            call_until = await self._budget.take()
            if lease.lapsed:
                break
            send_by = min(lease.own_deadline, call_until)
            sent_ms = lease.now_ms()
            reply = await self._intercom.perform(operation, now_ms=lease.now_ms, send_by=send_by)
            performed = await self._noticed(Performed(reply, sent_ms))
            if not _is_late(reply):
                break
        return performed

    async def types(self, needed: frozenset[str], lease: Lease) -> Performed:
        """The workspace's subscription types; asked again when one is needed that we have not heard of."""
        if self._clock() < self._types_until and needed <= self._types.keys():
            return Performed(op.Types(self._types), lease.now_ms())
        performed = await self.read(op.ListTypes(), lease)
        if isinstance(performed.reply, op.Types):
            self._types, self._types_until = performed.reply.by_id, self._clock() + TYPES_LIFE_S
        return performed

    async def write(self, operation: op.WriteOperation, lease: Lease, record: WriteRecord) -> Performed:
        """Record and send. Raises `Fenced` and `LockBusy`: then nothing was sent."""
        performed = Performed(LATE, lease.now_ms())
        open_write = self._open_write(operation, record.intents)
        for _ in range(TRIES):
            if lease.lapsed or lease.lost:
                break
            performed = await self._write_once(operation, lease, record, open_write)
            if not _is_late(performed.reply):
                break
        return performed

    async def _write_once(
        self, operation: op.WriteOperation, lease: Lease, record: WriteRecord, open_write: str
    ) -> Performed:
        call_until = await self._budget.take()
        sent_ms, commit_until_ms, number = lease.now_ms(), None, None

        async def before_send() -> float:
            nonlocal sent_ms, commit_until_ms, number, call_until
            if call_until - self._clock() < self._send_grace_s / 10:  # the connection took its time
                call_until = await self._budget.take()
            sent_at, sent_ms, step = self._clock(), lease.now_ms(), lease.step()
            answer = await self._store.checkpoint(
                step,
                open_write=open_write,
                journal=record.journal,
                registry=record.entry,
                contacts=record.contacts,
                external_id=record.external_id,
            )
            if answer.word != "ok":
                raise LockBusy(record.external_id if answer.word == "ext_busy" else None)
            lease.extended(sent_at)
            commit_until_ms, number = answer.commit_until_ms, step.number
            if lease.lost or lease.lapsed:
                return float("-inf")
            return min(sent_at + self._send_grace_s, lease.own_deadline, call_until)

        reply = await self._intercom.perform(
            operation, now_ms=lease.now_ms, send_by=lease.own_deadline, before_send=before_send
        )
        return await self._noticed(Performed(reply, sent_ms, commit_until_ms, number))

    async def _noticed(self, performed: Performed) -> Performed:
        if isinstance(performed.reply, op.Throttled):
            await self._budget.throttled(performed.reply.retry_in_s)
        return performed

    def _open_write(self, operation: op.WriteOperation, intents: tuple[str, ...]) -> str:
        """What an operator sees of a write in flight: never its values, which name a person."""
        record: dict[str, object] = {"op": type(operation).__name__.lower(), "intents": intents}
        if isinstance(operation, (op.Create, op.Update)):
            record["body"] = self._workspace.content(json.dumps(operation.body, sort_keys=True, default=str))
        return json.dumps(record, separators=(",", ":"))


def _is_late(reply: op.Reply) -> bool:
    return isinstance(reply, op.NotSent) and reply.problem.kind == "late"
