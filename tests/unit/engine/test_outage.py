"""Hours of trouble at Intercom, with the settings of production."""

from __future__ import annotations

import random
from typing import Any

from tests.world.judged import judged
from tests.world.world import World

from onelane import ContactSync, LeadCapture, NewsletterOptIn, NewsletterOptOut, ProductSignUp
from onelane_worker.planner import operations as op

HOUR_S = 3_600.0
PEOPLE = 40
CALM_S = 600.0
"""The line is busy for a while before the trouble begins."""
LONGEST_PAUSE_S = 15.0


def traffic(world: World, count: int, every_s: float) -> None:
    """Intents about forty people, every one with values of its own, so that their order can be seen."""
    world.attributes("seq")
    dice = random.Random(3)
    for number in range(count):
        world.later(number * every_s, an_intent(dice, number))


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


def attempts(world: World) -> dict[str, int]:
    """Of what has not ended."""
    states = (world.status(one) for one in world.accepted)
    return {one.id: one.attempts for one in states if one.outcome is None}


def all_is_applied(world: World) -> None:
    """Everything in its order, nobody twice, and no dead letter: the independent checker's word."""
    world.rest(within_s=120)
    report = judged(world)
    assert report.ok, str(report)
    assert (report.counts["intents"], report.counts["dead letters"]) == (len(world.accepted), 0)


def test_six_hours(make_world: Any) -> None:
    """Errors, lost answers and refused connections for everybody; producers go on all the time."""
    world = make_world(lag_s=120.0)
    traffic(world, count=390, every_s=60)
    world.run(CALM_S)
    world.fault("intercom", op.Create, "unanswered", times=2)
    for number in range(8):
        world.enqueue(LeadCapture(email=f"new{number}@example.test", name=f"N{number}"))
    world.run(0.2)
    world.intercom.outage = "all"
    world.until(lambda: world.hash("breaker").get("state") == "open", within_s=120)
    before, stopped_s, calls = attempts(world), world.now, len(world.intercom.log.refused)
    world.run(6 * HOUR_S)

    assert {id_: n for id_, n in attempts(world).items() if n > before.get(id_, 0)} == {}
    assert len(attempts(world)) >= PEOPLE
    probes = (world.now - stopped_s) / LONGEST_PAUSE_S
    assert 0.9 * probes <= len(world.intercom.log.refused) - calls <= probes + 8
    world.intercom.outage = None
    all_is_applied(world)


def test_a_revoked_token_burns_nothing(make_world: Any) -> None:
    world = make_world(lag_s=120.0)
    traffic(world, count=140, every_s=30)
    world.run(CALM_S)
    world.sandbox.add_fault("unauthorized", times=None)
    calls = len(world.sandbox.requests())
    world.run(HOUR_S)

    assert set(attempts(world).values()) == {0}
    assert len(world.sandbox.requests()) - calls <= HOUR_S / LONGEST_PAUSE_S + 8
    world.sandbox.clear_faults()
    all_is_applied(world)


def test_a_storm_of_429_burns_nothing(make_world: Any) -> None:
    """Everybody waits together for the end of each window: a few calls find out that it is not over."""
    window_s = 10.0
    world = make_world(lag_s=120.0)
    traffic(world, count=78, every_s=10)
    world.run(CALM_S)
    calls = len(world.sandbox.requests())
    world.sandbox.add_fault("rate_limited", times=None, seconds=window_s)
    world.run(180)

    assert set(attempts(world).values()) <= {0, 1}  # the attempt at work has begun
    assert len(world.sandbox.requests()) - calls <= 180 / window_s * 8
    world.sandbox.clear_faults()
    all_is_applied(world)


def test_a_settle_check_outlives_an_outage(make_world: Any) -> None:
    """A user made by another writer is found, although the line was stopped when the check was due."""
    ann = "ann@example.test"
    world = make_world(lag_s=120.0)
    world.do(LeadCapture(email=ann, name="Ann"))
    user = world.seed(role="user", email=ann, external_id="u-1")
    world.sandbox.add_fault("unauthorized", times=None)
    world.enqueue(LeadCapture(email="bob@example.test"))
    world.run(1.5 * HOUR_S)
    world.sandbox.clear_faults()
    world.run(1_000)
    assert [one["id"] for one in world.contacts(ann)] == [user["id"]]
