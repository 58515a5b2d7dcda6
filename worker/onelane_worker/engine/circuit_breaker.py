"""The circuit breaker: what replies of Intercom say about everybody's calls.

The state is one record in Redis (the `breaker` script), shared by all engines of the workspace. It opens at
once when the token is refused, and after several failures in a row on several lanes. While it is open nothing
is claimed, and one engine probes with `GET /me`. After a probe that succeeds it is half open: one lane at a
time is granted, until a call of the sort that failed is answered.

Bulk intents have a breaker of their own: when many of them are rejected alike, the cause is what they bring.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import structlog

from onelane_worker.engine.codec import error_json
from onelane_worker.lanes.store import LaneStore
from onelane_worker.lanes.types import BreakerState, BreakerView
from onelane_worker.planner import operations as op

log = structlog.get_logger(__name__)

Sort = Literal["reads", "writes", "subscriptions"]
"""Calls that one permission is needed for: reads, writes to contacts, writes to their subscriptions."""
NOT_INTERCOM = frozenset({"late", "closed", "unsendable", "other_workspace"})
"""Kinds of problems that are our own doing."""


@dataclass(slots=True)
class Known:
    """What this engine has last heard of a breaker."""

    state: BreakerState = "closed"

    @property
    def shut(self) -> bool:
        return self.state in ("open", "paused")

    @property
    def listens(self) -> bool:
        """Whether a success is worth telling."""
        return self.state in ("streak", "half", "open")


class CircuitBreaker:
    """Tells the breakers of the workspace, and knows how they last stood."""

    def __init__(self, store: LaneStore) -> None:
        self._store = store
        self.line = Known()
        self.bulk = Known()

    def heard(self, line: BreakerState, bulk: BreakerState) -> None:
        """A claim or a tick said how the breakers stand."""
        self.line.state, self.bulk.state = line, bulk

    async def tell(self, lane: str, operation: op.Operation, reply: op.Reply, *, probe: bool = False) -> bool:
        """What this reply says of everybody's calls; returns whether the circuit breaker is open now."""
        word = said_of_all(reply)
        if word is None or (word == "ok" and not self.line.listens):
            return self.line.shut
        problem = getattr(reply, "problem", None)
        view = await self._store.breaker(
            word,
            lane=lane,
            sort=sort_of(operation),
            problem=error_json(problem) if problem else "",
            probe=probe,
        )
        self.line.state = view.state
        if view.changed:
            _log_line(view)
        return self.line.shut

    async def rejected_bulk(self, problem: op.Problem, said: str) -> bool:
        """A bulk intent was rejected. True: it is one of too many alike, and is not to be dead-lettered."""
        view = await self._store.breaker("rejected", lane=said, problem=error_json(problem), bulk=True)
        self._heard_bulk(view)
        return self.bulk.shut

    async def written_bulk(self) -> None:
        """Intercom took what a bulk intent brought; of interest only if some were rejected lately."""
        if self.bulk.state != "closed":
            self._heard_bulk(await self._store.breaker("written", bulk=True))

    def _heard_bulk(self, view: BreakerView) -> None:
        self.bulk.state = view.state
        if view.changed and self.bulk.shut:
            log.warning("bulk intents are stopped: too many were rejected alike", why=view.problem)
        elif view.changed:
            log.info("bulk intents run again")


def sort_of(operation: op.Operation) -> Sort:
    """By which permission, and which way through a firewall, a call goes."""
    if isinstance(operation, (op.Attach, op.Detach)):
        return "subscriptions"
    return "writes" if op.is_write(operation) else "reads"


def todo(view: BreakerView) -> str:
    """What a person has to do, where waiting does not help."""
    if '"forbidden"' not in view.problem:
        return ""
    what, permission = _PERMISSIONS[view.sort]
    return (
        f"The token may not {what}: grant its app {permission}, in Intercom's Developer Hub under "
        "Configure > Authentication, or set a token that may."
    )


_PERMISSIONS: dict[str, tuple[str, str]] = {
    "reads": ("read contacts", '"Read and list users and companies"'),
    "writes": ("write contacts, though it may read them", '"Write users and companies"'),
    "subscriptions": (
        "change subscriptions, though it may write contacts",
        'all of "Read and write users" and "Write users and companies"',
    ),
}
"""The names of permissions are Intercom's (its documentation of OAuth scopes); that of subscriptions is not
documented."""


def _log_line(view: BreakerView) -> None:
    if view.state in ("open", "paused"):
        log.warning("the circuit breaker is open: nothing is written", why=view.problem, todo=todo(view))
    elif view.state == "closed":
        log.info("the circuit breaker is closed again")


def said_of_all(reply: op.Reply) -> Literal["ok", "failed", "refused"] | None:
    """What a reply says of everybody's calls; None: nothing."""
    match reply:
        case op.Stopped() | op.Forbidden():
            return "refused"
        case op.Unknown(problem=problem) | op.NotSent(problem=problem):
            return None if problem.kind in NOT_INTERCOM else "failed"
        case op.Throttled():
            return None
        case _:
            return "ok"
