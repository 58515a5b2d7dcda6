"""`onelane doctor`: what it finds, and how it ends."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from typing import Any

import pytest
from onelane.identity import lane_id
from onelane_worker.breaker import Gate
from onelane_worker.doctor import BrokerView
from onelane_worker.finding import Finding, of_workers
from onelane_worker.presence import Presence
from redis import Redis

from onelane import keyspace
from onelane.settings import QueueSettings
from onelane_sandbox.client import SandboxControl
from onelane_worker import doctor
from onelane_worker.lanes.survey import Survey
from onelane_worker.planner import operations as op
from onelane_worker.settings import Settings

from .helpers import Hand, Onelane

EMAIL = "ann@example.test"
LANE = lane_id(EMAIL)
REFUSED = {"class": "refused", "http_status": 400}


@pytest.fixture
def at_work(
    onelane: Onelane, onelane_sandbox: SandboxControl, valkey: Redis, monkeypatch: pytest.MonkeyPatch
) -> Onelane:
    """Everything is well: a Redis that keeps what it has, a workspace, a worker that answers."""
    monkeypatch.setenv("ONELANE_INTERCOM_URL", onelane_sandbox.url)
    monkeypatch.setenv("ONELANE_INTERCOM_TOKEN", onelane_sandbox.token)
    worker = Presence(valkey)
    worker.name = "celery@here"
    worker.tell()
    monkeypatch.setattr(doctor, "_persistence", lambda *_: Finding("persistence", "ok", "kept"))
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
        "redis", "persistence", "memory", "clock", "epoch", "line", "lanes", "backlog", "dead letters",
        "workers", "broker", "token", "region", "version", "workspace",
    ]  # fmt: skip


def test_what_needs_a_person_is_said_with_what_to_do(at_work: Onelane, hand: Hand, valkey: Redis) -> None:
    at_work("enqueue", "lead-capture", "--email", EMAIL)
    hand.bury(LANE, REFUSED)
    at_work("enqueue", "lead-capture", "--email", EMAIL)
    hand.postpone(LANE, "retrying", REFUSED, delay_ms=0)
    valkey.zincrby(keyspace.due(keyspace.partition_of(LANE)), -60_000, LANE)

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
    hand.bury(LANE, REFUSED)
    dead = keyspace.dead(keyspace.partition_of(LANE))
    valkey.zincrby(dead, -40 * 86_400_000, valkey.zrange(dead, 0, 0)[0])

    old = checks(at_work)["dead letters"]
    assert old["says"] == "1 to be looked at, the oldest for 40 days"
    assert "ONELANE_DEAD_LETTER_TTL_S" in old["todo"]
    monkeypatch.setenv("ONELANE_DEAD_LETTER_TTL_S", "8640000")
    assert "ONELANE_DEAD_LETTER_TTL_S" not in checks(at_work)["dead letters"]["todo"]


def test_a_pause_is_no_fault_and_strands_nobody(at_work: Onelane, hand: Hand, valkey: Redis) -> None:
    at_work("enqueue", "lead-capture", "--email", EMAIL)
    hand.postpone(LANE, "parked", {"class": "paused"}, delay_ms=0)
    valkey.zincrby(keyspace.due(keyspace.partition_of(LANE)), -60_000, LANE)
    at_work("pause", "--reason", "a test")

    found = checks(at_work)

    assert at_work("doctor").code == 0
    assert found["line"]["level"] == "warn"
    assert found["line"]["says"].startswith("paused since ")
    assert found["line"]["says"].endswith(": a test")
    assert found["lanes"]["level"] == "ok"


def test_a_redis_that_is_away(anywhere: Onelane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONELANE_REDIS_URL", "redis://127.0.0.1:1/0")

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


def test_queue_lengths_are_told(at_work: Onelane) -> None:
    at_work("enqueue", "lead-capture", "--email", EMAIL)
    assert checks(at_work)["broker"]["says"] == "turns waiting: 1 in onelane.interactive, 0 in onelane.bulk"


def test_a_refused_token(at_work: Onelane, onelane_sandbox: SandboxControl) -> None:
    onelane_sandbox.fault("unauthorized")
    found = checks(at_work)
    assert found["token"]["level"] == "bad"
    assert "refused by 127.0.0.1" in found["token"]["says"]
    assert "region" not in found


# ── the answers one by one ────────────────────────────────────────────────────────────────────────────────

SETTINGS = Settings()
PROBLEM = op.Problem("unauthorized", 401, "token_revoked")


class Server:
    """A Redis of which only its settings and INFO are known."""

    def __init__(self, closed: bool = False, **config: str) -> None:
        self.config = config
        self.closed = closed

    def config_get(self, name: str) -> dict[str, str]:
        if self.closed:
            raise doctor.ResponseError("unknown command")
        return {name: self.config[name]} if name in self.config else {}


@pytest.mark.parametrize(
    ("info", "server", "level", "words"),
    [
        ({"aof_enabled": 1}, Server(appendfsync="always"), "ok", "survives a power failure"),
        ({"aof_enabled": 1}, Server(appendfsync="everysec"), "ok", "can lose the last second"),
        ({"aof_enabled": 1}, Server(appendfsync="no"), "warn", "half a minute"),
        ({"aof_enabled": 1}, Server(closed=True), "warn", "can lose a moment"),
        ({}, Server(save="3600 1"), "warn", "snapshots only"),
        ({"connected_slaves": 2}, Server(), "warn", "2 replica(s)"),
        ({}, Server(), "bad", "loses every accepted intent"),
        ({"aof_enabled": 1, "aof_last_write_status": "err"}, Server(), "bad", "could not write to its disk"),
    ],
)
def test_persistence(info: dict[str, Any], server: Any, level: str, words: str) -> None:
    found = doctor._persistence(server, info, SETTINGS)
    assert (found.level, words in found.says) == (level, True), found


def test_a_promise_of_durability_that_is_not_kept() -> None:
    settings = Settings(redis_durable=True)
    server: Any = Server(appendfsync="everysec")
    assert doctor._persistence(server, {"aof_enabled": 1}, settings).level == "bad"


@pytest.mark.parametrize(("used", "level"), [(10, "ok"), (85, "warn"), (100, "bad")])
def test_memory(used: int, level: str) -> None:
    [found] = doctor._memory({"maxmemory": 100, "used_memory": used})
    assert found.level == level


@pytest.mark.parametrize(("skew_s", "words"), [(3.0, "3.0 s behind"), (-5.0, "5.0 s ahead of")])
def test_a_clock_that_is_wrong(skew_s: float, words: str) -> None:
    found = doctor._clock(skew_s)
    assert (found.level, words in found.says) == ("warn", True)
    assert doctor._clock(0.1).level == "ok"


def test_a_new_epoch_is_told_while_it_matters(valkey: Redis) -> None:
    now_ms = 1_000_000_000
    for since_ms, level in ((0, "ok"), (now_ms - 60_000, "warn"), (now_ms - 700_000, "ok")):
        valkey.hset(keyspace.EPOCH, "since", since_ms)
        assert doctor._epoch(valkey, SETTINGS, now_ms).level == level


def test_a_redis_that_evicts(at_work: Onelane, valkey: Redis) -> None:
    valkey.config_set("maxmemory-policy", "allkeys-lru")
    try:
        found = checks(at_work)["redis"]
    finally:
        valkey.config_set("maxmemory-policy", "noeviction")
    assert found["level"] == "bad"
    assert "maxmemory-policy" in found["says"]


@pytest.mark.parametrize(
    ("reply", "name", "level", "words"),
    [
        (op.Stopped(PROBLEM), "token", "bad", "unauthorized 401 token_revoked"),
        (op.Forbidden(PROBLEM), "token", "bad", "refused by"),
        (op.Stopped(op.Problem("unsupported", 400)), "version", "bad", "refuses Intercom-Version 2.15"),
        (op.Throttled(1.0, PROBLEM), "token", "warn", "slow down"),
        (op.NotSent(op.Problem("network")), "token", "bad", "does not answer: network"),
        (op.Unknown(op.Problem("timeout")), "token", "bad", "does not answer: timeout"),
    ],
)
def test_what_intercom_says(reply: op.Reply, name: str, level: str, words: str) -> None:
    [found] = doctor.of_intercom(reply, SETTINGS)
    assert (found.name, found.level, words in found.says) == (name, level, True), found


@pytest.mark.parametrize(
    ("region", "url", "level"),
    [
        ("US", "https://api.intercom.io", "ok: US"),
        ("EU", "https://api.intercom.io", "warn: the workspace is in EU, but we ask api.intercom.io"),
        ("EU", "https://api.eu.intercom.io", "ok: EU"),
        ("EU", "http://127.0.0.1:8089", "ok: – (127.0.0.1:8089 is no host of Intercom's own)"),
        ("US", "https://proxy.example.test", "ok: – (proxy.example.test is no host of Intercom's own)"),
        (None, "https://api.intercom.io", "ok: not told"),
    ],
)
def test_the_region(region: str | None, url: str, level: str) -> None:
    found = {one.name: one for one in doctor.of_intercom(op.Done(region=region), Settings(intercom_url=url))}
    assert f"{found['region'].level}: {found['region'].says}" == level


def test_a_queue_that_fills_up() -> None:
    limits = QueueSettings(pending_max=1600)
    for fullest, level in ((10, "ok"), (90, "warn"), (100, "bad")):
        survey = Survey(0, (), fullest, fullest, True)
        assert {one.name: one.level for one in doctor.of_lanes(survey, limits)}["backlog"] == level


@pytest.mark.parametrize(
    ("word", "level"), [("closed", "ok"), ("streak", "warn"), ("open", "bad"), ("trial", "bad")]
)
def test_the_line(word: Any, level: str) -> None:
    assert doctor.of_line(Gate(word), "words").level == level


def test_a_busy_broker_and_nobody_at_work() -> None:
    assert [one.level for one in doctor.of_broker(BrokerView({"q": 3}))] == ["ok"]
    assert of_workers([]).level == "bad"
    assert [one.level for one in doctor.of_broker(BrokerView({}, problem="Timeout"))] == ["bad"]


def test_no_address_in_what_it_prints(at_work: Onelane) -> None:
    at_work("pause", "--reason", EMAIL)
    assert EMAIL not in json.dumps(at_work("doctor", "--json").json) + at_work("doctor").out


# ── the probe of a container ──────────────────────────────────────────────────────────────────────────────


def worker_on(valkey: Redis, host: str) -> None:
    worker = Presence(valkey)
    worker.name = f"onelane-1@{host}"
    worker.tell()


def test_the_probe_looks_for_a_worker_of_this_host_only(onelane: Onelane, valkey: Redis) -> None:
    host = socket.gethostname()
    worker_on(valkey, "elsewhere")
    ended = onelane("doctor", "--local", "--json")
    assert (ended.code, ended.json["checks"][1]["says"]) == (1, f"none is alive on {host}")

    worker_on(valkey, host)
    ended = onelane("doctor", "--local", "--json")
    assert (ended.code, ended.json["worst"]) == (0, "ok")
    assert [one["says"] for one in ended.json["checks"]] == ["answers", f"1: onelane-1 on {host}"]


def test_the_probe_tells_when_redis_is_away(anywhere: Onelane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONELANE_REDIS_URL", "redis://127.0.0.1:1/0")
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
    assert not {"celery", "httpx", "structlog", "limits"} & set(done.stdout.split())


def test_doctor_leaves_nothing_behind(at_work: Onelane, valkey: Redis) -> None:
    """Killed at any moment, too: it asks no worker, so it needs no queue for answers."""
    before = set(valkey.keys())
    at_work("doctor")
    assert set(valkey.keys()) - before == set()


def test_doctor_tells_that_the_token_is_of_another_workspace(at_work: Onelane, valkey: Redis) -> None:
    assert checks(at_work)["workspace"]["says"] == (
        "Sandbox (sandbox-0); the first worker notes it for this queue"
    )
    valkey.hset(keyspace.WORKSPACE, mapping={"id": "xyz789", "name": "ACME"})
    ended = at_work("doctor")
    assert ended.code == 1
    found = checks(at_work)["workspace"]
    assert (found["level"], found["says"]) == (
        "bad",
        "this queue belongs to the workspace ACME (xyz789), the token to Sandbox (sandbox-0)",
    )
    assert "`onelane workspace move`" in found["todo"]


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("http://sandbox:8089", True),
        ("http://10.0.0.7:8089", True),
        ("http://api.intercom.io", True),
        ("http://localhost:8089", False),
        ("http://127.0.0.1:8089", False),
        ("http://[::1]:8089", False),
        ("https://api.intercom.io", False),
    ],
)
def test_a_token_that_goes_over_the_network_in_the_clear_is_warned_of(url: str, warned: bool) -> None:
    findings = list(doctor.of_way(Settings(intercom_url=url)))
    assert [(one.name, one.level) for one in findings] == ([("transport", "warn")] if warned else [])
