"""What the log and Flower show of foreign words: no address, nothing that steers a terminal."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog
from celery import Celery
from onelane.receipts import Outcome
from onelane_worker.ending import Row
from onelane_worker.rows import Rejected, RowEvents, Told, TurnRows

from onelane_worker import logs
from onelane_worker.planner.operations import Problem

HOSTILE = "\x1b[2J\x9b31m o'watson@example.test\r\n2026-11-30 [info] all is well \u202e\u2028"
"""Clears the screen, names a person, forges a line, turns the writing round."""
STEERING = ("\x1b", "\x9b", "\r", "\u202e", "\u2028")
Log = Callable[[], str]


class Terminal(io.StringIO):
    def __init__(self, *, is_one: bool) -> None:
        super().__init__()
        self._is_one = is_one

    def isatty(self) -> bool:
        return self._is_one


@pytest.fixture(params=[True, False], ids=["terminal", "pipe"])
def written(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    """What a worker's log holds."""
    stream = Terminal(is_one=request.param)
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    monkeypatch.setattr(sys, "__stderr__", stream)
    monkeypatch.setenv("NO_COLOR", "1")
    logs.configure()
    yield stream.getvalue
    root.handlers[:] = before
    root.setLevel(level)
    structlog.reset_defaults()


def log_by_keys() -> None:
    structlog.get_logger("x").warning("event", said=HOSTILE, inner={"said": [HOSTILE]}, odd=Odd())


def log_by_message() -> None:
    logging.getLogger("x").warning("intercom said: %s", HOSTILE)


def log_an_error() -> None:
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        structlog.get_logger("x").exception(HOSTILE)


class Odd:
    def __repr__(self) -> str:
        return HOSTILE


@pytest.mark.parametrize("say", [log_by_keys, log_by_message, log_an_error])
def test_a_log_line_names_nobody_and_steers_nothing(written: Log, say: Callable[[], None]) -> None:
    say()

    found = re.sub(r"\x1b\[[\d;]*m", "", written())  # the renderer's own colours
    assert "watson" not in found
    assert "***@example.test" in found
    assert not any(sign in found for sign in STEERING)
    assert not any(line.startswith("2026-11-30 [info]") for line in found.splitlines())


def test_a_log_line_for_programs_stays_json(written: Log) -> None:
    log_an_error()

    if not written().startswith("{"):
        return  # a terminal
    [record] = [json.loads(line) for line in written().splitlines()]
    assert "\x1b[2J" in record["event"]


class Sent(list[dict[str, Any]]):
    """Stands where Celery's event dispatcher would."""

    def send(self, event: str, **fields: Any) -> None:
        self.append(fields)

    def close(self) -> None:
        """Nothing was opened."""


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> tuple[RowEvents, Sent]:
    sent = Sent()
    rows = RowEvents(Celery("test", broker="memory://", set_as_current=False))
    monkeypatch.setattr(rows, "_dispatcher", sent)
    return rows, sent


def test_flowers_rows_name_nobody_and_steer_nothing(events: tuple[RowEvents, Sent]) -> None:
    rows, sent = events
    row = Row(
        id="a" * 32,
        kind="lead_capture",
        lane="b" * 32,
        who="o***@example.test",
        at_ms=1,
        accepted_ms=1,
        attempts=1,
    )
    outcome = Outcome(result="rejected", reason=HOSTILE, contact_id=HOSTILE)
    of_others = TurnRows(rows, "another")

    of_others.put_back(row, Problem("refused", 400, "x", HOSTILE), "retrying", 1.0)
    of_others.buried(row, outcome, Problem("refused", 400, HOSTILE))
    of_others.ended(row, outcome)

    own = TurnRows(rows, row.id)
    own.put_back(row, Problem("refused", 400, "x", HOSTILE), "retrying", 1.0)
    own.buried(row, outcome, Problem("refused", 400, HOSTILE))
    own.ended(row, outcome)
    told = [repr(own.postponed), repr(own.rejected), repr(Told(outcome)), repr(Rejected(HOSTILE))]
    told += [value for fields in sent for value in fields.values() if isinstance(value, str)]
    assert sum("***@example.test" in text for text in told) >= 7
    for text in told:
        assert "watson" not in text
        assert not any(sign in text for sign in (*STEERING, "\n"))
