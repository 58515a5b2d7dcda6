"""`onelane worker` and `onelane sandbox`: refusals before the start, and the start itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
from redis import Redis

from onelane_sandbox.client import SandboxControl

from .helpers import Onelane


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that would have taken this process's place."""
    commands: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda path, command: commands.append(command))
    monkeypatch.setenv("ONELANE_INTERCOM_TOKEN", "secret")
    return commands


def test_a_fit_worker_becomes_celery(onelane: Onelane, started: list[list[str]]) -> None:
    ended = onelane("worker", "--concurrency", "3", "--loglevel", "WARNING")

    assert (ended.code, ended.err) == (0, "")
    [command] = started
    assert command[:6] == [sys.executable, "-m", "celery", "-A", "onelane_worker.app", "worker"]
    assert command[6:8] == ["--pool", "threads"]
    assert command[command.index("--concurrency") + 1] == "3"
    assert command[command.index("--hostname") + 1] == f"onelane-{os.getpid()}@%h"
    assert "--task-events" in command


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
    onelane: Onelane,
    started: list[list[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(variable, value)

    ended = onelane("worker")

    assert ended.code == 2
    assert complaint in ended.err
    assert started == []


def test_a_redis_that_may_forget_is_refused(
    onelane: Onelane, started: list[list[str]], valkey: Redis
) -> None:
    valkey.config_set("maxmemory-policy", "allkeys-lru")
    try:
        ended = onelane("worker")
    finally:
        valkey.config_set("maxmemory-policy", "noeviction")

    assert (ended.code, started) == (1, [])
    assert "set it to noeviction" in ended.err


def test_an_unreachable_redis(
    anywhere: Onelane, started: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONELANE_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("ONELANE_REDIS_WAIT_S", "0")

    ended = anywhere("worker")

    assert (ended.code, started) == (4, [])
    assert "Redis was not reachable" in ended.err


def test_an_unknown_log_level(onelane: Onelane, started: list[list[str]]) -> None:
    assert onelane("worker", "--loglevel", "loud").code == 2
    assert started == []


def test_the_sandbox_serves_until_it_is_asked_to_stop(bare_env: None) -> None:
    command = [sys.executable, "-W", "error", "-m", "onelane_worker", "sandbox", "--port", "0", "--json"]
    options = ["--index-lag", "7", "--token", "secret", "--seed", "3"]
    options += ["--attribute", "plan", "--attribute", "seats:integer"]
    ann = {"email": "a@x.test", "custom_attributes": {"plan": "pro", "seats": 12}}
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
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
    assert process.returncode == 0


@pytest.mark.parametrize("lag", ["-1", "soon", "5-2", "1-", "inf"])
def test_a_lag_that_is_none(lag: str, anywhere: Onelane) -> None:
    for command in ("sandbox", "up"):
        ended = anywhere(command, f"--index-lag={lag}")
        assert ended.code == 2
        assert "must be seconds, or MIN-MAX" in ended.err


@pytest.mark.parametrize("attribute", ["", "a.b", "plan:colour", "plan:options"])
def test_an_attribute_that_is_none(attribute: str, anywhere: Onelane) -> None:
    for command in ("sandbox", "up"):
        ended = anywhere(command, f"--attribute={attribute}")
        assert ended.code == 2
        assert "--attribute" in ended.err


def test_up_makes_no_attribute_in_a_workspace_of_intercom(
    anywhere: Onelane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONELANE_INTERCOM_TOKEN", "a workspace's")
    ended = anywhere("up", "--attribute", "plan")
    assert ended.code == 2
    assert "--attribute is for the sandbox" in ended.err
