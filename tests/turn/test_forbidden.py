"""A token that may not do all it needs, and a firewall that lets reads through: nothing is lost by either."""

from __future__ import annotations

import json
from typing import Any

import pytest
from onelane_worker.breaker import Breaker
from redis import Redis

from onelane import ContactSync, LeadCapture, NewsletterOptIn
from onelane_worker import doctor
from onelane_worker.intercom.wire import to_reply
from onelane_worker.planner import operations as op

from .days import START_S, Days, Planned
from .world import World

HOUR_S = 3600.0
DENIED = op.Forbidden(op.Problem("forbidden", 403, "forbidden"))
PEOPLE = [f"person{n}@example.test" for n in range(6)]
WRITES: dict[str, Any] = {"method": "any", "path": "^/contacts(/[0-9a-f]{24}.*)?$"}


def deny_writes(days: Days) -> None:
    for method in ("post", "put", "delete"):
        days.sandbox.add_fault("forbidden", times=None, **{**WRITES, "method": method})


def people(count: int, at_s: float) -> list[Planned]:
    return [Planned(at_s + n, LeadCapture(email=f"p{n}@example.test", name=f"P{n}")) for n in range(count)]


class TestReadsOnly:
    def test_burns_nothing_and_all_is_applied_once_it_may_write(self, days: Days) -> None:
        deny_writes(days)
        days.live(START_S + HOUR_S, people(6, START_S))
        assert set(days.attempts().values()) == {0}
        assert (len(days.attempts()), days.deps.breaker.look().stopped) == (6, True)

        days.sandbox.clear_faults()
        days.live_until_rest(within_s=60)
        report = days.judged()
        assert report.ok, str(report)
        assert report.counts["dead letters"] == 0
        assert not days.deps.breaker.look().stopped

    def test_asks_as_seldom_as_with_a_refused_token(self, days: Days) -> None:
        deny_writes(days)
        days.live(START_S + HOUR_S, people(40, START_S))
        writes = [one for one in days.sandbox.requests() if one["status"] == 403]
        assert len(writes) <= HOUR_S / days.settings.parked_retry_s + 1

    def test_a_trial_that_needs_no_write_is_followed_at_once_by_the_next(self, days: Days) -> None:
        known = [ContactSync(email=f"k{n}@example.test", external_id=f"u-{n}", name="K") for n in range(8)]
        days.live(START_S + 30, [Planned(START_S, one) for one in known])
        deny_writes(days)
        days.live(days.now + 1, [Planned(days.now, LeadCapture(email="new@example.test"))])
        days.sleep_until(days.deps.breaker.look().next_ms / 1000)
        for one in known:
            days.enqueue_now(one)
        days.run()
        results = [outcome.result for receipt, _ in days.receipts[9:] if (outcome := days.outcome(receipt))]
        assert results == ["unchanged"] * 8
        assert days.deps.breaker.look().stopped

    def test_says_what_to_grant(self, world: World, capsys: pytest.CaptureFixture[str]) -> None:
        world.gateway.before = lambda call: DENIED if op.is_write(call) else None
        world.enqueue(LeadCapture(email=PEOPLE[0]))
        world.run()
        gate = world.deps.breaker.look()
        assert gate.sort == "writes"
        assert "Write users and companies" in doctor.of_line(gate, "words").todo
        assert "Write users and companies" in capsys.readouterr().out  # the log


class TestNothingAllowed:
    def test_a_403_on_everything_stops_the_line_as_a_401_does(self, days: Days) -> None:
        days.sandbox.add_fault("forbidden", times=None)
        days.live(START_S + HOUR_S, people(40, START_S))
        assert days.deps.breaker.look().stopped
        assert set(days.attempts().values()) == {0}
        assert days.calls_made() <= 2 * (HOUR_S / days.settings.parked_retry_s + 1)  # each asks /me, too
        days.sandbox.clear_faults()
        days.live_until_rest(within_s=60)
        assert days.judged().ok

    def test_a_403_of_the_probe_at_the_end_of_an_intents_chances_is_an_outage(self, days: Days) -> None:
        """It was about to be buried; who asks whether others get through is told that nobody does."""

        def before(call: op.Operation) -> None:
            if isinstance(call, op.Probe):
                days.sandbox.add_fault("forbidden", times=1, path="^/me$")

        days.intercom.before_call = before
        days.sandbox.add_fault("status_503", times=None, path="^/contacts")
        days.live(START_S + 12 * HOUR_S, people(1, START_S))
        assert days.unended() == 1


def test_a_missing_permission_for_subscriptions_does_not_come_and_go(days: Days) -> None:
    """Writes to contacts succeed all the time, which says nothing about those to their subscriptions."""
    days.sandbox.add_fault("forbidden", times=None, path="/subscriptions")
    opt_ins = [
        Planned(START_S + n, NewsletterOptIn(email=f"s{n}@example.test", subscription_types=["102"]))
        for n in range(5)
    ]
    days.live(START_S + HOUR_S, [*opt_ins, *people(30, START_S + 600)])
    ended = [receipt for receipt, _ in days.receipts if days.outcome(receipt)]
    assert len(ended) == 30
    assert set(days.attempts().values()) == {0}
    days.sandbox.clear_faults()
    days.live_until_rest(within_s=120)
    assert days.judged().ok


def test_a_read_that_fails_meanwhile_is_not_what_has_to_succeed(redis: Redis) -> None:
    """Else the next read would start the line, and heads would be denied with an attempt counted."""
    breaker = Breaker(redis, calls=5, lanes=3, pause_ms=0)
    create, search = op.Create({"email": PEOPLE[0]}), op.Search((PEOPLE[0],))
    breaker.tell("a", create, DENIED, "{}", breaker.ask())
    breaker.tell("a", search, op.Unknown(op.Problem("network")), "{}", breaker.ask())
    breaker.tell("b", search, op.Listed((), 0), "{}", breaker.ask())
    assert breaker.look().stopped
    breaker.tell("b", create, op.Done(), "{}", breaker.ask())
    assert not breaker.look().stopped


def test_one_contact_that_alone_is_forbidden_ends_as_a_dead_letter(world: World) -> None:
    """While others are written to, it is not the token: its attempts count then."""
    person = PEOPLE[0]

    def forbid_one(call: op.Operation) -> op.Reply | None:
        denied = isinstance(call, op.Create) and call.body.get("email") == person
        return DENIED if denied else None

    world.gateway.before = forbid_one
    [receipt] = world.enqueue(LeadCapture(email=person))
    for number in range(200):
        world.do(LeadCapture(email=f"other{number}@example.test", name="O"))
        world.tick()
        world.run()
        if world.outcome(receipt):
            break
    outcome = world.outcome(receipt)
    assert outcome is not None
    assert (outcome.result, outcome.reason) == ("rejected", "forbidden")


class TestFirewall:
    """Pages instead of answers, on the way there and on the way back."""

    STATUSES = (400, 401, 403, 404, 405, 413, 429, 502, 200)

    @pytest.fixture
    def firewall(self, days: Days, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
        """`blocks`: which calls; every second of those is carried out all the same."""
        rule: dict[str, Any] = {"blocks": lambda call: False, "met": 0}
        real = days.intercom.perform

        def perform(call: op.Operation, **options: Any) -> op.Reply:
            if not rule["blocks"](call):
                return real(call, **options)
            rule["met"] += 1
            if rule["met"] % 2:
                real(call, **options)
            elif options.get("before_send"):
                options["before_send"]()
            status = self.STATUSES[rule["met"] // 2 % len(self.STATUSES)]
            return to_reply(call, status, {}, b"<html>Request blocked", options["now_ms"]())

        monkeypatch.setattr(days.intercom, "perform", perform)
        return rule

    @pytest.mark.parametrize("blocks", ["everything", "writes"])
    def test_nothing_is_dead_and_all_is_applied(self, days: Days, firewall: Any, blocks: str) -> None:
        firewall["blocks"] = lambda call: blocks == "everything" or op.is_write(call)
        days.live(START_S + HOUR_S, people(20, START_S))
        assert firewall["met"] > 0
        assert days.deps.breaker.look().stopped
        firewall["blocks"] = lambda call: False
        days.live_until_rest(within_s=days.settings.settle_window_s + 120)
        report = days.judged()
        assert report.ok, str(report)
        assert report.counts["dead letters"] == 0

    def test_who_stands_between_is_named(self, days: Days, firewall: Any) -> None:
        firewall["blocks"] = lambda call: True
        days.live(START_S + 120, people(10, START_S))
        problem = json.loads(days.deps.breaker.look().problem)
        assert problem["class"] in ("not_from_intercom", "unreadable", "server_error")
