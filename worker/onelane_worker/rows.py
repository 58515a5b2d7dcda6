"""Flower's rows: one per intent, whoever served it.

The turn's own intent gets its row from Celery. An intent that another one's turn took along has no message
of its own, so its events are sent here: the same events, as Celery's worker sends them. Nothing in them names
an address.
"""

from __future__ import annotations

import threading
import time
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

log = structlog.get_logger(__name__)


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


class RowEvents:
    """Sends task events for intents that have no message of their own. Shared by a process's threads."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self.hostname = app.main
        """The worker's name, known to its first turn: its rows are that worker's, like any others."""
        self._lock = threading.Lock()
        self._dispatcher: Any = None

    def started(self, row: Row) -> None:
        self._send(
            "task-received",
            row,
            name=TASK_PREFIX + row.kind,
            args=repr([row.lane]),
            kwargs=repr({"who": row.who}),
            retries=max(0, row.attempts - 1),
            eta=None,
            expires=None,
            root_id=row.id,
            parent_id=None,
        )
        self._send("task-started", row)

    def succeeded(self, row: Row, outcome: Outcome, runtime_s: float) -> None:
        self._send("task-succeeded", row, result=repr(Told(outcome)), runtime=runtime_s)

    def failed(self, row: Row, rejected: Rejected) -> None:
        self._send("task-failed", row, exception=repr(rejected), traceback="")

    def retried(self, row: Row, why: str) -> None:
        self._send("task-retried", row, exception=repr(Waiting(why)), traceback="")

    def _send(self, event: str, row: Row, **fields: Any) -> None:
        try:
            with self._lock:
                if self._dispatcher is None:
                    self._dispatcher = self._app.events.Dispatcher(
                        self._app.connection_for_write(), hostname=self.hostname, buffer_while_offline=False
                    )
                self._dispatcher.send(event, uuid=row.id, **fields)
        except Exception as error:  # a row less in Flower must not cost an intent
            log.warning("event not sent", event_type=event, error=type(error).__name__)
            self.close()

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
        self._began_at = time.monotonic()
        self.outcome: Outcome | None = None
        self.rejected: Rejected | None = None
        self.postponed: Postponed | None = None

    def ended(self, row: Row, outcome: Outcome) -> None:
        if row.id == self._own_id:
            self.outcome = outcome
            return
        self._events.started(row)
        self._events.succeeded(row, outcome, time.monotonic() - self._began_at)

    def buried(self, row: Row, outcome: Outcome, problem: Problem) -> None:
        rejected = Rejected(_said(outcome.reason or "", problem.http_status, problem.code))
        if row.id == self._own_id:
            self.rejected = rejected
            return
        self._events.started(row)
        self._events.failed(row, rejected)

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
