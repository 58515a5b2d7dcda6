"""Celery's consumer, with patience for a broker that is there and refuses.

A broker that goes away Celery waits for by itself. One that answers with an error, because it is out of
memory or read-only, it takes for a mistake of ours, and ends the process; told to go on, it asks at once.
"""

from __future__ import annotations

import time
from typing import Any

import structlog
from celery.worker import state
from celery.worker.consumer import Consumer
from redis import RedisError

from onelane_worker.redis_errors import refusal

log = structlog.get_logger(__name__)
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 5.0
CALM_S = 10.0
"""After so long without a refusal the next one is the first again."""
_LOOK_S = 0.1


class PatientConsumer(Consumer):  # type: ignore[misc]
    """Waits between two tries, longer each time, and says what the broker has said."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        errors: tuple[type[Exception], ...] = self.channel_errors  # type: ignore[has-type]
        self.channel_errors = (*errors, RedisError)  # kombu names some of them only
        self._pause_s = FIRST_PAUSE_S
        self._refused_at = float("-inf")

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        super().on_connection_error_after_connected(exc)
        self._wait_out(exc)

    def on_connection_error_before_connected(self, exc: Exception) -> None:
        super().on_connection_error_before_connected(exc)
        self._wait_out(exc)

    def _wait_out(self, error: Exception) -> None:
        if isinstance(error, self.connection_errors):
            return  # connecting anew has a patience of its own
        if time.monotonic() - self._refused_at > CALM_S:
            self._pause_s = FIRST_PAUSE_S
        known = refusal(error)
        says = {"problem": str(known), "todo": known.todo} if known else {"problem": str(error)}
        log.warning("the broker refuses, trying again", **says, in_s=self._pause_s)
        until = time.monotonic() + self._pause_s
        while time.monotonic() < until:
            state.maybe_shutdown()
            time.sleep(_LOOK_S)
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)
        self._refused_at = time.monotonic()
