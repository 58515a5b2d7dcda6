"""Flower's rows: one per intent, made of task events as Celery's own workers send them.

The engine serves intents without Celery tasks, so these events are sent here: in batches (`task.multi`), by a
thread of its own, and only while somebody listens. The engine hands over what has happened and goes on at
once; a broker that is away costs rows in Flower and nothing else. Nothing in an event names an address.

Celery's remote control says whether somebody listens: Flower sends `enable_events` every five seconds. What
was told lately is told again when somebody begins to listen, and after the connection to the broker was lost:
events sent at that moment may have reached nobody. Flower takes an event twice.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog
from celery import Celery

from onelane import Outcome, display
from onelane_worker.engine.timeline import Row
from onelane_worker.lanes.types import PostponedState
from onelane_worker.planner.operations import Problem

log = structlog.get_logger(__name__)
TASK_PREFIX = "contacts."
BATCH_S, BATCH_EVENTS = 0.2, 200
"""How long events are gathered, and how many go into one message."""
LOOK_S = 1.0
"""How often the thread looks whether somebody listens."""
MOST_KEPT, KEPT_S = 1_000, 600.0
"""How many rows are told again, and of which age at most."""
MOST_WAITING = 10_000
"""Rows that wait for the thread; the oldest are given up for newer ones."""
AGAIN_S = (0.0, 5.0, 30.0)
"""When rows are told again after the connection is back: Flower's own may come back later."""
CONNECT_S = 3.0
"""Most seconds for connecting to the broker."""

Event = tuple[str, dict[str, Any]]
"""Type and fields."""


@dataclass(frozen=True, slots=True)
class Told:
    """What happened to an intent, as the last event of its row tells it."""

    at: float
    """Seconds since the epoch."""
    row: Row
    event: str
    words: Outcome | str
    """An outcome, or the text of an exception."""

    def events(self) -> Iterator[Event]:
        """The whole row: one that Flower does not know yet is complete with them."""
        row = self.row
        waited_s = max(0.0, (row.at_ms - row.accepted_ms) / 1000) if row.accepted_ms else 0.0
        runtime_s = sum(call.ms for call in row.calls) / 1000
        yield (
            "task-received",
            {
                "uuid": row.id,
                "name": TASK_PREFIX + row.kind,
                "args": repr([row.lane]),
                "kwargs": repr({"who": row.who}),
                "retries": max(0, row.attempts - 1),
                "eta": None,
                "expires": None,
                "root_id": row.id,
                "parent_id": None,
                "timestamp": self.at - waited_s,
            },
        )
        yield "task-started", {"uuid": row.id, "timestamp": self.at - min(runtime_s, waited_s)}
        yield self.event, {"uuid": row.id, "timestamp": self.at, **self._end(runtime_s)}

    def _end(self, runtime_s: float) -> dict[str, Any]:
        if isinstance(self.words, Outcome):
            return {"result": display.shown(str(self.words)), "runtime": runtime_s}
        return {"exception": display.shown(self.words), "traceback": ""}


class TaskEvents:
    """The engine's observer. `start` it before the engine and `close` it after; once each."""

    def __init__(self, app: Celery, clock: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._clock = clock
        self._hostname = ""
        self._celerys: Any = None
        """The dispatcher that Celery's remote control switches; made anew for each connection."""
        self._waiting: deque[Told] = deque(maxlen=MOST_WAITING)
        self._kept: dict[str, Told] = {}
        """By intent, the last one told last."""
        self._again_at: list[float] = []
        self._not_before = float("-inf")
        self._heard = False
        self._connection: Any = None
        self._dispatcher: Any = None
        self._something = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="onelane-events", daemon=True)

    # ── the engine's thread ───────────────────────────────────────────────────────────────────────────────

    def ended(self, row: Row, outcome: Outcome) -> None:
        """An intent ended, and not as a dead letter."""
        self._put(Told(time.time(), row, "task-succeeded", outcome))

    def buried(self, row: Row, outcome: Outcome, problem: Problem) -> None:
        """An intent became a dead letter."""
        why = _words(outcome.reason or "", problem.http_status, problem.code)
        self._put(Told(time.time(), row, "task-failed", f"Rejected: {why}"))

    def put_back(self, row: Row, problem: Problem, state: PostponedState, delay_s: float) -> None:
        """An intent waits for its next attempt."""
        words: list[str] = [state] if problem.kind == state else [state, problem.kind]
        code = None if problem.code in words else problem.code
        why = _words(*words, problem.http_status, code, problem.message).rstrip(": ")
        self._put(Told(time.time(), row, "task-retried", f"Waiting: {why}; again in {delay_s:.1f} s"))

    def _put(self, told: Told) -> None:
        self._waiting.append(told)
        if self._heard and not self._something.is_set():
            self._something.set()

    # ── Celery's thread ───────────────────────────────────────────────────────────────────────────────────

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def connected(self, hostname: str, dispatcher: Any) -> None:
        """The worker of this name is connected to the broker (again); `dispatcher` is Celery's own."""
        self._hostname, self._celerys = hostname, dispatcher
        now = self._clock()
        self._again_at = [now + pause_s for pause_s in AGAIN_S]
        self._something.set()

    def close(self, timeout_s: float = CONNECT_S) -> None:
        """Send what waits, if the broker takes it in this time."""
        self._closing = True
        self._something.set()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    # ── the thread of the events ──────────────────────────────────────────────────────────────────────────

    def _run(self) -> None:
        while True:
            self._something.wait(LOOK_S)
            closing = self._closing
            if self._something.is_set() and not closing:
                time.sleep(BATCH_S)
            self._something.clear()
            try:
                self._tell()
            except Exception as error:  # a row less in Flower must not cost an intent
                log.warning("events not sent", error=type(error).__name__)
                self._disconnect()
                self._not_before = self._clock() + AGAIN_S[1]
                self._again_at = [self._clock() + pause_s for pause_s in AGAIN_S[1:]]
            if closing:
                self._disconnect()
                return

    def _tell(self) -> None:
        new = self._take()
        heard = self._is_heard()
        if heard and not self._heard and not self._again_at:
            self._again_at = [self._clock()]
        self._heard = heard
        if not heard or self._clock() < self._not_before:
            return
        if self._again_at and self._clock() >= self._again_at[0]:
            self._again_at.pop(0)
            new = self._lately()
        if new:
            self._send(event for told in new for event in told.events())

    def _take(self) -> list[Told]:
        new = [self._waiting.popleft() for _ in range(len(self._waiting))]
        for told in new:
            self._keep(told)
        return new

    def _keep(self, told: Told) -> None:
        """Of an erased person nothing is told again but the erasure."""
        if isinstance(told.words, Outcome) and told.words.result == "erased":
            self._kept = {id_: one for id_, one in self._kept.items() if one.row.lane != told.row.lane}
        self._kept.pop(told.row.id, None)
        self._kept[told.row.id] = told
        if len(self._kept) > MOST_KEPT:
            del self._kept[next(iter(self._kept))]

    def _lately(self) -> list[Told]:
        oldest = time.time() - KEPT_S
        return [told for told in self._kept.values() if told.at > oldest]

    def _is_heard(self) -> bool:
        celerys = self._celerys
        return bool(celerys and celerys.enabled and (not celerys.groups or "task" in celerys.groups))

    def _send(self, events: Iterable[Event]) -> None:
        """Raises what the broker's client raises."""
        if self._dispatcher is None:
            self._connect()
        for kind, fields in events:
            self._dispatcher.send(kind, **fields)  # which flushes when there are enough of them
        self._dispatcher.flush(errors=False)

    def _connect(self) -> None:
        self._connection = self._app.connection_for_write()
        self._connection.ensure_connection(max_retries=1, interval_start=0, timeout=CONNECT_S)
        self._dispatcher = self._app.events.Dispatcher(
            self._connection,
            hostname=self._hostname,
            buffer_while_offline=False,
            buffer_group={"task"},
            buffer_limit=BATCH_EVENTS,
        )

    def _disconnect(self) -> None:
        dispatcher, connection = self._dispatcher, self._connection
        self._dispatcher = self._connection = None
        for one in (dispatcher, connection):
            with suppress(Exception):  # it is broken: that is why
                if one is not None:
                    one.close()


def _words(*words: str | int | None) -> str:
    return " ".join(str(word) for word in words if word is not None)
