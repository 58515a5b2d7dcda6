"""A re-sync that brings what Intercom does not take: the bulk class stops, and nobody else does."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis

from onelane import ContactSync, LeadCapture, ProductSignUp
from onelane_worker import doctor
from onelane_worker.breaker import BulkBreaker
from onelane_worker.cli.survey import bulk_words, look_bulk
from onelane_worker.planner import operations as op

from .days import START_S, Days, Planned

WHILE_S = 600.0
EQUAL = 20
"""ONELANE_BULK_REJECTIONS by default."""


def sync(number: int, **more: Any) -> ContactSync:
    values = {"renamed": "x"} | more
    return ContactSync(email=f"s{number}@example.test", external_id=f"u-{number}", custom_attributes=values)


def resync(count: int, at_s: float, **more: Any) -> list[Planned]:
    return [Planned(at_s, sync(number, **more)) for number in range(count)]


def dead(days: Days) -> int:
    outcomes = [days.outcome(receipt) for receipt, _ in days.receipts]
    return sum(one is not None and one.result == "rejected" for one in outcomes)


def bulk_of(days: Days) -> BulkBreaker:
    assert days.deps.bulk is not None
    return days.deps.bulk


class TestARenamedAttribute:
    def test_fills_no_dead_letters_and_goes_on_by_itself_once_it_is_mended(self, days: Days) -> None:
        signups = [
            Planned(START_S + 60 + n, ProductSignUp(email=f"new{n}@example.test", external_id=f"n-{n}"))
            for n in range(10)
        ]
        days.live(START_S + WHILE_S, [*resync(100, START_S), *signups])

        assert dead(days) <= EQUAL
        assert bulk_of(days).look().stopped
        assert all(days.outcome(r) for r, one in days.receipts if one.intent.kind == "product_sign_up")
        assert set(days.attempts().values()) == {0}

        days.attributes("renamed")
        days.live_until_rest(within_s=10 * days.settings.parked_retry_s)
        assert dead(days) <= EQUAL
        assert not bulk_of(days).look().stopped
        names = [one for one in days.sandbox.contacts() if one["custom_attributes"].get("renamed") == "x"]
        assert len(names) >= 100 - EQUAL

    def test_asks_intercom_seldom_while_it_is_not_mended(self, days: Days) -> None:
        days.live(START_S + 120, resync(60, START_S))
        began, calls = days.now, days.calls_made()
        days.live(began + WHILE_S)
        trials = WHILE_S / days.settings.parked_retry_s
        assert days.calls_made() - calls <= 3 * trials  # a search, a create, and now and then a read
        assert dead(days) <= EQUAL

    def test_a_sign_up_of_somebody_whose_sync_waits_is_not_held(self, days: Days) -> None:
        days.live(START_S + 60, resync(60, START_S))
        [waiting, *_] = [one.intent for receipt, one in days.receipts if days.outcome(receipt) is None]
        receipt = days.queue.enqueue(ProductSignUp(email=waiting.email, external_id=waiting.external_id))
        days.run()
        outcome = days.outcome(receipt)
        assert outcome is not None
        assert outcome.result == "created"

    def test_says_why(self, days: Days, capsys: pytest.CaptureFixture[str]) -> None:
        days.live(START_S + 60, resync(60, START_S))
        gate = look_bulk(days.redis)
        words = bulk_words(gate)
        [finding] = doctor.of_bulk(gate, words)
        assert "Custom attribute 'renamed' does not exist" in words
        assert (finding.name, finding.level) == ("bulk", "bad")
        assert capsys.readouterr().out.count("bulk intents are stopped") == 1
        assert not days.deps.breaker.look().stopped


class TestWhatDoesNotStopIt:
    def test_a_few_that_are_rejected_alike_among_many_that_are_not(self, days: Days) -> None:
        days.attributes("ok")
        plan = [Planned(START_S + n * 0.1, sync(n) if n % 6 == 0 else other_sync(n)) for n in range(240)]
        days.live(START_S + 300, plan)
        assert (dead(days), days.unended()) == (40, 0)
        assert not bulk_of(days).look().stopped

    def test_rejections_for_reasons_of_their_own(self, redis: Redis) -> None:
        bulk = BulkBreaker(redis, rejections=3, pause_ms=1000)
        for number in range(50):
            problem = op.Problem("refused", 400, "parameter_invalid", f"no attribute {number}")
            assert not bulk.rejected(problem, "{}")

    def test_interactive_intents(self, days: Days) -> None:
        people = [
            Planned(START_S, LeadCapture(email=f"l{n}@example.test", custom_attributes={"renamed": "x"}))
            for n in range(40)
        ]
        days.live(START_S + 120, people)
        assert (dead(days), days.unended()) == (40, 0)


def other_sync(number: int) -> ContactSync:
    return ContactSync(
        email=f"s{number}@example.test", external_id=f"u-{number}", custom_attributes={"ok": "x"}
    )


class TestTheCount:
    @pytest.fixture
    def bulk(self, redis: Redis) -> BulkBreaker:
        return BulkBreaker(redis, rejections=4, pause_ms=60_000)

    PROBLEM = op.Problem("refused", 400, "parameter_invalid", "no such attribute")

    def reject(self, bulk: BulkBreaker, times: int) -> list[bool]:
        return [bulk.rejected(self.PROBLEM, "{}") for _ in range(times)]

    def test_the_one_that_stops_the_class_waits_already(self, bulk: BulkBreaker) -> None:
        assert self.reject(bulk, 5) == [False, False, False, True, True]
        assert bulk.ask().word == "open"

    def test_with_none_allowed_to_stop_it_a_stopped_class_starts_and_what_is_rejected_is_dead(
        self, bulk: BulkBreaker, redis: Redis
    ) -> None:
        self.reject(bulk, 5)
        never = BulkBreaker(redis, rejections=0, pause_ms=60_000)
        assert self.reject(never, 30) == [False] * 30
        assert not never.look().stopped

    def test_two_reasons_by_turns_stop_it_too(self, bulk: BulkBreaker) -> None:
        other = op.Problem("refused", 400, "parameter_invalid", "nor this one")
        told = [bulk.rejected(other if n % 2 else self.PROBLEM, "{}") for n in range(12)]
        assert told[-1]

    def test_four_in_a_row_that_are_written_start_it_again(self, bulk: BulkBreaker) -> None:
        self.reject(bulk, 4)
        assert [bulk.written() for _ in range(3)] == [True, True, True]
        self.reject(bulk, 1)
        assert [bulk.written() for _ in range(4)] == [True, True, True, False]
        assert bulk.ask().word == "closed"

    def test_a_trial_that_is_written_is_followed_at_once_by_the_next(self, bulk: BulkBreaker) -> None:
        self.reject(bulk, 4)
        assert bulk.ask().word == "open"
        bulk.written()
        assert bulk.ask().word == "trial"
        assert bulk.ask().word == "open"
