"""What `onelane doctor` finds, question by question."""

from __future__ import annotations

from typing import Any

import pytest

from onelane_worker.lanes.types import BreakerView
from onelane_worker.operate import health, intercom_health
from onelane_worker.operate.finding import of_workers
from onelane_worker.operate.health import BrokerView
from onelane_worker.operate.lane_view import Standing
from onelane_worker.operate.pause import Service
from onelane_worker.operate.survey import StandingLane, Survey
from onelane_worker.planner import operations as op
from onelane_worker.settings import Settings

SETTINGS = Settings()
PROBLEM = op.Problem("unauthorized", 401, "token_revoked")
NOW_MS = 1_000_000_000


def service(**more: Any) -> Service:
    breaker = BreakerView(more.pop("state", "closed"))
    told: dict[str, Any] = {"hold_until_ms": None, "epoch_ms": None, **more}
    return Service(breaker, BreakerView("closed"), now_ms=NOW_MS, **told)


def survey(pending: int = 0, **more: Any) -> Survey:
    told: dict[str, Any] = {"lanes": (), "ready": 0, "due": 0, "whole": True, "wakes": 0, "backstops": 0}
    return Survey(NOW_MS, pending=pending, **{**told, **more})


# ── Redis ─────────────────────────────────────────────────────────────────────────────────────────────────

AOF = {"aof_enabled": 1}


@pytest.mark.parametrize(
    ("info", "configured", "level", "words"),
    [
        (AOF, {"appendfsync": "always"}, "ok", "a power failure loses nothing"),
        (AOF | {"connected_slaves": 1}, {"appendfsync": "always"}, "ok", "but a failover can lose the last"),
        (AOF, {"appendfsync": "everysec"}, "ok", "loses the last second"),
        (AOF, {"appendfsync": "no"}, "warn", "half a minute"),
        (AOF, {}, "warn", "loses a moment"),
        ({}, {"save": "3600 1"}, "warn", "snapshots only"),
        ({"connected_slaves": 2}, {}, "warn", "2 replica(s)"),
        ({}, {}, "bad", "loses every accepted intent"),
        (AOF | {"aof_last_write_status": "err"}, {}, "bad", "could not write to its disk"),
    ],
)
def test_persistence(info: dict[str, Any], configured: dict[str, str], level: str, words: str) -> None:
    found = health.persistence(info, configured, SETTINGS)
    assert (found.level, words in found.says) == (level, True), found


@pytest.mark.parametrize(
    ("info", "policy", "level"),
    [
        (AOF, "everysec", "bad"),
        (AOF, "always", "ok"),
        (AOF | {"connected_slaves": 1}, "always", "bad"),  # a failover can lose what was acknowledged
    ],
)
def test_a_promise_of_durability_is_compared_with_the_server(
    info: dict[str, Any], policy: str, level: str
) -> None:
    settings = Settings(redis_durable=True)
    assert health.persistence(info, {"appendfsync": policy}, settings).level == level


def test_a_primary_with_replicas_must_refuse_writes_without_them() -> None:
    assert list(health.replicas({"connected_slaves": 0}, {})) == []
    [found] = health.replicas({"connected_slaves": 1}, {"min-replicas-to-write": "0"})
    assert (found.level, "min-replicas-to-write 1" in found.todo) == ("warn", True)
    [found] = health.replicas({"connected_slaves": 1}, {"min-replicas-to-write": "1"})
    assert found.level == "ok"


@pytest.mark.parametrize(("used", "level"), [(10, "ok"), (85, "warn"), (100, "bad")])
def test_memory(used: int, level: str) -> None:
    assert health.memory({"maxmemory": 100, "used_memory": used}).level == level
    assert health.memory({"used_memory": used}).level == "ok"


@pytest.mark.parametrize(("skew_s", "words"), [(3.0, "3.0 s behind"), (-5.0, "5.0 s ahead of")])
def test_a_clock_that_is_wrong(skew_s: float, words: str) -> None:
    found = health.clock_skew(skew_s)
    assert (found.level, words in found.says) == ("warn", True)
    assert health.clock_skew(0.1).level == "ok"


# ── broker, breaker, lanes ────────────────────────────────────────────────────────────────────────────────


def test_a_failover_is_told_while_it_matters_and_its_hold_with_the_end() -> None:
    for epoch_ms, level in ((None, "ok"), (NOW_MS - 60_000, "warn"), (NOW_MS - 700_000, "ok")):
        assert health.of_failover(service(epoch_ms=epoch_ms), SETTINGS).level == level
    held = service(epoch_ms=NOW_MS - 10_000, hold_until_ms=NOW_MS + 21_000)
    found = health.of_failover(held, SETTINGS)
    assert "nothing is served for 21 s more" in found.says
    assert "`onelane resume --now`" in found.todo


@pytest.mark.parametrize(
    ("state", "level"),
    [("closed", "ok"), ("streak", "warn"), ("half", "warn"), ("open", "bad"), ("paused", "warn")],
)
def test_the_circuit_breaker(state: str, level: str) -> None:
    found = health.of_breaker(service(state=state), "words", "")
    assert found.level == level
    assert bool(found.todo) == (state in ("half", "open", "paused"))
    assert health.of_breaker(service(state="open"), "words", "grant it").todo == "grant it"


def test_a_queue_that_fills_up() -> None:
    for pending, level in ((160, "ok"), (1_440, "warn"), (1_600, "bad")):
        [_, backlog] = health.of_lanes(survey(pending), 1_600)
        assert (backlog.name, backlog.level) == ("backlog", level)


def test_stranded_lanes_and_a_backstop_that_was_needed() -> None:
    lane = StandingLane("a", Standing("stranded", 1), 1, "i", 1, 0, False, None, None)
    stranded, blocked, _ = health.of_lanes(survey(1, lanes=(lane,), backstops=2), 1_000)
    assert (stranded.level, stranded.says[:10]) == ("bad", "1 stranded")
    assert (blocked.name, blocked.level, "by the timer 2 times" in blocked.says) == ("blocked", "ok", True)


def test_wake_ups_under_way() -> None:
    assert health.of_wakes(survey(wakes=3)).says == "3 of at most 64 under way"
    assert health.of_wakes(survey(wakes=64)).level == "ok"


def test_a_busy_broker_and_nobody_at_work() -> None:
    assert health.of_broker(BrokerView(3)).level == "ok"
    assert health.of_broker(BrokerView(problem="Timeout")).level == "bad"
    assert of_workers([]).level == "bad"


# ── Intercom ──────────────────────────────────────────────────────────────────────────────────────────────


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
    [found] = intercom_health.of_intercom(reply, SETTINGS)
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
    findings = intercom_health.of_intercom(op.Done(region=region), Settings(intercom_url=url))
    found = {one.name: one for one in findings}
    assert f"{found['region'].level}: {found['region'].says}" == level


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
    findings = list(intercom_health.of_way(Settings(intercom_url=url)))
    assert [(one.name, one.level) for one in findings] == ([("transport", "warn")] if warned else [])
