"""The due timer: hands out lanes that are due, and lanes whose turn was lost. One in every worker.

There is no other timer, and nothing else recovers: whatever a lane waits for, a retry, a dead worker, the
end of a doubt, it stands in one sorted set by its time. Every worker may look, also at the same moment: the
script that hands a lane out arms it anew.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping

import structlog

from producers import keyspace
from producers.keyspace import QueueName
from producers.turns import Turn
from worker.breaker import Gate
from worker.lanes.store import LaneStore

log = structlog.get_logger(__name__)
HAND_OUT_LIMIT = 200
"""Lanes handed out per partition, cause and tick: bounds memory and a burst after an outage."""


class DueTimer:
    """Looks every `interval_s`, on a thread of its own."""

    def __init__(
        self,
        store: LaneStore,
        look: Callable[[], Gate],
        publish: Callable[[Turn], None],
        empty_queues: Callable[[], frozenset[QueueName]],
        interval_s: float,
    ) -> None:
        self._store = store
        self._look = look
        self._publish = publish
        self._empty_queues = empty_queues
        self._interval_s = interval_s
        self._seen: dict[str, Mapping[QueueName, int]] = {}
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="onelane-due", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread; waits for a tick under way."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def tick(self) -> int:
        """Look once at every partition; returns how many turns were published.

        A turn counts as lost by emptiness only if it was made before the *previous* tick and the broker's
        queue is empty now: one that is just on its way is not taken for lost. While the line is stopped,
        nothing is handed out but a lane for the next trial: a hundred thousand parked lanes stay quiet.
        """
        gate = self._look()
        if gate.shut:
            return 0
        empty = self._empty_queues()
        if gate.word != "trial":
            return sum(self._hand_out(partition, empty, HAND_OUT_LIMIT) for partition in keyspace.PARTITIONS)
        partitions = random.sample(keyspace.PARTITIONS, len(keyspace.PARTITIONS))
        return next((n for partition in partitions if (n := self._hand_out(partition, empty, 1))), 0)

    def _hand_out(self, partition: str, empty: frozenset[QueueName], limit: int) -> int:
        before = self._seen.get(partition, {})
        seen_empty = {queue: before[queue] for queue in empty if queue in before}
        turns = self._store.hand_out(partition, limit, seen_empty)
        self._seen[partition] = self._store.turn_counters(partition).seq
        for turn in turns:
            self._publish(turn)
        return len(turns)

    def _run(self) -> None:
        while not self._stopped.wait(self._interval_s):
            try:
                self.tick()
            except Exception as error:  # Redis or the broker is away: the next tick tries again
                log.warning("due timer could not look", error=type(error).__name__)
