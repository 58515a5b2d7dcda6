"""Flower's rows: sent in batches while somebody listens, told again when they may have reached nobody."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from redis import Redis

from onelane import Outcome
from onelane_worker.engine import task_events
from onelane_worker.engine.task_events import TaskEvents, Told
from onelane_worker.engine.timeline import Made, Row
from onelane_worker.planner.operations import Problem

PATIENCE_S = 20.0
LANE = "1" * 32
CREATED = Outcome(result="created", contact_id="c1", calls=2)


def row(id_: str = "i1", lane: str = LANE, **more: Any) -> Row:
    fields = {"kind": "lead_capture", "who": "a***@example.test", "attempts": 1, **more}
    return Row(id=id_, lane=lane, **fields)


class Listener:
    """Hears of every task event, as Flower does."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.heard: list[dict[str, Any]] = []

    def of(self, *types: str) -> list[dict[str, Any]]:
        return [one for one in self.heard if one["type"] in types]

    @contextmanager
    def listening(self) -> Iterator[None]:
        with (
            Celery("listener", broker=self._url, set_as_current=False) as app,
            app.connection_for_read() as connection,
        ):
            receiver = app.events.Receiver(connection, handlers={"*": self.heard.append})
            capture = {"limit": None, "timeout": None, "wakeup": False}
            thread = threading.Thread(target=receiver.capture, kwargs=capture, daemon=True)
            thread.start()
            wait_until(lambda: _subscribers(self._url))
            yield
            receiver.should_stop = True
            thread.join(PATIENCE_S)


def _subscribers(url: str) -> int:
    with Redis.from_url(url) as client:
        return int(client.pubsub_numpat())


def wait_until(condition: Callable[[], object]) -> None:
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.fixture
def url(valkey: Redis, valkey_url: str) -> str:
    return f"{valkey_url}/0"


@pytest.fixture
def listener(url: str) -> Iterator[Listener]:
    listener = Listener(url)
    with listener.listening():
        yield listener


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_events, "LOOK_S", 0.05)
    monkeypatch.setattr(task_events, "BATCH_S", 0.05)


@contextmanager
def events_of(url: str) -> Iterator[TaskEvents]:
    with Celery("worker", broker=url, set_as_current=False) as app:
        events = TaskEvents(app)
        events.start()
        yield events
        events.close()


@pytest.fixture
def events(url: str) -> Iterator[TaskEvents]:
    with events_of(url) as events:
        yield events


def dispatcher(*groups: str) -> Any:
    """Celery's own, as far as remote control changes it."""
    return SimpleNamespace(enabled=True, groups=set(groups))


def test_a_row_is_three_events_as_celery_sends_them(events: TaskEvents, listener: Listener) -> None:
    events.connected("w@host", dispatcher("worker", "task"))
    calls = (Made("search", "found", 40), Made("create", "created", 60))

    events.ended(row(attempts=3, accepted_ms=10_000, at_ms=12_000, calls=calls), CREATED)

    wait_until(lambda: len(listener.heard) == 3)
    received, started, ended = listener.heard
    assert [one["type"] for one in listener.heard] == ["task-received", "task-started", "task-succeeded"]
    assert {one["uuid"] for one in listener.heard} == {"i1"}
    assert {one["hostname"] for one in listener.heard} == {"w@host"}
    assert (received["name"], received["args"]) == ("contacts.lead_capture", f"['{LANE}']")
    assert (received["kwargs"], received["retries"]) == ("{'who': 'a***@example.test'}", 2)
    assert (ended["result"], ended["runtime"]) == ("result=created contact_id=c1 calls=2", 0.1)
    assert ended["timestamp"] - received["timestamp"] == pytest.approx(2.0)
    assert ended["timestamp"] - started["timestamp"] == pytest.approx(0.1)


def test_a_postponed_intent_is_a_retry_that_says_why(events: TaskEvents, listener: Listener) -> None:
    events.connected("w@host", dispatcher())  # no groups: all of them, as with -E
    problem = Problem("server_error", http_status=503, code="service_unavailable")

    events.put_back(row(), problem, "retrying", 1.25)
    events.put_back(row("i2"), Problem("parked", message="for ann@example.test"), "parked", 15)

    wait_until(lambda: len(listener.of("task-retried")) == 2)
    assert [one["exception"] for one in listener.of("task-retried")] == [
        "Waiting: retrying server_error 503 service_unavailable; again in 1.2 s",
        "Waiting: parked for a***@example.test; again in 15.0 s",
    ]


def test_a_dead_letter_is_a_failure_that_says_why(events: TaskEvents, listener: Listener) -> None:
    events.connected("w@host", dispatcher("task"))
    outcome = Outcome(result="rejected", reason="refused", calls=1)

    events.buried(row(), outcome, Problem("refused", http_status=400, code="parameter_invalid"))

    wait_until(lambda: listener.of("task-failed"))
    assert listener.of("task-failed")[0]["exception"] == "Rejected: refused 400 parameter_invalid"


def test_many_rows_go_into_few_messages(events: TaskEvents, url: str) -> None:
    with Redis.from_url(url) as client, client.pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.psubscribe("*celeryev*")
        pubsub.get_message(timeout=PATIENCE_S)
        events.connected("w@host", dispatcher("task"))
        for n in range(100):
            events.ended(row(f"i{n}"), CREATED)
        seen = 0
        wait_until(lambda: pubsub.get_message(timeout=0.1))
        while pubsub.get_message(timeout=0.3):
            seen += 1
    assert seen < 10


def test_nothing_is_sent_while_nobody_listens_and_then_what_was_told_lately(
    events: TaskEvents, listener: Listener
) -> None:
    celerys = dispatcher("worker")
    events.connected("w@host", celerys)
    events.put_back(row(), Problem("network"), "retrying", 1.0)
    events.ended(row(), CREATED)
    events.put_back(row("i2"), Problem("network"), "retrying", 1.0)
    wait_until(lambda: not events._waiting)
    assert events._connection is None

    celerys.groups.add("task")  # as `enable_events` does

    wait_until(lambda: {one["uuid"] for one in listener.of("task-retried")} == {"i2"})
    assert {one["uuid"] for one in listener.of("task-succeeded")} == {"i1"}

    celerys.groups.discard("task")
    wait_until(lambda: not events._heard)
    events.ended(row("i3"), CREATED)
    wait_until(lambda: not events._waiting)
    assert "i3" not in {one["uuid"] for one in listener.heard}


def test_what_was_told_lately_is_told_again_after_a_broken_connection(
    events: TaskEvents, listener: Listener
) -> None:
    events.connected("w@host", dispatcher("task"))
    wait_until(lambda: events._heard)
    events.ended(row(), CREATED)
    wait_until(lambda: listener.of("task-succeeded"))
    wait_until(lambda: len(events._again_at) < len(task_events.AGAIN_S))
    before = len(listener.of("task-succeeded"))

    events.connected("w@host", dispatcher("task"))

    wait_until(lambda: len(listener.of("task-succeeded")) > before)
    first, *_, last = listener.of("task-succeeded")
    assert (first["uuid"], first["timestamp"]) == (last["uuid"], last["timestamp"])


def test_of_an_erased_person_only_the_erasure_is_told_again(events: TaskEvents, listener: Listener) -> None:
    celerys = dispatcher("worker")
    events.connected("w@host", celerys)
    events.ended(row("before"), CREATED)
    events.ended(row("another", lane="2" * 32), CREATED)
    events.ended(row("erasure"), Outcome(result="erased", calls=1))
    wait_until(lambda: not events._waiting)

    celerys.groups.add("task")

    wait_until(lambda: len(listener.of("task-succeeded")) >= 2)
    assert {one["uuid"] for one in listener.heard} == {"another", "erasure"}


def test_a_broker_that_is_away_holds_nobody_up_and_costs_nothing_that_is_told_again(
    url: str, listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_events, "AGAIN_S", (0.0, 0.1, 0.2))
    with events_of("redis://127.0.0.1:1/0") as events:
        events.connected("w@host", dispatcher("task"))
        wait_until(lambda: events._heard)
        began = time.monotonic()
        for n in range(2_000):
            events.ended(row(f"i{n}"), CREATED)
        assert time.monotonic() - began < 1.0
        wait_until(lambda: events._not_before > 0)

        events._app.conf.update(broker_url=url, broker_write_url=url)  # it is back

        wait_until(lambda: "i1999" in {one["uuid"] for one in listener.heard})
    told = {one["uuid"] for one in listener.heard}
    assert len(told) <= task_events.MOST_KEPT


def test_the_end_waits_for_the_last_events_but_for_no_dead_broker(url: str, listener: Listener) -> None:
    with events_of(url) as events:
        events.connected("w@host", dispatcher("task"))
        wait_until(lambda: events._heard)
        events.ended(row("last"), CREATED)
    wait_until(lambda: "last" in {one["uuid"] for one in listener.of("task-succeeded")})

    with events_of("redis://192.0.2.1:6379/0") as events:
        events.connected("w@host", dispatcher("task"))
        events.ended(row(), CREATED)
        began = time.monotonic()
        events.close(timeout_s=0.5)
    assert time.monotonic() - began < 10


HOSTILE = "\x1b[2J\x9b31m o'watson@example.test\r\n2026-11-30 [info] all is well \u202e\u2028"
"""Clears the screen, names a person, forges a line, turns the writing round."""


@pytest.mark.parametrize(
    "words",
    [Outcome(result="rejected", reason=HOSTILE, contact_id=HOSTILE), f"Waiting: {HOSTILE}"],
    ids=["outcome", "exception"],
)
def test_rows_name_nobody_and_steer_nothing(words: Outcome | str) -> None:
    row = Row(id="a" * 32, kind="lead_capture", lane="b" * 32, who="o***@example.test", attempts=1)
    told = [
        value
        for _, fields in Told(1.0, row, "task-failed", words).events()
        for value in fields.values()
        if isinstance(value, str)
    ]
    assert any("***@example.test" in text for text in told)
    for text in told:
        assert "watson" not in text
        assert not any(sign in text for sign in ("\x1b", "\x9b", "\r", "\n", "\u202e", "\u2028"))
