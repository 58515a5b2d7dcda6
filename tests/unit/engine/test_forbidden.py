"""A token that may not do all it needs, and a firewall that lets reads through: nothing is lost by either."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.world.judged import judged
from tests.world.world import World

from onelane import ContactSync, LeadCapture, NewsletterOptIn
from onelane_worker.planner import operations as op

HOUR_S = 3_600.0
LONGEST_PAUSE_S = 15.0
WRITES = "^/contacts(/[0-9a-f]{24}.*)?$"


@pytest.fixture
def world(make_world: Any) -> World:
    made: World = make_world(lag_s=120.0)
    return made


def deny_writes(world: World) -> None:
    for method in ("post", "put", "delete"):
        world.sandbox.add_fault("forbidden", times=None, method=method, path=WRITES)


def people(world: World, count: int, after_s: float = 0.0) -> None:
    for n in range(count):
        world.later(after_s + n, LeadCapture(email=f"p{n}@example.test", name=f"P{n}"))


def attempts(world: World) -> set[int]:
    """Of what has not ended."""
    return {world.status(one).attempts for one in world.accepted if not world.outcome(one)}


def is_open(world: World) -> bool:
    return world.hash("breaker").get("state") in ("open", "half")


def all_is_applied(world: World, within_s: float = 120.0) -> None:
    world.sandbox.clear_faults()
    world.rest(within_s)
    report = judged(world)
    assert report.ok, str(report)
    assert report.counts["dead letters"] == 0
    assert world.hash("breaker").get("state", "closed") in (
        "closed",
        "half",
    )  # half: nothing was to be written


class TestReadsOnly:
    def test_burns_nothing_and_all_is_applied_once_it_may_write(self, world: World) -> None:
        deny_writes(world)
        people(world, 6)
        world.run(HOUR_S)
        assert (attempts(world), is_open(world)) == ({0}, True)
        all_is_applied(world)

    def test_asks_as_seldom_as_with_a_refused_token(self, world: World) -> None:
        deny_writes(world)
        people(world, 40)
        world.run(HOUR_S)
        denied = [one for one in world.sandbox.requests() if one["status"] == 403]
        assert len(denied) <= HOUR_S / LONGEST_PAUSE_S + 8

    def test_lanes_that_need_no_write_are_served_meanwhile(self, world: World) -> None:
        known = [ContactSync(email=f"k{n}@example.test", external_id=f"u-{n}", name="K") for n in range(8)]
        world.enqueue(*known)
        world.rest()
        deny_writes(world)
        world.enqueue(LeadCapture(email="new@example.test"))
        world.run(5)
        again = world.enqueue(*known)
        world.run(4 * LONGEST_PAUSE_S)
        assert [world.ended(one).result for one in again] == ["unchanged"] * 8
        assert is_open(world)

    def test_the_breaker_says_what_fails(self, world: World) -> None:
        deny_writes(world)
        people(world, 1)
        world.run(5)
        view = world.call(lambda store: store.breaker_view())
        assert (view.sort, json.loads(view.problem)["http_status"]) == ("writes", 403)


class TestNothingAllowed:
    def test_a_403_on_everything_stops_the_line_as_a_401_does(self, world: World) -> None:
        world.sandbox.add_fault("forbidden", times=None)
        people(world, 40)
        world.run(HOUR_S)
        assert (attempts(world), is_open(world)) == ({0}, True)
        assert len(world.sandbox.requests()) <= 2 * (HOUR_S / LONGEST_PAUSE_S + 8)  # each asks /me, too
        all_is_applied(world)

    def test_a_403_of_the_probe_at_the_end_of_an_intents_chances_is_an_outage(self, world: World) -> None:
        """It was about to be buried; the probe finds that no call gets through."""
        world.sandbox.add_fault("forbidden", times=None, path="^/me$")
        world.sandbox.add_fault("status_503", times=None, path="^/contacts")
        people(world, 1)
        world.run(12 * HOUR_S)
        assert not world.outcome(world.accepted[0])


def test_a_missing_permission_for_subscriptions_does_not_come_and_go(world: World) -> None:
    """Writes to contacts succeed all the time, which says nothing about those to their subscriptions."""
    world.sandbox.add_fault("forbidden", times=None, path="/subscriptions")
    opt_ins = [NewsletterOptIn(email=f"s{n}@example.test", subscription_types=["102"]) for n in range(5)]
    for n, opt_in in enumerate(opt_ins):
        world.later(n, opt_in)
    people(world, 30, after_s=600)
    world.run(HOUR_S)
    assert sum(world.outcome(one) is not None for one in world.accepted) == 30
    assert attempts(world) == {0}
    all_is_applied(world)


def test_one_contact_that_alone_is_forbidden_ends_as_a_dead_letter(world: World) -> None:
    """While others are written to, it is not the token: its attempts count then."""
    ann = "ann@example.test"
    denied = op.Forbidden(op.Problem("forbidden", 403, "forbidden"))

    def is_anns(call: Any) -> bool:
        return isinstance(call, op.Create) and call.body.get("email") == ann

    world.answer(is_anns, denied, times=1_000)
    [receipt] = world.enqueue(LeadCapture(email=ann))
    for number in range(2_000):
        world.later(5.0 * number, LeadCapture(email=f"other{number % 200}@example.test", name=f"O{number}"))
    outcome = world.ended(receipt)
    assert (outcome.result, outcome.reason) == ("rejected", "forbidden")


class TestFirewall:
    """Pages instead of answers, on the way there and on the way back."""

    STATUSES = (400, 401, 403, 404, 405, 413, 429, 502, 200)

    def blocks(self, world: World, fits: Any) -> None:
        for n in range(2_000):
            kind = "page_after" if n % 2 else "page"
            world.fault("intercom", fits, kind, status=self.STATUSES[n // 2 % len(self.STATUSES)])

    @pytest.mark.parametrize("blocked", ["everything", "writes"])
    def test_nothing_is_dead_and_all_is_applied(self, world: World, blocked: str) -> None:
        self.blocks(world, lambda call: blocked == "everything" or op.is_write(call))
        people(world, 20)
        world.run(HOUR_S)
        assert is_open(world)
        world.clear_faults()
        all_is_applied(world, world.knobs.policy.settle_window_ms / 1000 + 120)

    def test_who_stands_between_is_named(self, world: World) -> None:
        self.blocks(world, lambda call: True)
        people(world, 10)
        world.run(120)
        problem = json.loads(world.call(lambda store: store.breaker_view()).problem)
        assert problem["class"] in ("not_from_intercom", "unreadable", "server_error")
