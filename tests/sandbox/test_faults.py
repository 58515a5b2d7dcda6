"""Faults and the log in the pure core: which request a fault meets, and what becomes of it."""

from __future__ import annotations

import pytest

from onelane_sandbox.faults import EFFECTS
from onelane_sandbox.rules import Request, Sandbox

NOW = 1_800_000_003.0


def _create(number=0):
    return Request.of("POST", "/contacts", {"external_id": str(number)})


def _run(sandbox, request, now=NOW):
    """All three steps; the answer and the log entry."""
    exchange = sandbox.arrive(request, now)
    leaving = now + exchange.delay_s
    answer = sandbox.execute(exchange, leaving)
    sandbox.depart(exchange, leaving, answer)
    return answer, sandbox.requests()[-1]


@pytest.mark.parametrize(
    ("fault", "ending", "status", "committed"),
    [
        ("lose_response", "reset", None, True),
        ("drop_request", "close", None, False),
        ("rate_limited", "answer", 429, False),
        ("unauthorized", "answer", 401, False),
        ("forbidden", "answer", 403, False),
        *[(f"status_{status}", "answer", status, False) for status in (500, 502, 503, 504)],
        *[(f"status_{status}_after_commit", "answer", status, True) for status in (500, 502, 503, 504)],
    ],
)
def test_effect(fault, ending, status, committed):
    sandbox = Sandbox()
    sandbox.add_fault(fault)
    answer, entry = _run(sandbox, _create())
    assert (answer.ending, entry["status"], entry["fault"], entry["committed"]) == (
        ending,
        status,
        fault,
        committed,
    )
    assert len(sandbox.contacts()) == committed
    assert (answer.response is None) == (status is None)
    assert _run(sandbox, _create(1))[0].response.status == 200


def test_every_fault_has_a_row_above():
    assert len(EFFECTS) == 13


def test_slow_waits_first_and_then_executes():
    sandbox = Sandbox()
    sandbox.add_fault("slow", seconds=30)
    exchange = sandbox.arrive(_create(), NOW)
    assert exchange.delay_s == 30
    assert sandbox.contacts() == []
    assert sandbox.requests()[0]["status"] is None
    sandbox.depart(exchange, NOW + 30, sandbox.execute(exchange, NOW + 30))
    (contact,), (entry,) = sandbox.contacts(), sandbox.requests()
    assert contact["created_at"] == int(NOW + 30)
    assert (entry["fault"], entry["status"], entry["duration_ms"], entry["at"]) == ("slow", 200, 30_000, NOW)


def test_slow_lets_the_next_match_act_too():
    sandbox = Sandbox()
    sandbox.add_fault("slow", seconds=1)
    sandbox.add_fault("slow", seconds=2)
    sandbox.add_fault("status_503")
    sandbox.add_fault("status_500")
    answer, entry = _run(sandbox, _create())
    assert (answer.response.status, entry["fault"], entry["duration_ms"]) == (503, "status_503", 3000)
    assert [one["fault"] for one in sandbox.faults()] == ["status_500"]


def test_the_first_registered_live_match_acts():
    sandbox = Sandbox()
    sandbox.add_fault("status_500", method="get")
    sandbox.add_fault("status_502", path="/archive$")
    sandbox.add_fault("status_503", times=2)
    sandbox.add_fault("status_504")
    statuses = [_run(sandbox, _create(number))[1]["status"] for number in range(4)]
    assert statuses == [503, 503, 504, 200]
    assert [one["fault"] for one in sandbox.faults()] == ["status_500", "status_502"]


def test_after_lets_matching_requests_through():
    sandbox = Sandbox()
    sandbox.add_fault("status_503", after=2, method="POST", path="^/contacts$")
    sandbox.handle(_create(), NOW)
    statuses = [
        _run(sandbox, request)[1]["status"] for request in (_create(1), Request.of("GET", "/me"), _create(2))
    ]
    assert statuses == [200, 200, 200]
    assert [_run(sandbox, _create(number))[1]["status"] for number in (3, 4)] == [503, 200]


def test_times_null_lasts_until_cleared():
    sandbox = Sandbox()
    sandbox.add_fault("status_503", times=None)
    assert {_run(sandbox, _create(number))[1]["status"] for number in range(9)} == {503}
    sandbox.clear_faults()
    assert _run(sandbox, _create())[1]["status"] == 200


def test_probability_comes_from_the_seed():
    def fates(seed):
        sandbox = Sandbox(seed)
        sandbox.add_fault("drop_request", probability=0.5, times=None)
        return [_run(sandbox, _create(number))[1]["fault"] for number in range(200)]

    assert fates(1) == fates(1) != fates(2)
    assert 60 < fates(1).count("drop_request") < 140


def test_rate_limited_can_say_when_to_come_back():
    sandbox = Sandbox()
    sandbox.add_fault("rate_limited")
    sandbox.add_fault("rate_limited", seconds=1)
    resets = [int(_run(sandbox, _create())[0].response.headers["X-RateLimit-Reset"]) for _ in range(2)]
    assert resets == [1_800_000_012, 1_800_000_004]


def test_a_fault_after_commit_hides_a_refusal_that_did_not_commit():
    sandbox = Sandbox()
    _run(sandbox, _create())
    sandbox.add_fault("status_502_after_commit")
    _, entry = _run(sandbox, _create())  # a conflict, behind the fault
    assert (entry["status"], entry["committed"]) == (502, False)


def test_a_read_counts_as_committed_when_it_was_evaluated():
    sandbox = Sandbox()
    found, missing = Request.of("GET", "/me"), Request.of("GET", "/contacts/none")
    assert [_run(sandbox, one)[1]["committed"] for one in (found, missing)] == [True, True]
    assert _run(sandbox, Request(method="GET", path="/me"))[1]["committed"] is False


def test_reset_lets_go_of_what_is_under_way():
    sandbox = Sandbox()
    sandbox.add_fault("slow", seconds=30)
    exchange = sandbox.arrive(_create(), NOW)
    sandbox.reset()
    assert sandbox.execute(exchange, NOW + 30).ending == "close"
    assert sandbox.contacts() == sandbox.requests() == sandbox.faults() == []


def test_reset_restores_everything_but_does_not_repeat_ids():
    sandbox = Sandbox(index_lag=5.0)
    first = sandbox.handle(_create(), NOW).body["id"]
    sandbox.set_lag(7.0)
    sandbox.switch("unknown_attribute", 422)
    sandbox.reset()
    assert sandbox.lag == 5.0
    assert all(one["value"] == one["default"] for one in sandbox.switches())
    assert sandbox.handle(_create(), NOW).body["id"] != first


def test_the_log_keeps_what_was_sent():
    sandbox = Sandbox()
    request = Request.of("GET", "/contacts", query={"per_page": "5"})
    entry = _run(sandbox, request)[1]
    assert entry == {
        "n": 1,
        "at": NOW,
        "method": "GET",
        "path": "/contacts",
        "query": {"per_page": "5"},
        "body": None,
        "status": 200,
        "duration_ms": 0.0,
        "fault": None,
        "committed": True,
    }
    assert _run(sandbox, _create())[1]["body"] == {"external_id": "0"}
    assert _run(sandbox, Request(method="POST", path="/contacts", body=b"{"))[1]["body"] == "{"
    sandbox.clear_requests()
    assert _run(sandbox, _create())[1]["n"] == 4


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"fault": "explode"}, "fault"),
        ({"fault": "slow"}, "seconds"),
        ({"fault": "slow", "seconds": -1}, "seconds"),
        ({"fault": "slow", "seconds": "5"}, "seconds"),
        ({"fault": "status_500", "times": 0}, "times"),
        ({"fault": "status_500", "times": True}, "times"),
        ({"fault": "status_500", "after": -1}, "after"),
        ({"fault": "status_500", "method": 5}, "method"),
        ({"fault": "status_500", "path": "("}, "path"),
        ({"fault": "status_500", "path": 5}, "path"),
        ({"fault": "status_500", "probability": 2}, "probability"),
        ({"fault": "status_500", "probability": "half"}, "probability"),
        ({"fault": "status_500", "colour": "red"}, "colour"),
    ],
)
def test_a_bad_fault_is_refused_by_name(options, field):
    with pytest.raises(ValueError, match=f"^{field}: "):
        Sandbox().add_fault(**options)
