"""What `onelane worker`, `sandbox` and `up` refuse before anything is started, and the sandbox itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker
from typer.testing import CliRunner, Result

from onelane_sandbox.client import SandboxControl
from onelane_worker import celery_app
from onelane_worker.cli import worker
from onelane_worker.cli.main import app

Command = Callable[..., Result]


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Command:
    """`onelane` in this process, with nothing set."""
    for name in [name for name in os.environ if name.startswith("ONELANE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "120")
    return lambda *args: CliRunner().invoke(app, list(args))


@pytest.fixture
def started(command: Command, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int | None, str, str | None]]:
    """The workers that this process would have become: concurrency, log level, name."""
    workers: list[tuple[int | None, str, str | None]] = []

    def serve(*options: Any) -> int:
        workers.append(options)
        return 0

    monkeypatch.setattr(worker, "_serve", serve)
    monkeypatch.setenv("ONELANE_INTERCOM_TOKEN", "secret")
    return workers


def test_options_reach_the_worker(command: Command, started: list[Any]) -> None:
    ended = command("worker", "--concurrency", "3", "--loglevel", "WARNING", "--name", "w1@%h")
    assert (ended.exit_code, ended.stderr) == (0, "")
    assert command("worker").exit_code == 0
    assert started == [(3, "warning", "w1@%h"), (None, "info", None)]


@pytest.mark.usefixtures("logging_stays")
def test_a_host_applications_own_celery_worker_is_left_alone(valkey_url: str) -> None:
    host = Celery("host", broker=valkey_url, set_as_current=False)
    with start_worker(host, pool="solo", concurrency=3, perform_ping_check=False, loglevel="error") as worker:
        assert worker.concurrency == 3
        assert celery_app.TASK not in host.tasks
    host.close()


def test_a_name_is_the_same_after_a_restart_and_never_that_of_two_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a label of metrics: a process id in it would make a new series by every restart."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    code = "from onelane_worker.celery_app import free_name; print(free_name(), flush=True); input()"

    def names(count: int) -> list[str]:
        with ExitStack() as stack:
            running = []
            for _ in range(count):
                process = subprocess.Popen(
                    [sys.executable, "-c", code], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
                )
                running.append(stack.enter_context(process))
                stack.callback(process.kill)
            return sorted(one.stdout.readline().strip() for one in running if one.stdout)

    assert names(3) == names(3) == ["onelane-1", "onelane-2", "onelane-3"]


def test_where_no_lock_can_be_kept_a_worker_still_has_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    assert celery_app.free_name() == "onelane"


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("ONELANE_LEASE_S", "-1", "ONELANE_LEASE_S: input should be greater than"),
        ("ONELANE_REVIVE", "maybe", "ONELANE_REVIVE: input should be 'people', 'always' or 'never'"),
        ("ONELANE_REGISTRY_TTL_S", "10", "ONELANE_REGISTRY_TTL_S (10) must be at least"),
        ("ONELANE_REDIS_URL", "nonsense", "ONELANE_REDIS_URL: "),
        ("ONELANE_INTERCOM_TOKEN", "", "ONELANE_INTERCOM_TOKEN is not set"),
    ],
)
def test_settings_that_cannot_be_used(
    variable: str,
    value: str,
    complaint: str,
    command: Command,
    started: list[Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(variable, value)

    ended = command("worker")

    assert ended.exit_code == 2
    assert complaint in ended.stderr
    assert started == []


def test_an_unknown_log_level(command: Command, started: list[Any]) -> None:
    assert command("worker", "--loglevel", "loud").exit_code == 2
    assert started == []


def test_the_sandbox_serves_until_it_is_asked_to_stop(command: Command) -> None:
    sandbox_command = [
        sys.executable,
        "-W",
        "error",
        "-m",
        "onelane_worker",
        "sandbox",
        "--port",
        "0",
        "--json",
    ]
    options = ["--index-lag", "7", "--token", "secret", "--seed", "3"]
    options += ["--attribute", "plan", "--attribute", "seats:integer"]
    ann = {"email": "a@x.test", "custom_attributes": {"plan": "pro", "seats": 12}}
    with subprocess.Popen(
        [*sandbox_command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            told = json.loads(process.stdout.readline())
            assert told["index_lag_s"] == 7
            assert SandboxControl(told["url"], "other").call("GET", "/me")[0] == 401
            sandbox = SandboxControl(told["url"], "secret")
            assert sandbox.call("POST", "/contacts", ann)[0] == 200
            sandbox.reset()
            assert sandbox.call("POST", "/contacts", ann)[0] == 200  # attributes as at the start
            process.send_signal(signal.SIGTERM)
            assert process.communicate(timeout=20) == (b"", b"")
        finally:
            process.kill()  # a test that failed must not wait for it
    assert process.returncode == 0


@pytest.mark.parametrize("lag", ["-1", "soon", "5-2", "1-", "inf"])
def test_a_lag_that_is_none(lag: str, command: Command) -> None:
    for name in ("sandbox", "up"):
        ended = command(name, f"--index-lag={lag}")
        assert ended.exit_code == 2
        assert "must be seconds, or MIN-MAX" in ended.stderr


@pytest.mark.parametrize("attribute", ["", "a.b", "plan:colour", "plan:options"])
def test_an_attribute_that_is_none(attribute: str, command: Command) -> None:
    for name in ("sandbox", "up"):
        ended = command(name, f"--attribute={attribute}")
        assert ended.exit_code == 2
        assert "--attribute" in ended.stderr


def test_up_makes_no_attribute_in_a_workspace_of_intercom(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONELANE_INTERCOM_TOKEN", "a workspace's")
    ended = command("up", "--attribute", "plan")
    assert ended.exit_code == 2
    assert "--attribute is for the sandbox" in ended.stderr
