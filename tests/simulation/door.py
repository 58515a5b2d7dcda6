"""What is looked at when a call leaves for Intercom: is a write on record, does the quota allow the call?"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable
from typing import Any

from tests.world.loop import Process
from tests.world.world import World

from onelane_worker.planner import operations as op

from .knobs import HTTP_TIMEOUT_S, WRITE_TAIL_S

WINDOW_S = 10.0
SLACK_S = 0.01


class Door:
    """Looks at every call of ours in the moment in which it leaves."""

    def __init__(self, world: World, violate: Callable[[str], None], limit: int) -> None:
        self.forgetful_until_s = 0.0
        """Redis has just lost a moment: what was on record may not be, and nobody counts any more."""
        self._world = world
        self._violate = violate
        self._limit = limit
        self._sent: deque[float] = deque()

    def sends(self, process: Process, operation: op.Operation) -> None:
        """A call leaves."""
        now = self._world.now
        if now < self.forgetful_until_s:
            return
        self._count(now)
        lanes = self._world.family("lane").values() if op.is_write(operation) else ()
        if lanes and not any(self._is_on_record(process, operation, one) for one in lanes):
            self._violate(f"{operation} is sent and not on record: {lanes}")

    def _count(self, now: float) -> None:
        self._sent.append(now)
        while self._sent[0] <= now - WINDOW_S:
            self._sent.popleft()
        if len(self._sent) > self._limit:
            self._violate(f"{len(self._sent)} calls in ten seconds, and {self._limit} are allowed")

    def _is_on_record(self, process: Process, operation: op.Operation, lane: dict[str, str]) -> bool:
        """Invariant 5: for as long as it may commit, under a lease of this very process."""
        record: dict[str, Any] = json.loads(lane.get("open") or "{}")
        until_s = float(lane.get("commit", 0)) / 1000
        token = lane.get("token", "")
        body = getattr(operation, "body", None)
        text = json.dumps(body, sort_keys=True, default=str)
        digest = None if body is None else self._world.workspace.content(text)
        return (
            record.get("op") == type(operation).__name__.lower()
            and record.get("body") == digest
            and token.startswith(f"{self._world.engine_of(process).id}:")
            and until_s >= self._world.now + HTTP_TIMEOUT_S + WRITE_TAIL_S - SLACK_S
        )
