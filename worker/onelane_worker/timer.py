"""The due timer: hands out lanes that are due, and lanes whose turn was lost. One in every worker.

There is no other timer, and nothing else recovers: whatever a lane waits for, a retry, a dead worker, the
end of a doubt, it stands in one sorted set by its time. Every worker may look, also at the same moment: the
script that hands a lane out arms it anew.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from itertools import pairwise

import structlog

from onelane import keyspace
from onelane.keyspace import BULK, QueueName
from onelane.turns import Turn
from onelane_worker.breaker import Gate
from onelane_worker.lanes.store import LaneStore
from onelane_worker.redis_errors import said

log = structlog.get_logger(__name__)
HAND_OUT_LIMIT = 200
"""Lanes handed out per partition, cause and tick: bounds memory and a burst after an outage."""
TELL_AGAIN_S = 15.0
"""How often the log tells of a trouble that lasts."""
EXPIRE_EVERY = 60
"""Between two looks for dead letters that are too old: so many ticks."""
EXPIRE_LIMIT = 100
"""Dead letters of a partition that are given up by one look."""
LOOKS_KEPT = 240
"""How many looks at the line are remembered: those of two minutes and more. In a line that takes longer, a
lost turn is found when others of its partition have overtaken it."""
Seqs = Mapping[str, Mapping[QueueName, int]]
"""Of each partition, the newest turn's number in each queue."""


class Line:
    """Which turns can no longer be in the broker's queue, because whoever is first in is first out.

    If at least as many turns were made after a turn as there are messages in the queue, it is none of those.
    It was fetched and is being served, or it was lost with whoever had fetched it.
    """

    def __init__(self) -> None:
        self._looks: deque[tuple[Mapping[QueueName, int], Seqs]] = deque(maxlen=LOOKS_KEPT)
        """How many turns had been made in all, and their numbers."""

    def note(self, seqs: Seqs) -> None:
        """What a tick saw."""
        if not self._looks or self._looks[-1][1] != seqs:
            made = {queue: sum(one[queue] for one in seqs.values()) for queue in keyspace.QUEUES}
            self._looks.append((made, seqs))

    def passed(self, queue: QueueName, waiting: int) -> Mapping[str, int]:
        """Of each partition, the number up to which turns have left a queue in which so many wait now.

        A turn is numbered before it is published: it is given one tick to be on its way.
        """
        if not self._looks:
            return {}
        made, newest = self._looks[-1]
        if not waiting:
            return {partition: seqs[queue] for partition, seqs in newest.items()}
        passed: Seqs = {}
        for (_, before), (by_then, _) in pairwise(self._looks):
            if made[queue] - by_then[queue] < waiting:
                break
            passed = before
        return {partition: seqs[queue] for partition, seqs in passed.items()}


class DueTimer:
    """Looks every `interval_s`, on a thread of its own.

    `waiting`: how many messages there are in each of the broker's queues. `announce` is called by every tick
    first: what it raises ends the tick. Dead letters older than `dead_letter_ttl_s` are given up; None:
    never. `look_bulk`: how the class of bulk intents stands.
    """

    def __init__(
        self,
        store: LaneStore,
        look: Callable[[], Gate],
        publish: Callable[[Turn], None],
        waiting: Callable[[], Mapping[QueueName, int]],
        interval_s: float,
        announce: Callable[[], None] = lambda: None,
        dead_letter_ttl_s: float | None = None,
        look_bulk: Callable[[], Gate] = Gate,
    ) -> None:
        self._store = store
        self._look = look
        self._publish = publish
        self._waiting = waiting
        self._interval_s = interval_s
        self._announce = announce
        self._dead_letter_ttl_s = dead_letter_ttl_s
        self._ticks = 0
        self._look_bulk = look_bulk
        self._bulk: tuple[int, int] | None = None
        """While bulk intents are stopped: how many of their lanes to hand out, and when the next is tried."""
        self._line = Line()
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

        A turn counts as lost when it has left the line and nobody has come with it. While nobody may call,
        nothing is handed out but a lane for the next trial: a hundred thousand parked lanes stay quiet.
        """
        self._announce()
        if self._dead_letter_ttl_s is not None and self._ticks % EXPIRE_EVERY == 0:
            try:
                self._expire_dead(self._dead_letter_ttl_s)
            except Exception as error:  # a letter that cannot be read must not keep lanes from being served
                log.warning("old dead letters were not given up", problem=said(error))
        self._ticks += 1
        gate = self._look()
        if gate.shut:
            return 0
        bulk = self._look_bulk()
        self._bulk = (int(bulk.word == "trial"), bulk.next_ms) if bulk.stopped else None
        passed = self._passed()
        if gate.word == "trial":
            partitions = random.sample(keyspace.PARTITIONS, len(keyspace.PARTITIONS))
            return next((n for one in partitions if (n := self._hand_out(one, passed, 1))), 0)
        published, seqs = 0, {}
        for partition in keyspace.PARTITIONS:
            published += self._hand_out(partition, passed, HAND_OUT_LIMIT)
            seqs[partition] = self._store.turn_counters(partition).seq
        self._line.note(seqs)
        return published

    def _expire_dead(self, older_than_s: float) -> None:
        older_than_ms = round(older_than_s * 1000)
        gone = sum(self._store.expire_dead(one, older_than_ms, EXPIRE_LIMIT) for one in keyspace.PARTITIONS)
        if gone:
            log.info("dead letters given up for their age", count=gone, older_than_s=older_than_s)

    def _passed(self) -> dict[QueueName, Mapping[str, int]]:
        return {queue: self._line.passed(queue, count) for queue, count in self._waiting().items()}

    def _hand_out(self, partition: str, passed: Mapping[QueueName, Mapping[str, int]], limit: int) -> int:
        here = {queue: seqs[partition] for queue, seqs in passed.items() if partition in seqs}
        turns = self._store.hand_out(partition, limit, here, self._bulk)
        if self._bulk is not None and any(turn.queue == BULK for turn in turns):
            self._bulk = (0, self._bulk[1])
        for turn in turns:
            self._publish(turn)
        return len(turns)

    def _run(self) -> None:
        told, told_at = "", 0.0
        while not self._stopped.wait(self._interval_s):
            try:
                self.tick()
            except Exception as error:  # Redis or the broker is away, or refuses: the next tick tries again
                problem = said(error)
                if problem != told or time.monotonic() - told_at > TELL_AGAIN_S:
                    log.warning("due timer could not look", problem=problem)
                    told, told_at = problem, time.monotonic()
            else:
                if told:
                    log.info("due timer looks again")
                told = ""
