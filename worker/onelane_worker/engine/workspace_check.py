"""The workspace of Intercom that a queue belongs to, and the client that writes to no other.

Contact ids and everything believed of contacts are true in one workspace of Intercom only. The first worker
notes the one of its token in the queue's `meta` (GET /me); whoever has a token of another one is refused.
`onelane workspace move` moves a queue on purpose.

The record is read and written by commands that blocking and asyncio callers share: no I/O there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from redis.exceptions import RedisError

from onelane.keys import Keys
from onelane.workspace import META, Command, as_text, checked
from onelane_worker.engine.execute import Intercom
from onelane_worker.planner import operations as op

log = structlog.get_logger(__name__)
WATCH_S: Final = 5.0
"""How often it is looked whether the queue still belongs to the workspace."""
_FIELDS: Final = ("intercom_id", "intercom_name", "moving")

Ask = Callable[[Sequence[Command]], Awaitable[Sequence[Any]]]
"""Runs commands in one round trip. Raises redis-py's errors."""


@dataclass(frozen=True, slots=True)
class Record:
    """What Redis says of the queue's workspace of Intercom."""

    workspace: op.Workspace
    moving: bool = False
    """A move to it was begun and has not ended: something of the former workspace may still be there."""


class OtherWorkspace(Exception):
    """The token's workspace is not the queue's: `says` and `todo` are for the operator."""

    def __init__(self, token: op.Workspace, record: Record) -> None:
        if record.moving:
            self.says = f"the move of this queue to the workspace {record.workspace} has not ended"
            self.todo = "Run `onelane workspace move` again, with a token of that workspace."
        else:
            self.says = f"this queue belongs to the workspace {record.workspace}, the token to {token}"
            self.todo = (
                "Give each workspace of Intercom an ONELANE_WORKSPACE of its own, or use a token of the "
                "queue's.\n`onelane workspace move` moves the queue to the token's."
            )
        super().__init__(f"{self.says}. {' '.join(self.todo.splitlines())}")


def record_calls(keys: Keys) -> tuple[Command, ...]:
    """Read the record."""
    return (("HMGET", keys.key(META), *_FIELDS),)


def note_calls(keys: Keys, token: op.Workspace) -> tuple[Command, ...]:
    """Put the token's workspace on record unless there is one, then read the record."""
    meta = keys.key(META)
    return (
        ("HSETNX", meta, "intercom_id", token.id),
        ("HSETNX", meta, "intercom_name", token.name),
        *record_calls(keys),
    )


def rename_call(keys: Keys, token: op.Workspace) -> Command:
    """Put the workspace's present name on record."""
    return ("HSET", keys.key(META), "intercom_name", token.name)


def recorded(replies: Sequence[Any]) -> Record | None:
    """What the replies to either say; None if no worker has noted a workspace yet. Raises an error reply."""
    id_, name, moving = (as_text(word or "") for word in checked(replies)[-1])
    return Record(op.Workspace(id_, name), bool(moving)) if id_ else None


def require_same(token: op.Workspace, record: Record | None) -> None:
    """Raises `OtherWorkspace` if there is a record, and it names another workspace or an unfinished move."""
    if record is not None and (record.moving or record.workspace.id != token.id):
        raise OtherWorkspace(token, record)


class OwnIntercom:
    """An Intercom client that makes no call before it is certain that the token's workspace is the queue's.

    Asked once: a token never changes its workspace. While Intercom does not tell, every call ends without
    having been sent, with the reason; so does every call once the workspaces differ.
    """

    def __init__(self, intercom: Intercom, ask: Ask, keys: Keys, on_other: Callable[[str], None]) -> None:
        """`on_other` is told why, once, if the workspaces are found to differ later than at the start."""
        self._intercom = intercom
        self._ask = ask
        self._keys = keys
        self._on_other = on_other
        self._other: OtherWorkspace | None = None
        self._asking: asyncio.Task[op.Reply | None] | None = None
        self.workspace: op.Workspace | None = None
        """The token's, once it is certain that it is the queue's."""

    async def perform(
        self,
        operation: op.Operation,
        *,
        now_ms: Callable[[], int],
        send_by: float,
        before_send: Callable[[], Awaitable[float]] | None = None,
    ) -> op.Reply:
        """As the client's. Also raises redis-py's errors."""
        if self.workspace is None:
            try:
                unknown = await self._confirmed(send_by)
            except OtherWorkspace as other:
                self._end(other)
                return op.NotSent(op.Problem("other_workspace", message=str(other)))
            if unknown is not None:
                return unknown
        return await self._intercom.perform(
            operation, now_ms=now_ms, send_by=send_by, before_send=before_send
        )

    async def confirm(self, send_by: float) -> op.Reply | None:
        """Ask whose token it is, and note it. None once it is certain, else why it is not.

        Raises `OtherWorkspace` and redis-py's errors.
        """
        probed = await self._intercom.perform(op.Probe(), now_ms=lambda: 0, send_by=send_by)
        if not isinstance(probed, op.Done):
            return _not_told(probed)
        if probed.workspace is None:
            said = "the answer to GET /me names no workspace: nobody knows whose contacts would be written"
            return op.Stopped(op.Problem("workspace_unknown", message=said))
        record = recorded(await self._ask(note_calls(self._keys, probed.workspace)))
        require_same(probed.workspace, record)
        if record is not None and record.workspace.name != probed.workspace.name:
            checked(await self._ask((rename_call(self._keys, probed.workspace),)))
        self.workspace = probed.workspace
        return None

    async def watch(self) -> None:
        """Look, for ever, whether the queue is moved, or Redis holds that of another workspace."""
        while self._other is None:
            await asyncio.sleep(WATCH_S)
            if self.workspace is None:
                continue
            try:
                require_same(self.workspace, recorded(await self._ask(record_calls(self._keys))))
            except OtherWorkspace as other:
                self._end(other)
            except RedisError:  # the engine tells of it
                continue

    async def _confirmed(self, send_by: float) -> op.Reply | None:
        """As `confirm`; those who ask at the same time share one answer."""
        if self._other is not None:
            raise self._other
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self.confirm(send_by), name="onelane-whose-token")
        return await asyncio.shield(self._asking)

    def _end(self, other: OtherWorkspace) -> None:
        if self._other is None:
            self._other = other
            self.workspace = None
            self._on_other(str(other))


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
