"""An engine that is asked to stop: nothing new is begun, and nothing at work goes on for ever.

A desired state that is not reached within the grace period is handed back between two calls, with everything
that is known of it. The lane is released, and another engine goes on at once.
"""

from __future__ import annotations

from collections.abc import Callable


class Shutdown:
    """That one process is to end."""

    def __init__(self, grace_s: float, clock: Callable[[], float]) -> None:
        self.grace_s = grace_s
        self._clock = clock
        self._asked_at: float | None = None

    def ask(self) -> None:
        """From now on nothing new is begun."""
        if self._asked_at is None:
            self._asked_at = self._clock()

    @property
    def asked(self) -> bool:
        return self._asked_at is not None

    @property
    def overdue(self) -> bool:
        """The grace period is over: hand back what is not done."""
        return self._asked_at is not None and self._clock() - self._asked_at >= self.grace_s
