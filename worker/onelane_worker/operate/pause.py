"""Whether intents are served, and the operator's hand on the circuit breaker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from onelane_worker.lanes.types import BreakerView
from onelane_worker.operate.open_workspace import OpenWorkspace, fields, ms_of

_SHUT: Final = frozenset({"open", "paused"})


@dataclass(frozen=True, slots=True)
class Service:
    """Whether intents are served."""

    breaker: BreakerView
    bulk: BreakerView
    """The breaker of bulk intents."""
    hold_until_ms: int | None
    """End of the failover hold, in which nothing is granted; None if there is none."""
    epoch_ms: int | None
    """Since when this server of Redis is on record; None: it cannot have lost anything."""
    now_ms: int

    @property
    def shut(self) -> bool:
        """The breaker is open, or an operator has paused the workspace."""
        return self.breaker.state in _SHUT

    @property
    def stopped(self) -> bool:
        """Nothing is granted, for whatever reason."""
        return self.shut or self.hold_until_ms is not None

    @property
    def bulk_stopped(self) -> bool:
        """Too many bulk intents were rejected alike: of them only one at a time is tried."""
        return self.bulk.state in _SHUT


async def look(opened: OpenWorkspace) -> Service:
    """How things stand. Raises redis-py's errors."""
    moment, record = await opened.read(("TIME",), ("HGETALL", opened.keys.key("epoch")))
    now_ms, epoch = ms_of(moment), fields(record)
    since_ms = int(epoch.get("since", 0))
    until_ms = 0 if "resumed" in epoch or not since_ms else since_ms + opened.store.settings.failover_hold_ms
    return Service(
        breaker=await opened.store.breaker_view(),
        bulk=await opened.store.breaker_view(bulk=True),
        hold_until_ms=until_ms if until_ms > now_ms else None,
        epoch_ms=since_ms or None,
        now_ms=now_ms,
    )


async def pause(opened: OpenWorkspace, reason: str) -> BreakerView:
    """Grant nothing until `resume`. What is at work ends first. Raises redis-py's errors."""
    return await opened.store.breaker("pause", problem=reason)


async def resume(opened: OpenWorkspace, *, end_hold: bool) -> None:
    """Serve again, whatever had stopped it; bulk intents too. `end_hold`: do not wait for the end of the
    failover hold, either. Raises redis-py's errors."""
    await opened.store.breaker("resume", now=end_hold)
    await opened.store.breaker("resume", bulk=True)
