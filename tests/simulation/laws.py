"""What must be true of every lane whenever a script has run: it sleeps, or it is sent, or it is due."""

from __future__ import annotations

from collections.abc import Callable

from onelane import keyspace

from .script import PARTITION
from .servers import Server

_DUE = keyspace.due(PARTITION)
_SENT = tuple(keyspace.sent(PARTITION, queue) for queue in keyspace.QUEUES)


class Laws:
    """Looks at every lane that has ever had an intent."""

    def __init__(self, server: Server, violate: Callable[[str], None]) -> None:
        self._server = server
        self._violate = violate
        self._fences: dict[str, int] = {}
        self._keys: dict[str, tuple[str, str]] = {}
        self.lanes: set[str] = set()

    def check(self, now_s: float) -> None:
        """Report what is broken now."""
        server = self._server
        due = server.scores(_DUE)
        sent = [server.scores(key) for key in _SENT]
        for lane, (fields_key, queue_key) in self._keys.items():
            turns = [scores[lane] for scores in sent if lane in scores]
            waits = bool(server.lrange(queue_key))
            self._check_lane(lane, server.hgetall(fields_key), waits, due.get(lane), turns, now_s * 1000)

    def watch(self, lane: str) -> None:
        """Look at this lane, too, from now on."""
        self.lanes.add(lane)
        self._keys[lane] = keyspace.lane(lane), keyspace.queue(lane)

    def _check_lane(
        self,
        lane: str,
        fields: dict[str, str],
        waits: bool,
        due: float | None,
        turns: list[float],
        now_ms: float,
    ) -> None:
        leased = "token" in fields and float(fields["until"]) > now_ms
        fault = _fault(fields, waits, leased, due, turns)
        if fault:
            self._violate(f"{fault}; lane {lane[:6]}: due {due}, turns {turns}, {fields}")
        self._check_fence(lane, fields)

    def _check_fence(self, lane: str, fields: dict[str, str]) -> None:
        fence = int(fields.get("fence", 0))
        if fence < self._fences.get(lane, 0):
            self._violate(f"lane {lane[:6]}: the fence went back to {fence}")
        self._fences[lane] = fence


def _fault(
    fields: dict[str, str], waits: bool, leased: bool, due: float | None, turns: list[float]
) -> str | None:
    """Which part of the state law is broken."""
    if len(turns) > 1:
        return "two turns are outstanding"
    if not waits:
        owed = float(fields["check_at"]) if "check_at" in fields else None  # of the settle check
        return "an empty lane is not asleep" if due != owed or turns or "token" in fields else None
    if leased:
        return None if due == float(fields["until"]) else "a leased lane is not due at its lease's end"
    if due is None and not turns:
        return "a waiting lane is forgotten"
    if "token" not in fields and due is not None and turns:
        return "a waiting lane is both sent and due"
    return None
