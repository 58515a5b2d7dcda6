"""`onelane doctor`: what it shows, and how it ends."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest
from redis import Redis

from onelane.keys import Keys
from onelane_sandbox.client import SandboxControl
from onelane_worker.operate import health
from onelane_worker.operate.finding import Finding

from .helpers import Hand, Onelane

EMAIL = "ann@example.test"
REFUSED = {"class": "refused", "http_status": 400}
KEYS = Keys()


@pytest.fixture
def at_work(
    onelane: Onelane, onelane_sandbox: SandboxControl, hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> Onelane:
    """Everything is well: a Redis that keeps what it has, a workspace, a worker that answers."""
    monkeypatch.setenv("ONELANE_INTERCOM_URL", onelane_sandbox.url)
    monkeypatch.setenv("ONELANE_INTERCOM_TOKEN", onelane_sandbox.token)
    hand.alive("celery@here")
    monkeypatch.setattr(health, "persistence", lambda *_: Finding("persistence", "ok", "kept"))
    return onelane


def checks(onelane: Onelane) -> dict[str, dict[str, str]]:
    return {check["name"]: check for check in onelane("doctor", "--json").json["checks"]}


def test_all_is_well(at_work: Onelane) -> None:
    ended = at_work("doctor")

    assert (ended.code, "BAD" in ended.out) == (0, False), ended.out
    assert ended.out.endswith("\nFit to serve.\n")
    told = at_work("doctor", "--json").json
    assert (told["healthy"], told["worst"]) == (True, "ok")
    assert "1: celery on here" in ended.out
    names = [check["name"] for check in told["checks"]]
    assert names == [
        "redis", "persistence", "memory", "clock", "failover", "breaker", "lanes", "backlog", "dead letters",
        "workers", "wake-ups", "broker", "token", "region", "version", "workspace",
    ]  # fmt: skip


def test_what_needs_a_person_is_said_with_what_to_do(at_work: Onelane, hand: Hand) -> None:
    at_work("enqueue", "lead-capture", "--email", EMAIL)
    hand.bury(EMAIL, REFUSED)
    at_work("enqueue", "lead-capture", "--email", EMAIL)
    hand.postpone(EMAIL, "retrying", REFUSED)
    hand.late(EMAIL, 120_000)

    found = checks(at_work)

    ended = at_work("doctor")
    assert (ended.code, ended.out.splitlines()[-1]) == (1, "Not fit to serve: 1 bad, 1 warning.")
    assert found["dead letters"] == {
        "name": "dead letters",
        "level": "warn",
        "says": "1 to be looked at",
        "todo": "`onelane dead list` shows them; replay or discard them.",
    }
    assert found["lanes"]["level"] == "bad"
    assert found["lanes"]["says"].startswith("1 stranded")


def test_dead_letters_that_are_kept_for_ever_are_told_of(
    at_work: Onelane, hand: Hand, valkey: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_work("enqueue", "lead-capture", "--email", EMAIL)
    hand.bury(EMAIL, REFUSED)
    [letter] = valkey.zrange(KEYS.key("dead"), 0, 0)
    valkey.zincrby(KEYS.key("dead"), -40 * 86_400_000, letter)

    old = checks(at_work)["dead letters"]
    assert old["says"] == "1 to be looked at, the oldest for 40 days"
    assert "ONELANE_DEAD_LETTER_TTL_S" in old["todo"]
    monkeypatch.setenv("ONELANE_DEAD_LETTER_TTL_S", "8640000")
    assert "ONELANE_DEAD_LETTER_TTL_S" not in checks(at_work)["dead letters"]["todo"]


def test_a_pause_is_no_fault_and_strands_nobody(at_work: Onelane, hand: Hand) -> None:
    at_work("enqueue", "lead-capture", "--email", EMAIL)
    hand.postpone(EMAIL, "parked", {"class": "server_error"})
    hand.late(EMAIL, 120_000)
    at_work("pause", "--reason", "a test")

    found = checks(at_work)

    assert at_work("doctor").code == 0
    assert found["breaker"]["level"] == "warn"
    assert found["breaker"]["says"].startswith("paused since ")
    assert found["breaker"]["says"].endswith(": a test")
    assert found["lanes"]["level"] == "ok"


def test_a_redis_that_is_away(anywhere: Onelane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONELANE_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("ONELANE_ENQUEUE_TIMEOUT_S", "0.2")

    ended = anywhere("doctor", "--json")

    assert (ended.code, ended.json["healthy"], ended.json["worst"]) == (4, False, "bad")
    assert [(one["name"], one["level"]) for one in ended.json["checks"]] == [
        ("redis", "bad"),
        ("token", "bad"),
    ]
    shown = anywhere("doctor")
    assert (shown.code, shown.out.splitlines()[-1]) == (4, "Not fit to serve: 2 bad.")
    assert "onelane: Redis did not answer\n  Is the server of ONELANE_REDIS_URL running?" in shown.err


def test_without_a_worker_or_a_token_it_is_unhealthy(onelane: Onelane) -> None:
    found = checks(onelane)

    assert onelane("doctor").code == 1
    assert found["workers"]["says"] == "none is alive"
    assert found["token"]["says"] == "refused by api.intercom.io: no_token"
    assert found["persistence"]["says"].startswith("none: a restart of Redis loses every accepted intent")


def test_a_broker_that_is_away(onelane: Onelane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONELANE_BROKER_URL", "redis://127.0.0.1:1/0")

    ended = onelane("doctor", "--json")

    assert (ended.code, ended.json["healthy"]) == (4, False)
    assert "the broker is unreachable" in ended.err
    found = {one["name"]: one for one in ended.json["checks"]}
    assert "Connection refused" in found["broker"]["says"]


def test_the_length_of_the_queue_is_told(onelane: Onelane) -> None:
    onelane("enqueue", "lead-capture", "--email", EMAIL)
    found = checks(onelane)
    assert found["broker"]["says"] == "1 wake-up in its queue"
    assert found["wake-ups"]["says"] == "1 of at most 64 under way"


def test_a_refused_token(at_work: Onelane, onelane_sandbox: SandboxControl) -> None:
    onelane_sandbox.fault("unauthorized")
    found = checks(at_work)
    assert found["token"]["level"] == "bad"
    assert "refused by 127.0.0.1" in found["token"]["says"]
    assert "region" not in found


def test_a_redis_that_evicts(onelane: Onelane, valkey: Redis) -> None:
    valkey.config_set("maxmemory-policy", "allkeys-lru")
    try:
        found = checks(onelane)["redis"]
    finally:
        valkey.config_set("maxmemory-policy", "noeviction")
    assert found["level"] == "bad"
    assert "maxmemory-policy" in found["says"]


def test_no_address_in_what_it_prints(onelane: Onelane) -> None:
    onelane("pause", "--reason", EMAIL)
    assert EMAIL not in json.dumps(onelane("doctor", "--json").json) + onelane("doctor").out


# ── the probe of a container ──────────────────────────────────────────────────────────────────────────────


def test_the_probe_looks_for_a_worker_of_this_host_only(onelane: Onelane, hand: Hand) -> None:
    host = socket.gethostname()
    hand.alive("onelane-1@elsewhere", "e1")
    ended = onelane("doctor", "--local", "--json")
    assert (ended.code, ended.json["checks"][1]["says"]) == (1, f"none is alive on {host}")

    hand.alive(f"onelane-1@{host}", "e2")
    ended = onelane("doctor", "--local", "--json")
    assert (ended.code, ended.json["worst"]) == (0, "ok")
    assert [one["says"] for one in ended.json["checks"]] == ["answers", f"1: onelane-1 on {host}"]


def test_the_probe_tells_at_once_when_redis_is_away(
    anywhere: Onelane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ONELANE_REDIS_URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("ONELANE_ENQUEUE_TIMEOUT_S", "3600")
    assert anywhere("doctor", "--local").code == 4


def test_the_probe_imports_neither_celery_nor_a_http_client(valkey: Redis, valkey_url: str) -> None:
    """A probe has a second, and starts anew each time."""
    code = (
        "import sys\n"
        "from typer.testing import CliRunner\n"
        "from onelane_worker.cli.main import app\n"
        "assert CliRunner().invoke(app, ['doctor', '--local']).exit_code == 1\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    )
    env = os.environ | {"ONELANE_REDIS_URL": valkey_url}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert not {"celery", "httpx", "structlog"} & set(done.stdout.split())


def test_doctor_leaves_nothing_behind(at_work: Onelane, valkey: Redis) -> None:
    """Killed at any moment, too: it asks no worker, so it needs no queue for answers."""
    before = set(valkey.keys())
    at_work("doctor")
    assert set(valkey.keys()) - before == set()


def test_doctor_tells_that_the_token_is_of_another_workspace(at_work: Onelane, valkey: Redis) -> None:
    assert checks(at_work)["workspace"]["says"] == (
        "Sandbox (sandbox-0); the first worker notes it for this queue"
    )
    valkey.hset(KEYS.key("meta"), mapping={"intercom_id": "xyz789", "intercom_name": "ACME"})
    ended = at_work("doctor")
    assert ended.code == 1
    found = checks(at_work)["workspace"]
    assert (found["level"], found["says"]) == (
        "bad",
        "this queue belongs to the workspace ACME (xyz789), the token to Sandbox (sandbox-0)",
    )
    assert "`onelane workspace move`" in found["todo"]
