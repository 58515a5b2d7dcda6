"""Hours of trouble at Intercom, in virtual time and with the settings of production."""

from __future__ import annotations

import random
from typing import Any

from onelane import ContactSync, LeadCapture, NewsletterOptIn, NewsletterOptOut, ProductSignUp

from .days import LAG_S, START_S, Days, Planned

HOUR_S = 3600.0
PEOPLE = 40
BEGINS_S = START_S + 600.0
"""When the trouble begins; before it the line is busy for a while."""


def traffic(end_s: float, every_s: float) -> list[Planned]:
    """Intents about forty people, every one with values of its own, so that their order can be seen."""
    dice = random.Random(3)
    count = int((end_s - START_S) / every_s)
    return [Planned(START_S + number * every_s, an_intent(dice, number)) for number in range(count)]


def an_intent(dice: random.Random, number: int) -> Any:
    person = dice.randrange(PEOPLE)
    base: dict[str, Any] = {"email": f"person{person}@example.test"}
    values: dict[str, Any] = {"name": f"Name {number}", "custom_attributes": {"seq": f"s{number}"}}
    match dice.randrange(5):
        case 0:
            return LeadCapture(**base, **values)
        case 1:
            return ProductSignUp(**base, **values, external_id=f"u-{person}")
        case 2:
            return ContactSync(**base, **values, external_id=f"u-{person}")
        case 3:
            return NewsletterOptIn(**base, **values)
        case _:
            return NewsletterOptOut(**base)


def trouble(days: Days, *faults: str, **options: Any) -> None:
    for fault in faults:
        days.sandbox.add_fault(fault, times=None, **options)


def live_until_stopped(days: Days) -> None:
    for _ in range(60):
        if days.deps.breaker.look().shut:
            return
        days.live(days.now + 1)
    raise AssertionError("a minute of failures, and the line goes on")


def assert_all_applied(days: Days) -> None:
    """Everything in its order, nobody twice, and no dead letter: the independent checker's word."""
    report = days.judged()
    assert report.ok, str(report)
    assert (report.counts["intents"], report.counts["dead letters"]) == (len(days.receipts), 0)


class TestSixHours:
    """503, lost answers and refused connections for everybody; producers go on all the time."""

    def test_everything_is_applied_in_the_end(self, days: Days) -> None:
        ends_s = BEGINS_S + 6 * HOUR_S
        plan = traffic(ends_s, every_s=60)
        busy = [Planned(BEGINS_S, LeadCapture(email=f"new{n}@example.test", name=f"N{n}")) for n in range(8)]
        days.live(BEGINS_S, [one for one in plan if one.at_s < BEGINS_S])
        self.break_everything(days)
        days.live(BEGINS_S + 30, busy)
        live_until_stopped(days)
        attempts, stopped_s, calls = days.attempts(), days.now, days.calls_made()

        days.live(ends_s, [one for one in plan if one.at_s >= BEGINS_S])

        assert {id_: n for id_, n in days.attempts().items() if n > attempts.get(id_, 0)} == {}
        assert days.unended() >= PEOPLE
        trials = (ends_s - stopped_s) / days.settings.parked_retry_s
        assert 0.9 * trials <= days.calls_made() - calls <= trials + 3
        self.mend_everything(days)
        days.live_until_rest(within_s=60)
        assert_all_applied(days)

    def break_everything(self, days: Days) -> None:
        """What is under way at the start may have its effect and lose the answer."""
        dice = random.Random(7)
        days.sandbox.add_fault("lose_response", times=2, method="post", path="^/contacts$")
        days.sandbox.add_fault("status_503_after_commit", times=2, method="post", path="^/contacts$")
        trouble(days, "drop_request", probability=0.3)
        trouble(days, "status_503")
        days.intercom.network_away = lambda: dice.random() < 0.3

    def mend_everything(self, days: Days) -> None:
        days.sandbox.clear_faults()
        days.intercom.network_away = lambda: False


def test_a_revoked_token_burns_nothing(days: Days) -> None:
    ends_s = BEGINS_S + HOUR_S
    plan = traffic(ends_s, every_s=30)
    days.live(BEGINS_S, [one for one in plan if one.at_s < BEGINS_S])
    calls = days.calls_made()
    trouble(days, "unauthorized")
    days.live(ends_s, [one for one in plan if one.at_s >= BEGINS_S])

    assert set(days.attempts().values()) == {0}
    assert days.calls_made() - calls <= HOUR_S / days.settings.parked_retry_s + 1
    days.sandbox.clear_faults()
    days.live_until_rest(within_s=60)
    assert_all_applied(days)


def test_a_storm_of_429_burns_nothing(days: Days) -> None:
    """Everybody waits together for the end of each window: one call finds out that it is not over."""
    window_s, ends_s = 10.0, BEGINS_S + 180
    plan = traffic(ends_s, every_s=10)
    days.live(BEGINS_S, [one for one in plan if one.at_s < BEGINS_S])
    calls = days.calls_made()
    trouble(days, "rate_limited", seconds=window_s)
    days.live(ends_s, [one for one in plan if one.at_s >= BEGINS_S])

    assert set(days.attempts().values()) == {0}
    assert days.deps.breaker.look().word == "closed"
    assert days.calls_made() - calls <= (ends_s - BEGINS_S) / window_s + 1
    days.sandbox.clear_faults()
    days.live_until_rest(within_s=60)
    assert_all_applied(days)


def test_a_settle_check_outlives_an_outage(days: Days) -> None:
    """Whom somebody else made beside our lead is found, although the line was stopped when we had to look."""
    ann = "ann@example.test"
    days.live(START_S + 5, [Planned(START_S, LeadCapture(email=ann, name="Ann"))])
    user = days.seed(role="user", email=ann, external_id="u-1")
    trouble(days, "unauthorized")
    days.live(days.now + 1.5 * HOUR_S, [Planned(days.now, LeadCapture(email="bob@example.test"))])
    days.sandbox.clear_faults()
    days.live(days.now + days.settings.settle_window_s + LAG_S)

    merged = [one["id"] for one in days.contacts(ann) if not one["merged_into"]]
    assert merged == [user["id"]]
