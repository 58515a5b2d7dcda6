"""How much of a stretch of time this machine was too busy to be judged."""

from __future__ import annotations

import time
from bisect import bisect_right
from math import inf
from pathlib import Path

_PRESSURE = Path("/proc/pressure/cpu")


class Clock:
    """The time, and how much of it some process that could run had to wait for a processor."""

    def __init__(self) -> None:
        self._looks: list[tuple[float, float]] = []
        self.look()

    def look(self) -> float:
        """Now (epoch seconds)."""
        self._looks.append((time.time(), _starved_s()))
        return self.now

    @property
    def now(self) -> float:
        """The time of the last look."""
        return self._looks[-1][0]

    def starved_since(self, at: float) -> float:
        """Seconds of want from `at` to the last look."""
        first = max(0, bisect_right(self._looks, (at, inf)) - 1)
        return self._looks[-1][1] - self._looks[first][1]


def _starved_s() -> float:
    """Seconds of want since the machine's start; always 0 where the kernel does not count them."""
    try:
        return float(_PRESSURE.read_text().split("total=")[1].split()[0]) / 1e6
    except (OSError, IndexError):
        return 0.0
