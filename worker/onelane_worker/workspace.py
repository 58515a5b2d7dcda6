"""The workspace of Intercom that a queue belongs to, and the gateway that writes to no other.

Contact ids and everything believed of contacts are true in one workspace only. The first worker notes the
workspace of its token in Redis (GET /me); whoever has a token of another one is refused. `workspace_move`
moves a queue on purpose.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import structlog
from redis import Redis

from onelane import keyspace
from onelane_worker.core import operations as op
from onelane_worker.core.operations import Workspace
from onelane_worker.intercom.gateway import Gateway
from onelane_worker.lanes.scripts import as_text

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Record:
    """What Redis says of the queue's workspace."""

    workspace: Workspace
    moving: bool = False
    """A move to it was begun and has not ended: something of the former workspace may still be there."""


class OtherWorkspace(Exception):
    """The token's workspace is not the queue's: `says` and `todo` are for the operator."""

    def __init__(self, token: Workspace, record: Record) -> None:
        if record.moving:
            self.says = f"the move of this queue to the workspace {record.workspace} has not ended"
            self.todo = "Run `onelane workspace move` again, with a token of that workspace."
        else:
            self.says = f"this queue belongs to the workspace {record.workspace}, the token to {token}"
            self.todo = (
                "Use a Redis of its own for each workspace, or a token of the queue's.\n"
                "`onelane workspace move` moves the queue to the token's."
            )
        super().__init__(f"{self.says}. {' '.join(self.todo.splitlines())}")


def on_record(redis: Redis) -> Record | None:
    """The workspace of the queue; None if no worker has noted one yet."""
    return _record(redis.hmget(keyspace.WORKSPACE, "id", "name", "moving"))


def require_same(token: Workspace, record: Record | None) -> None:
    """Raises `OtherWorkspace` if there is a record, and it names another workspace or an unfinished move."""
    if record is not None and (record.moving or record.workspace.id != token.id):
        raise OtherWorkspace(token, record)


def note(redis: Redis, token: Workspace) -> None:
    """Put the token's workspace on record unless there is one. Raises `OtherWorkspace`."""
    with redis.pipeline(transaction=True) as pipe:
        pipe.hsetnx(keyspace.WORKSPACE, "id", token.id)
        pipe.hsetnx(keyspace.WORKSPACE, "name", token.name)
        pipe.hmget(keyspace.WORKSPACE, "id", "name", "moving")
        record = _record(pipe.execute()[2])
    require_same(token, record)
    if record is not None and record.workspace.name != token.name:
        redis.hset(keyspace.WORKSPACE, "name", token.name)


def _record(found: Any) -> Record | None:
    id_, name, moving = (as_text(word) for word in cast(Any, found))
    return Record(Workspace(id_, name), bool(moving)) if id_ else None


class OwnGateway:
    """A gateway that makes no call before it is certain that the token's workspace is the queue's.

    Asked once in a process: a token never changes its workspace. While Intercom does not tell, every call
    ends without having been sent, with the reason; so does every call once the workspaces differ.
    """

    def __init__(
        self, gateway: Gateway, redis: Redis, on_other: Callable[[str], None] = lambda why: None
    ) -> None:
        """`on_other` is told once, if a call finds that the workspaces differ."""
        self._gateway = gateway
        self._redis = redis
        self._on_other = on_other
        self._lock = threading.Lock()
        self._answered_at = float("-inf")
        self._answer: op.Reply | None = None
        self._is_other = False
        self.workspace: Workspace | None = None
        """The token's, once it is certain that it is the queue's."""

    def perform(
        self,
        operation: op.Operation,
        *,
        now_ms: Callable[[], int],
        send_by: float | None = None,
        deadline: float | None = None,
        before_send: Callable[[], float] | None = None,
    ) -> op.Reply:
        """As `Gateway.perform`. Also raises redis-py's errors."""
        if self.workspace is None:
            try:
                unknown = self.confirm(now_ms, send_by=send_by, deadline=deadline)
            except OtherWorkspace as other:
                self._tell(other)
                return op.NotSent(op.Problem("other_workspace", message=str(other)))
            if unknown is not None:
                return unknown
        return self._gateway.perform(
            operation, now_ms=now_ms, send_by=send_by, deadline=deadline, before_send=before_send
        )

    def confirm(
        self,
        now_ms: Callable[[], int] = lambda: 0,
        *,
        send_by: float | None = None,
        deadline: float | None = None,
    ) -> op.Reply | None:
        """Ask whose token it is, and note it. None once it is certain, else why it is not.

        Threads that ask at the same time share one answer. Raises `OtherWorkspace` and redis-py's errors.
        """
        asked_at = time.monotonic()
        with self._lock:
            if self.workspace is not None:
                return None
            if self._answered_at < asked_at:
                probed = self._gateway.perform(op.Probe(), now_ms=now_ms, send_by=send_by, deadline=deadline)
                self._answer = self._note(probed)
                self._answered_at = time.monotonic()
            return self._answer

    def _note(self, probed: op.Reply) -> op.Reply | None:
        if not isinstance(probed, op.Done):
            return _not_told(probed)
        if probed.workspace is None:
            said = "the answer to GET /me names no workspace: nobody knows whose contacts would be written"
            return op.Stopped(op.Problem("workspace_unknown", message=said))
        note(self._redis, probed.workspace)
        self.workspace = probed.workspace
        return None

    def _tell(self, other: OtherWorkspace) -> None:
        if not self._is_other:
            self._is_other = True
            self._on_other(str(other))

    def close(self) -> None:
        """As `Gateway.close`."""
        self._gateway.close()


def _not_told(probed: op.Reply) -> op.Reply:
    """What the answer to GET /me means for a call that waited for it: that call was not made."""
    match probed:
        case op.Stopped() | op.Throttled():
            return probed
        case op.Forbidden(problem=problem):
            return op.Stopped(problem)
        case op.Unknown(problem=problem) | op.NotSent(problem=problem):
            return op.NotSent(problem)
    return op.NotSent(op.Problem("unreadable", message="GET /me was not answered as expected"))
