"""Errors say enough and travel between processes; settings name the variable that is wrong."""

from __future__ import annotations

import pickle

import pytest

from onelane import (
    BadSetting,
    ContactQueue,
    DedupeMismatch,
    InvalidIntent,
    OnelaneError,
    QueueFull,
    QueueSettings,
    QueueUnavailable,
    Receipt,
    UnknownIntent,
    WaitTimeout,
)


@pytest.mark.parametrize(
    "error",
    [
        InvalidIntent("name", "is empty", 3),
        DedupeMismatch("1" * 32).in_batch(1, (Receipt(id="2" * 32, lane="2" * 32), None)),
        QueueFull("the lane", 5),
        QueueUnavailable("Redis did not answer"),
        UnknownIntent("1" * 32),
        WaitTimeout("not yet"),
        BadSetting("ONELANE_LANE_MAX", "must be positive"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_errors_survive_pickling(error: OnelaneError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


def test_defaults() -> None:
    settings = QueueSettings.from_env({})
    assert settings.redis_url == settings.broker == "redis://localhost:6379/0"
    assert (settings.lane_max, settings.pending_max, settings.partition_max) == (10_000, 1_000_000, 62_500)
    assert settings.enqueue_timeout_s == 5


def test_the_environment_is_read_and_what_is_given_stands_above_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONELANE_REDIS_URL", "redis://elsewhere:1/0")
    monkeypatch.setenv("ONELANE_BROKER_URL", "amqp://broker//")
    monkeypatch.setenv("ONELANE_LANE_MAX", "7")
    monkeypatch.setenv("ONELANE_PENDING_MAX", "")  # as compose files do: not set
    with ContactQueue() as queue:
        assert queue.settings == QueueSettings(
            redis_url="redis://elsewhere:1/0", broker_url="amqp://broker//", lane_max=7
        )
    with ContactQueue.from_url("redis://here:1/0", pending_max=9) as queue:
        assert queue.settings.broker == "redis://here:1/0"
        assert (queue.settings.lane_max, queue.settings.pending_max) == (7, 9)


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("ONELANE_REDIS_URL", "secret@nowhere"),
        ("ONELANE_BROKER_URL", "secret@nowhere"),
        ("ONELANE_LANE_MAX", "secret"),
        ("ONELANE_LANE_MAX", "0"),
        ("ONELANE_PENDING_MAX", "-1"),
        ("ONELANE_ENQUEUE_TIMEOUT_S", "0"),
        ("ONELANE_ENQUEUE_TIMEOUT_S", "nan"),
        ("ONELANE_ENQUEUE_TIMEOUT_S", "5 seconds"),
    ],
)
def test_a_bad_value_names_the_variable_and_not_itself(variable: str, value: str) -> None:
    with pytest.raises(BadSetting, match=f"^{variable}: ") as caught:
        QueueSettings.from_env({variable: value})
    assert caught.value.variable == variable
    assert "secret" not in str(caught.value)


def test_a_socket_is_spelled_for_the_broker_too() -> None:
    assert QueueSettings.from_env({}, redis_url="unix:///run/r.sock").broker == "redis+socket:///run/r.sock"
    settings = QueueSettings.from_env({}, redis_url="unix:///run/r.sock?db=2")
    assert settings.broker == "redis+socket:///run/r.sock?virtual_host=2"


def test_repr_shows_no_password() -> None:
    assert "secret" not in repr(QueueSettings.from_env({}, redis_url="redis://:secret@host/0"))
