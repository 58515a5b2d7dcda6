"""A create that never gets an answer: cleared up each time, sent again so often, and then a dead letter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Literal

import pytest
from onelane_worker.breaker import Gate
from onelane_worker.services import timing

from onelane import ContactSync, LeadCapture, Receipt
from onelane_worker.planner import operations as op

from .days import Days

ANN = "ann@example.test"
HOUR_S = 3600.0
POISON: dict[str, Any] = {"email": ANN, "name": "Poison", "custom_attributes": {"seq": "poison"}}
LEADS = LeadCapture(**POISON), LeadCapture(email=ANN, name="Ann")
USERS = ContactSync(**POISON, external_id="u-1"), ContactSync(email=ANN, external_id="u-1", name="Ann")
PAIRS = pytest.param(LEADS, id="lead"), pytest.param(USERS, id="user")
"""A poison intent, and one behind it in its lane that would go through alone."""
Pair = tuple[Any, Any]
How = Literal["dies", "500"]
MOST_ATTEMPTS = 5
CHANCES: dict[How, tuple[int, str]] = {
    "dies": (3, "killed_worker"),
    "500": (MOST_ATTEMPTS, "upstream_error"),
}
"""What becomes of it → how often it is sent, and why it is a dead letter then."""


@pytest.fixture
def days(days: Days) -> Days:
    """With few attempts: each of a lead's takes as long as the index may lag."""
    days.deps = replace(days.deps, timing=replace(days.deps.timing, max_attempts=MOST_ATTEMPTS))
    return days


def is_poison(operation: op.Operation) -> bool:
    body: Any = operation.body if isinstance(operation, op.Create) else {}
    return bool(body.get("custom_attributes", {}).get("seq") == "poison")


def leave_unanswered(days: Days, how: How, *, made: int = 0) -> list[float]:
    """No create of the poison is answered from now on; the one of the number `made` takes effect.

    Returns when each was sent, and goes on filling the list.
    """
    perform, sent_s = days.intercom.perform, []

    def instead(operation: op.Operation, **about: Any) -> op.Reply:
        if not is_poison(operation):
            return perform(operation, **about)
        sent_s.append(days.now)
        if len(sent_s) == made:
            perform(operation, **about)
        else:
            about["before_send"]()
        if how == "dies":
            raise KeyboardInterrupt
        return op.Unknown(op.Problem("server_error", 500))

    days.intercom.perform = instead  # type: ignore[method-assign]
    return sent_s


def live_on(days: Days, seconds: float) -> None:
    """Whoever dies is followed by another worker."""
    until_s = days.now + seconds
    while days.now < until_s:
        try:
            days.live(until_s)
        except KeyboardInterrupt:
            continue


def live_until_ended(days: Days, receipts: Sequence[Receipt], within_s: float = 3 * HOUR_S) -> None:
    began_s = days.now
    while not all(days.outcome(receipt) for receipt in receipts):
        assert days.now - began_s < within_s
        live_on(days, 60)


def attempts(days: Days, receipt: Receipt) -> int:
    status = days.queue.status(receipt.id)
    assert status is not None
    return status.attempts


def names(days: Days) -> list[str]:
    return [contact["name"] for contact in days.contacts(ANN)]


@pytest.mark.parametrize("how", CHANCES)
@pytest.mark.parametrize("pair", PAIRS)
def test_it_is_a_dead_letter_after_its_chances(days: Days, pair: Pair, how: How) -> None:
    """And nothing was made of it: the next one in the lane makes the person."""
    sent_s = leave_unanswered(days, how)
    poison, mate = days.enqueue(*pair)
    live_until_ended(days, [poison, mate])
    rejected, created = days.outcome(poison), days.outcome(mate)
    assert rejected is not None
    assert created is not None
    assert (len(sent_s), rejected.reason) == CHANCES[how]
    assert (rejected.result, rejected.contact_id, created.result) == ("rejected", None, "created")
    assert names(days) == ["Ann"]


@pytest.mark.parametrize("how", CHANCES)
@pytest.mark.parametrize("pair", PAIRS)
def test_made_by_the_last_try_it_is_adopted(days: Days, pair: Pair, how: How) -> None:
    chances, _ = CHANCES[how]
    sent_s = leave_unanswered(days, how, made=chances)
    poison, mate = days.enqueue(*pair)
    live_until_ended(days, [poison, mate])
    outcome = days.outcome(poison)
    assert outcome is not None
    assert (len(sent_s), outcome.result, outcome.adopted) == (chances, "created", True)
    assert names(days) == ["Ann"]


@pytest.mark.parametrize("pair", PAIRS)
def test_it_costs_one_attempt_however_often_is_looked(days: Days, pair: Pair) -> None:
    sent_s = leave_unanswered(days, "500")
    [poison] = days.enqueue(pair[0])
    looked = 0
    while len(sent_s) < 3:
        live_on(days, 20)
        looked += days.queue.status(poison.id).state == "reconciling"  # type: ignore[union-attr]
        assert attempts(days, poison) == len(sent_s)
    assert looked > 3


def test_it_is_sent_again_ever_later(days: Days) -> None:
    """A user's create is found out about in half a minute; that alone would hammer for ever."""
    days.deps = replace(days.deps, timing=timing(days.settings))
    sent_s = leave_unanswered(days, "500")
    live_until_ended(days, days.enqueue(USERS[0]))
    pauses_s = [later - earlier for earlier, later in pairwise(sent_s)]
    commit_s = days.settings.commit_ms / 1000
    assert len(sent_s) == days.settings.max_attempts
    assert all(commit_s <= pause_s <= commit_s + 1 for pause_s in pauses_s[:5])
    assert sum(pauses_s[-10:]) > 10 * 2 * commit_s


def test_the_one_that_stops_the_line_costs_no_attempt(days: Days) -> None:
    """Others on other lanes got no answer at the same moment: it is an outage's, not its own."""

    def others_fail(operation: op.Operation) -> None:
        for number in range(days.settings.breaker_calls - 1):
            reply = op.Unknown(op.Problem("server_error", 503))
            days.deps.breaker.tell(f"lane {number}", operation, reply, "", Gate())

    days.intercom.before_send = others_fail
    days.sandbox.add_fault("status_503", times=1, method="post", path="^/contacts$")
    [receipt] = days.enqueue(LEADS[0])
    days.live(days.now + 1)
    assert days.deps.breaker.look().word == "open"
    assert attempts(days, receipt) == 0


def test_a_users_burial_does_not_wait_for_the_index(days: Days) -> None:
    """Its external id tells at once that nobody was made."""
    sent_s = leave_unanswered(days, "dies")
    live_until_ended(days, days.enqueue(USERS[0]))
    assert days.now - sent_s[-1] < 2 * 60


@pytest.mark.parametrize("pair", PAIRS)
def test_an_outage_for_one_lane_only_makes_no_dead_letter(days: Days, pair: Pair) -> None:
    """Too few fail for the breaker: before it is buried, one call finds out that nobody's get through."""
    days.sandbox.add_fault("status_503", times=None, method="post", path="^/contacts$")
    days.sandbox.add_fault("status_503", times=None, path="^/me$")
    receipts = days.enqueue(*pair)
    live_on(days, 2 * HOUR_S)
    days.sandbox.clear_faults()
    live_until_ended(days, receipts, within_s=HOUR_S)
    assert [outcome.result for one in receipts if (outcome := days.outcome(one))] == ["created", "updated"]
    assert names(days) == ["Ann"]


@pytest.mark.parametrize("how", CHANCES)
@pytest.mark.parametrize("pair", PAIRS)
def test_a_death_before_the_burial_gives_no_other_chance(days: Days, pair: Pair, how: How) -> None:
    """The doubt was ended already; what was decided on its account must not be forgotten with it."""
    bury = days.store.bury

    def dies(*_: object, **__: object) -> Any:
        days.store.bury = bury  # type: ignore[method-assign]
        raise KeyboardInterrupt

    days.store.bury = dies  # type: ignore[method-assign]
    sent_s = leave_unanswered(days, how)
    [poison] = days.enqueue(pair[0])
    live_until_ended(days, [poison])
    assert days.store.bury == bury
    assert len(sent_s) == CHANCES[how][0]
    assert names(days) == []
