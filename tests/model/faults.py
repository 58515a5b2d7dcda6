"""What may go wrong in a history, and the times of its world (ms)."""

from __future__ import annotations

from random import Random
from typing import Final

GRACE_MS: Final = 1_000
HTTP_MS: Final = 10_000
TAIL_MS: Final = 15_000
COMMIT_MS: Final = GRACE_MS + HTTP_MS + TAIL_MS
LAG_MS: Final = 60_000
"""Worst lag of Intercom's index."""
CHECK_MS: Final = LAG_MS + 15_000
"""Delay of a settle check."""
REGISTRY_MS: Final = 400_000
HAND_MS: Final = 500
MAX_KILLS: Final = 4
"""How old a call in hand may be when it is used."""
BEGIN_MS: Final = 10_000_000.0
"""The clock at the beginning of a history."""


class Crash(Exception):
    """The process that does this is gone."""


class Faults:
    """Draws faults until the history's share of them is used up, or its horizon has passed."""

    def __init__(self, random: Random, most: int, kinds: tuple[str, ...] | None, until: float) -> None:
        self._random = random
        self.left = most
        self._kinds = kinds
        self._until = until
        self.happened: list[str] = []

    def are_over(self, now: float) -> bool:
        """Can nothing go wrong any more?"""
        return self.left <= 0 or now > self._until

    def strikes(self, kind: str, chance: float, now: float) -> bool:
        """Does this go wrong now?"""
        if self.are_over(now) or (self._kinds is not None and kind not in self._kinds):
            return False
        if self._random.random() >= chance:
            return False
        self.left -= 1
        self.happened.append(kind)
        return True
