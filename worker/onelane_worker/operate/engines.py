"""Which workers are alive: each engine tells Redis by every tick of its due timer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from onelane_worker.operate.open_workspace import OpenWorkspace, ms_of, scored, text_of

LIFE_MS: Final = 10_000
"""How long an engine counts as alive after its last tick; an idle one ticks every 2 s."""
_MOST: Final = 200


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine that ticked lately."""

    name: str
    """Its worker's name, `<name>@<host>`."""
    ticked_ms: int
    """When it last ticked."""


async def alive(opened: OpenWorkspace) -> list[Engine]:
    """Those that ticked within `LIFE_MS`, by name. Raises redis-py's errors."""
    keys = opened.keys
    newest = ("ZREVRANGE", keys.key("engines"), 0, _MOST - 1, "WITHSCORES")
    moment, found = await opened.read(("TIME",), newest)
    least_ms = ms_of(moment) - LIFE_MS
    ticked = [(id_, at_ms) for id_, at_ms in scored(found) if at_ms >= least_ms]
    names = await opened.read(*(("HGET", keys.key("engine", id_), "name") for id_, _ in ticked))
    engines = [_engine(name, id_, at_ms) for name, (id_, at_ms) in zip(names, ticked, strict=True)]
    return sorted(engines, key=lambda one: one.name)


def _engine(name: Any, id_: str, ticked_ms: int) -> Engine:
    return Engine(text_of(name) or id_, ticked_ms)
