"""Errors say enough and travel between processes; settings name the variable that is wrong."""

from __future__ import annotations

import copy
import json
import pickle
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from pydantic import ValidationError

from onelane import (
    AsyncContactQueue,
    BadSetting,
    ContactQueue,
    DedupeMismatch,
    IntentError,
    InvalidIntent,
    Latest,
    OnelaneError,
    Outcome,
    QueueFull,
    QueueSettings,
    QueueUnavailable,
    Receipt,
    Status,
    UnknownIntent,
    WaitTimeout,
    errors,
)
from onelane_worker.settings import Settings, complaints

NOW = datetime.now(UTC)
ERRORS = [
    OnelaneError("something else"),
    InvalidIntent("name", "is empty", 3),
    InvalidIntent("name", "is empty").at(4),
    DedupeMismatch("1" * 32).in_batch(1, (Receipt(id="2" * 32, lane="2" * 32), None)),
    QueueFull("the lane", 5),
    QueueUnavailable("Redis did not answer"),
    UnknownIntent("1" * 32),
    WaitTimeout("not yet"),
    BadSetting("ONELANE_LANE_MAX", "must be positive"),
]
every_error = pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)


def test_every_public_error_is_among_those_tested() -> None:
    public = {one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, OnelaneError)}
    assert {type(error) for error in ERRORS} == public


@every_error
@pytest.mark.parametrize(
    "copied", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy]
)
def test_errors_survive_pickling_and_copying_C17(
    error: OnelaneError, copied: Callable[[OnelaneError], OnelaneError]
) -> None:
    again = copied(error)
    assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


@every_error
def test_errors_survive_the_json_of_celerys_result_back_end_C17(error: OnelaneError) -> None:
    backend = Celery(broker="memory://", backend="cache+memory://", set_as_current=False).backend
    stored = json.loads(json.dumps(backend.prepare_exception(error, serializer="json")))
    again = backend.exception_to_python(stored)
    own = {name: value for name, value in vars(error).items() if name != "receipts"}
    if isinstance(error, DedupeMismatch):
        del own["index"]  # the batch does not travel, only what was wrong
    assert (type(again), str(again)) == (type(error), str(error))
    assert vars(again) == own


@pytest.mark.parametrize(
    "value",
    [
        Receipt(id="2" * 32, lane="2" * 32),
        Outcome(result="created", contact_id="c", applied_with=("a", "b")),
        Status(
            id="1" * 32,
            kind="lead_capture",
            state="done",
            accepted_at=NOW,
            error=IntentError(class_="refused", code="x"),
            outcome=Outcome(result="created"),
        ),
        Latest(
            contact_id="c",
            role="user",
            fields={"name": "Ann"},
            source="read",
            as_of=datetime.now(UTC),
            age_s=1,
        ),
        QueueSettings(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_the_queue_answers_survives_pickling_and_copying_C17(value: Any) -> None:
    assert pickle.loads(pickle.dumps(value)) == copy.deepcopy(value) == value


def test_defaults() -> None:
    settings = QueueSettings.from_env({})
    assert settings.redis_url == settings.broker == "redis://localhost:6379/0"
    assert (settings.lane_max, settings.pending_max) == (10_000, 1_000_000)
    assert (settings.workspace, settings.enqueue_timeout_s) == ("main", 5)


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
        ("ONELANE_WORKSPACE", "Secret"),
        ("ONELANE_WORKSPACE", "secret shop"),
        ("ONELANE_WORKSPACE", "secret" * 11),
        ("ONELANE_DEDUPE_TTL_S", "inf"),
        ("ONELANE_STATUS_TTL_S", "0"),
    ],
)
def test_a_bad_value_names_the_variable_and_not_itself(variable: str, value: str) -> None:
    with pytest.raises(BadSetting, match=f"^{variable}: ") as caught:
        QueueSettings.from_env({variable: value})
    assert caught.value.variable == variable
    assert "secret" not in str(caught.value).lower()


@pytest.mark.parametrize("queue", [ContactQueue, AsyncContactQueue])
def test_the_workspace_is_named_by_the_environment_a_setting_or_the_caller(
    queue: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONELANE_WORKSPACE", "of-the-environment")
    named = [
        queue(),
        queue(workspace="given"),
        queue(QueueSettings(lane_max=7)),
        queue(QueueSettings(lane_max=7), workspace="given"),
        queue.from_url("redis://host/0"),  # type: ignore[attr-defined]
        queue.from_url("redis://host/0", workspace="given"),  # type: ignore[attr-defined]
    ]
    expected = ["of-the-environment", "given", "main", "given", "of-the-environment", "given"]
    assert [one.settings.workspace for one in named] == expected
    assert named[3].settings.lane_max == 7
    with pytest.raises(BadSetting, match="ONELANE_WORKSPACE: must be 1 to 63 small letters"):
        queue(workspace="Main")


MALFORMED = [
    "redis://:hun/ter2@host:6379/0",
    "redis://:hun#ter2@host:6379/0",
    "redis://:hun?ter2@host:6379/0",
    "redis://:hun[ter2@host:6379/0",
    "redis://:hunter2",
    "redis://hunter2:ter2:ter2/0",
    "redis://:123/hunter2@host/0",
    "rediss://ann:hunter2@host:port/0",
    "redis://host:0/0?password=hunter2",
    "redis://host/0?db=hunter2",
    "unix://:hun/ter2@/run/redis.sock",
]


@pytest.mark.parametrize("url", MALFORMED)
@pytest.mark.parametrize("make", [ContactQueue.from_url, AsyncContactQueue.from_url])
def test_a_malformed_redis_url_shows_no_part_of_its_password_C17(
    url: str, make: Callable[[str], Any]
) -> None:
    with pytest.raises(BadSetting, match=r"^ONELANE_REDIS_URL: ") as caught:
        make(url)
    assert not any(part in str(caught.value) for part in ("hun", "ter2", "123"))
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("variable", ["redis_url", "broker_url"])
@pytest.mark.parametrize("url", [url for url in MALFORMED if "?db" not in url])
def test_neither_does_the_workers_C17(variable: str, url: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(**{variable: url})
    [complaint] = complaints(caught.value)
    assert complaint.startswith(f"ONELANE_{variable.upper()}: ")
    assert not any(part in complaint + str(caught.value) for part in ("hun", "ter2", "123"))


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hun%2Fter2@host:6379/0",
        "redis://ann:p@ss:word@host/3",
        "rediss://host?ssl_cert_reqs=required",
        "unix://:secret@/run/redis.sock?db=1",
    ],
)
def test_a_url_that_can_be_read_is_taken_as_it_is(url: str) -> None:
    assert QueueSettings.from_env({}, redis_url=url).redis_url == Settings(redis_url=url).redis_url == url


@pytest.mark.parametrize(
    "url",
    ["amqp://ann:p%2Fw@host:5672//", "sentinel://:pw@a:1/0;sentinel://:pw@b:2/0", "memory://", "sqs://"],
)
def test_brokers_of_every_kind_are_taken_as_they_are(url: str) -> None:
    assert QueueSettings.from_env({}, broker_url=url).broker == Settings(broker_url=url).broker == url


def test_a_socket_is_spelled_for_the_broker_too() -> None:
    assert QueueSettings.from_env({}, redis_url="unix:///run/r.sock").broker == "redis+socket:///run/r.sock"
    settings = QueueSettings.from_env({}, redis_url="unix:///run/r.sock?db=2")
    assert settings.broker == "redis+socket:///run/r.sock?virtual_host=2"


def test_repr_shows_no_password() -> None:
    assert "secret" not in repr(QueueSettings.from_env({}, redis_url="redis://:secret@host/0"))


class TestSecretFiles:
    """Variables may be files of a folder, as Docker and Kubernetes hand secrets out."""

    @pytest.fixture
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("ONELANE_SECRETS_DIR", str(tmp_path))
        for variable in ("ONELANE_REDIS_URL", "ONELANE_INTERCOM_TOKEN"):
            monkeypatch.delenv(variable, raising=False)
        return tmp_path

    @pytest.mark.parametrize("name", ["ONELANE_REDIS_URL", "onelane_redis_url"])
    def test_services_and_workers_read_them(self, folder: Path, name: str) -> None:
        (folder / name).write_text("redis://:pw@secret-host/0\n")
        (folder / "onelane_intercom_token").write_text("dG9rZW4=\n")
        assert QueueSettings.from_env().redis_url == "redis://:pw@secret-host/0"
        settings = Settings()
        assert settings.redis_url == "redis://:pw@secret-host/0"
        assert settings.intercom_token.get_secret_value() == "dG9rZW4="

    def test_the_environment_goes_before_a_file(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (folder / "ONELANE_REDIS_URL").write_text("redis://of-the-file/0")
        monkeypatch.setenv("ONELANE_REDIS_URL", "redis://of-the-environment/0")
        assert QueueSettings.from_env().redis_url == Settings().redis_url == "redis://of-the-environment/0"
        assert QueueSettings.from_env(redis_url="redis://given/0").redis_url == "redis://given/0"

    def test_an_empty_variable_and_an_empty_file_set_nothing(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (folder / "ONELANE_REDIS_URL").write_text("redis://of-the-file/0")
        (folder / "ONELANE_BROKER_URL").write_text("\n")
        monkeypatch.setenv("ONELANE_REDIS_URL", "")
        assert QueueSettings.from_env().redis_url == Settings().redis_url == "redis://of-the-file/0"
        assert QueueSettings.from_env().broker_url is Settings().broker_url is None

    def test_a_value_that_cannot_be_used_is_named_by_its_variable_and_not_shown(self, folder: Path) -> None:
        (folder / "ONELANE_REDIS_URL").write_text("hunter2")
        with pytest.raises(BadSetting, match="ONELANE_REDIS_URL") as refused:
            QueueSettings.from_env()
        with pytest.raises(ValidationError) as refused_by_worker:
            Settings()
        assert "hunter2" not in f"{refused.value} {complaints(refused_by_worker.value)}"

    def test_a_folder_that_is_none_and_a_file_that_is_no_text_are_named(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (folder / "ONELANE_REDIS_URL").write_bytes(b"\xff\xfe")
        for read in (QueueSettings.from_env, Settings):
            with pytest.raises(BadSetting, match="ONELANE_REDIS_URL: its file of secrets holds no text"):
                read()
        monkeypatch.setenv("ONELANE_SECRETS_DIR", str(folder / "nowhere"))
        for read in (QueueSettings.from_env, Settings):
            with pytest.raises(BadSetting, match="ONELANE_SECRETS_DIR: is not the name of a folder"):
                read()
