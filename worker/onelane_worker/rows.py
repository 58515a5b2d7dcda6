"""Flower's rows: one per intent, whoever served it.

The turn's own intent gets its row from Celery. An intent that another one's turn took along has no message
of its own, so its events are sent here: the same events, as Celery's worker sends them. Nothing in them names
an address.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from celery import Celery
from celery.exceptions import Retry

from onelane import display
from onelane.receipts import Outcome
from onelane.turns import TASK_PREFIX
from onelane_worker.core.operations import Problem
from onelane_worker.ending import Row
from onelane_worker.lanes.model import PostponedState
from onelane_worker.redis_errors import said

log = structlog.get_logger(__name__)
MOST_KEPT, KEPT_S = 1_000, 600.0
"""How many last events are kept, and for how long."""
AGAIN_S = (0.0, 5.0, 30.0)
"""How long after a connection is back they are sent again."""


class Rejected(Exception):
    """The intent became a dead letter; the text is its reason, with Intercom's status and code."""

    def __repr__(self) -> str:
        return display.shown(f"Rejected: {self}")


class Waiting(Exception):
    """The intent waits for its next attempt; the text says why."""

    def __repr__(self) -> str:
        return display.shown(f"Waiting: {self}")


class Postponed(Retry):  # type: ignore[misc]
    """What a turn raises when its own intent waits. Celery shows this or the `Waiting` in it, by the pool."""

    def __init__(self, message: str, exc: Exception | None = None, when: float | None = None) -> None:
        super().__init__(message, exc or Waiting(message), when)

    def __repr__(self) -> str:
        return repr(self.exc)


class Told:
    """An outcome as the result of a task: Celery shows its `repr`, and that is plain words."""

    def __init__(self, outcome: Outcome) -> None:
        self._outcome = outcome

    def __repr__(self) -> str:
        return display.shown(str(self._outcome))


@dataclass(frozen=True, slots=True)
class _Last:
    """The last event of a row, to be sent again. It names nobody: the person may be erased meanwhile."""

    ended_at: float
    event: str
    intent_id: str
    fields: dict[str, Any]


class RowEvents:
    """Sends task events for intents that have no message of their own. Shared by a process's threads.

    The last events of all rows, also of those that Celery tells of, are kept for a while: what was sent when
    a connection to the broker broke may have reached nobody, and a row without its last event says STARTED
    for ever. They are sent again when the connection is back; Flower takes an event twice.
    """

    def __init__(self, app: Celery, clock: Callable[[], float] = time.monotonic) -> None:
        self._app = app
        self._clock = clock
        self.hostname = app.main
        """The worker's name, known to its first turn: its rows are that worker's, like any others."""
        self._lock = threading.Lock()
        self._dispatcher: Any = None
        self._last: dict[str, _Last] = {}
        self._again_at: list[float] = []

    def began(self, intent_id: str) -> None:
        """The intent is worked on (again): its row is not at its end any more."""
        with self._lock:
            self._last.pop(intent_id, None)

    def connection_is_back(self, after_s: Sequence[float] = AGAIN_S) -> None:
        """`catch_up` is to send the last events again: more than once, since Flower comes back later."""
        now = self._clock()
        with self._lock:
            self._again_at = [now + pause_s for pause_s in after_s]

    def catch_up(self) -> None:
        """Send last events again, if it is time for that. Called every now and then."""
        now = self._clock()
        with self._lock:
            if not self._again_at or now < self._again_at[0]:
                return
            self._again_at.pop(0)
            last = [one for one in self._last.values() if now - one.ended_at < KEPT_S]
        for one in last:
            if not self._send(one.event, one.intent_id, **one.fields):
                return  # which is tried again later

    def started(self, row: Row) -> None:
        self.began(row.id)
        self._send(
            "task-received",
            row.id,
            name=TASK_PREFIX + row.kind,
            args=repr([row.lane]),
            kwargs=repr({"who": row.who}),
            retries=max(0, row.attempts - 1),
            eta=None,
            expires=None,
            root_id=row.id,
            parent_id=None,
        )
        self._send("task-started", row.id)

    def succeeded(self, row: Row, outcome: Outcome, runtime_s: float, *, told: bool = False) -> None:
        """`told`: by Celery; the event is only kept."""
        self._end("task-succeeded", row, told, result=repr(Told(outcome)), runtime=runtime_s)

    def failed(self, row: Row, rejected: Rejected, *, told: bool = False) -> None:
        """`told`: by Celery; the event is only kept."""
        self._end("task-failed", row, told, exception=repr(rejected), traceback="")

    def retried(self, row: Row, why: str) -> None:
        self._send("task-retried", row.id, exception=repr(Waiting(why)), traceback="")

    def _end(self, event: str, row: Row, told: bool, **fields: Any) -> None:
        fields["timestamp"] = time.time()
        now = self._clock()
        with self._lock:
            self._last[row.id] = _Last(now, event, row.id, fields)
            while len(self._last) > MOST_KEPT or now - self._oldest().ended_at > KEPT_S:
                del self._last[self._oldest().intent_id]
        if not told:
            self._send(event, row.id, **fields)

    def _oldest(self) -> _Last:
        return next(iter(self._last.values()))

    def _send(self, event: str, intent_id: str, **fields: Any) -> bool:
        try:
            with self._lock:
                if self._dispatcher is None:
                    self._dispatcher = self._app.events.Dispatcher(
                        self._app.connection_for_write(), hostname=self.hostname, buffer_while_offline=False
                    )
                self._dispatcher.send(event, uuid=intent_id, **fields)
        except Exception as error:  # a row less in Flower must not cost an intent
            log.warning("event not sent", event_type=event, problem=said(error))
            self.close()
            self.connection_is_back(AGAIN_S[1:])  # or not: then that is tried again
            return False
        return True

    def close(self) -> None:
        with self._lock:
            dispatcher, self._dispatcher = self._dispatcher, None
            if dispatcher is not None:
                try:
                    dispatcher.close()
                    dispatcher.connection.release()
                except Exception as error:
                    log.warning("dispatcher not closed", error=type(error).__name__)


class TurnRows:
    """One turn's observer: keeps what became of the turn's own intent, sends the others' rows at once."""

    def __init__(self, events: RowEvents, own_id: str) -> None:
        self._events = events
        self._own_id = own_id
        events.began(own_id)
        self._began_at = time.monotonic()
        self.outcome: Outcome | None = None
        self.rejected: Rejected | None = None
        self.postponed: Postponed | None = None

    def ended(self, row: Row, outcome: Outcome) -> None:
        if row.id == self._own_id:
            self.outcome = outcome
        else:
            self._events.started(row)
        runtime_s, told = time.monotonic() - self._began_at, row.id == self._own_id
        self._events.succeeded(row, outcome, runtime_s, told=told)

    def buried(self, row: Row, outcome: Outcome, problem: Problem) -> None:
        rejected = Rejected(_said(outcome.reason or "", problem.http_status, problem.code))
        if row.id == self._own_id:
            self.rejected = rejected
        else:
            self._events.started(row)
        self._events.failed(row, rejected, told=row.id == self._own_id)

    def put_back(self, row: Row, problem: Problem, state: PostponedState, delay_s: float) -> None:
        why = _why(problem, state, delay_s)
        if row.id == self._own_id:
            self.postponed = Postponed(why, when=delay_s)
            return
        self._events.started(row)
        self._events.retried(row, why)

    def interrupted(self, problem: Problem) -> None:
        """The turn was cut short: its own intent waits, unless it had ended by then."""
        if self.outcome is None and self.rejected is None and self.postponed is None:
            self.postponed = Postponed(f"{_words(problem, 'retrying')}; again soon")


def _why(problem: Problem, state: PostponedState, delay_s: float) -> str:
    return f"{_words(problem, state)}; again in {delay_s:.1f} s"


def _words(problem: Problem, state: PostponedState) -> str:
    words: list[str] = [state] if problem.kind == state else [state, problem.kind]
    return _said(*words, problem.http_status, problem.code, problem.message).rstrip(": ")


def _said(*words: str | int | None) -> str:
    return " ".join(str(word) for word in words if word is not None)
