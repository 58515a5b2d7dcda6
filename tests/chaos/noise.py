"""How much of a delay was the machine's: time in which our own processes could have run and were not let.

The kernel counts it for every thread (`/proc/<pid>/task/<tid>/schedstat`, second number). A turn passes from
process to process, one after the other, so of each stage the thread that waited longest counts, and the
stages are added up. What other programs of this machine suffer says nothing about us and is not counted.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_right
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path

Stages = Sequence[Collection[int]]
"""Process ids, put together where they stand side by side and a turn passes through one of them."""
Waits = dict[int, float]
"""Thread id → seconds without a processor since the thread began."""


class Clock:
    """The time, and what our processes had waited by then."""

    def __init__(self, stages: Callable[[], Stages]) -> None:
        self._stages = stages
        self._looks: list[tuple[float, list[Waits]]] = []
        self.look()

    def look(self) -> float:
        """Now (epoch seconds)."""
        waits = [_merged(stage) for stage in self._stages()]
        self._looks.append((time.time(), waits))
        return self.now

    @property
    def now(self) -> float:
        """The time of the last look."""
        return self._looks[-1][0]

    def waited_since(self, at: float) -> float:
        """Seconds without a processor from `at`, or the look before it, to the last look.

        Whoever looks may be kept waiting, too: the look after `at` may be the last one.
        """
        first = max(0, bisect_right([when for when, _ in self._looks], at) - 1)
        earlier = dict(chain.from_iterable(waits.items() for waits in self._looks[first][1]))
        return sum(_longest(stage, earlier) for stage in self._looks[-1][1])


def _longest(stage: Waits, earlier: Waits) -> float:
    return max((waited - earlier.get(thread, 0.0) for thread, waited in stage.items()), default=0.0)


def _merged(pids: Collection[int]) -> Waits:
    return {thread: waited for pid in pids for thread, waited in waits_of(pid).items()}


def waits_of(pid: int) -> Waits:
    """Of every thread of a process; empty if it is gone, or where the kernel does not count."""
    found: Waits = {}
    with suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError, IndexError):
                text = Path(f"/proc/{pid}/task/{thread}/schedstat").read_text()
                found[int(thread)] = int(text.split()[1]) / 1e9
    return found
