"""A worker that is asked to stop: its turns end after the wish at hand, and none of them for ever.

Celery waits for the turns at work when it gets SIGTERM. A turn in a long slice would go on with its lane,
so it asks here before it takes more; and a wish that is not done within the grace period is handed back
between two calls, with everything that is known of it. Its lane is released either way, and another
worker goes on at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class Stop:
    """One process's wish to end. `ask` may be called by a signal handler: it takes no lock."""

    def __init__(self, grace_s: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._grace_s = grace_s
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
        return self._asked_at is not None and self._clock() - self._asked_at >= self._grace_s
