"""Onelane: the intent is enqueued, and a worker writes it."""

from __future__ import annotations

from bench.policies.setting import Setting
from onelane import ContactQueue, Intent

PATIENCE_S = 60.0


class OnelaneQueue:
    """Waits for the outcome, as the other policies return when they have written."""

    def __init__(self, setting: Setting) -> None:
        self._queue = ContactQueue.from_url(setting.redis_url)

    def apply(self, service: str, intent: Intent) -> None:
        receipt = self._queue.enqueue(intent)
        outcome = self._queue.wait(receipt.id, PATIENCE_S)
        if outcome.result == "rejected":
            raise RuntimeError(f"rejected: {outcome.reason}")

    def close(self) -> None:
        self._queue.close()
