"""What Flower is told last of an intent is told again when a broken connection is back."""

from __future__ import annotations

from typing import Any

import pytest
from celery import Celery
from onelane_worker.ending import Row
from onelane_worker.rows import AGAIN_S, KEPT_S, MOST_KEPT, RowEvents, TurnRows

from onelane import Outcome
from onelane_worker import rows
from onelane_worker.planner.operations import Problem

DONE = Outcome(result="created")


class Broker:
    """Stands where the dispatcher would, and breaks as told."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []
        self.stamps: list[float] = []
        self.away = False

    def send(self, event: str, *, uuid: str, **fields: Any) -> None:
        if self.away:
            raise OSError("connection reset")
        self.heard.append((event.removeprefix("task-"), uuid))
        if "timestamp" in fields:
            self.stamps.append(fields["timestamp"])

    def close(self) -> None:
        """Nothing was opened."""

    @property
    def connection(self) -> Any:
        return self

    release = close


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def events(broker: Broker, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> RowEvents:
    app = Celery("test", broker="memory://", set_as_current=False)
    monkeypatch.setattr(app.events.__class__, "Dispatcher", lambda *_, **__: broker)
    return RowEvents(app, clock)


def row(id_: str) -> Row:
    return Row(id=id_, kind="lead_capture", lane="l", who="a***@example.test", attempts=1)


def come_back(events: RowEvents, clock: Clock) -> None:
    events.connection_is_back()
    for pause_s in (0.0, *AGAIN_S):
        clock.now += pause_s
        events.catch_up()


def test_the_ends_of_all_rows_are_told_again(events: RowEvents, broker: Broker, clock: Clock) -> None:
    turn = TurnRows(events, "own")
    turn.ended(row("own"), DONE)  # Celery tells of this one
    turn.buried(row("mate"), Outcome(result="rejected", reason="refused"), Problem("refused"))
    turn.put_back(row("other"), Problem("server_error"), "retrying", 1.0)
    first, stamps = list(broker.heard), list(broker.stamps)
    broker.heard.clear()
    come_back(events, clock)
    assert broker.heard == [("succeeded", "own"), ("failed", "mate")] * len(AGAIN_S)
    assert ("succeeded", "own") not in first
    assert set(stamps) < set(broker.stamps)  # with the time at which it was


def test_a_row_that_begins_anew_is_not_ended_again(events: RowEvents, broker: Broker, clock: Clock) -> None:
    TurnRows(events, "replayed").buried(row("replayed"), Outcome(result="rejected"), Problem("refused"))
    TurnRows(events, "replayed")
    come_back(events, clock)
    assert broker.heard == []


def test_what_could_not_be_sent_is_sent_when_that_works_again(
    events: RowEvents, broker: Broker, clock: Clock
) -> None:
    broker.away = True
    TurnRows(events, "own").ended(row("mate"), DONE)
    for _ in range(3):
        clock.now += AGAIN_S[-1]
        events.catch_up()
    broker.away = False
    assert broker.heard == []
    clock.now += AGAIN_S[-1]
    events.catch_up()
    assert broker.heard == [("succeeded", "mate")]


def test_it_costs_little(events: RowEvents, broker: Broker, clock: Clock) -> None:
    turn = TurnRows(events, "own")
    for number in range(MOST_KEPT + 10):
        turn.ended(row(f"{number}"), DONE)
    broker.heard.clear()
    events.catch_up()
    assert broker.heard == []  # nothing broke
    events.connection_is_back()
    events.catch_up()
    assert len(broker.heard) == MOST_KEPT
    clock.now += KEPT_S
    broker.heard.clear()
    events.catch_up()
    assert broker.heard == []
    assert rows.MOST_KEPT <= 1_000
