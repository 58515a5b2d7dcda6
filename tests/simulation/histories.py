"""Playing histories one after the other, in this process; and making a failing one smaller."""

from __future__ import annotations

import gc
import traceback
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

from .drawing import draw
from .judge import Verdict, judge
from .script import Script
from .servers import SmallServer
from .world import World

GARBAGE_EVERY = 100
"""Histories between two collections: a world is full of circles, and small. What was there before the first
history stays, so that it is not gone through every time."""
TAIL = 120
"""Lines of the trace in a failure message."""


def play(script: Script, *, trace: bool = False, server: Any = SmallServer) -> tuple[Verdict, list[str]]:
    """One history. The verdict, and the trace if it was asked for."""
    world = World(script, trace=trace, server=server)
    try:
        world.run()
    except Exception as failure:
        world.violate(f"the history broke off: {failure}\n{traceback.format_exc()}")
    return judge(world), world.trace.lines


def play_all(seeds: Iterable[int]) -> Iterator[Verdict]:
    """The histories of many seeds."""
    gc.disable()
    gc.freeze()
    for number, seed in enumerate(seeds):
        yield play(draw(seed))[0]
        if number % GARBAGE_EVERY == 0:
            gc.collect()


# --- smaller ----------------------------------------------------------------------------------------------


def shrink(script: Script) -> Script:
    """A script with fewer parts that still breaks a promise; the same one if every part is needed."""
    if not play(script)[0].violations:
        return script
    smaller = True
    while smaller:
        smaller = False
        for part in ("faults", "acts", "requests", "before"):
            script, found = _without_some(script, part)
            smaller = smaller or found
    return script


def _without_some(script: Script, part: str) -> tuple[Script, bool]:
    found, index = False, 0
    while index < len(getattr(script, part)):
        kept = getattr(script, part)
        candidate = replace(script, **{part: kept[:index] + kept[index + 1 :]})
        if play(candidate)[0].violations:
            script, found = candidate, True
        else:
            index += 1
    return script, found


def explain(script: Script, lines: int = TAIL) -> str:
    """A failing history in words: its script, the end of its trace, and what was wrong."""
    verdict, trace = play(script, trace=True)
    told = [*script.lines(), *([f"… {len(trace) - lines} lines"] if len(trace) > lines else [])]
    return "\n".join([*told, *trace[-lines:], *verdict.violations])
