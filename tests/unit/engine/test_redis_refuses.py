"""Redis refuses, or its answers get lost, while an intent is at work. The engine lives, and nobody pays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.world.link import REFUSALS
from tests.world.world import World

from onelane import ContactSync, EmailChange, LeadCapture, NewsletterOptIn, ProductSignUp, Receipt
from onelane_worker.planner import operations as op

ANN, BOB = "ann@example.test", "bob@example.test"
MakeWorld = Callable[..., World]


def sign_up(world: World) -> Any:
    return ProductSignUp(email=ANN, external_id="u-1", name="Ann")


def sync(world: World) -> Any:
    world.do(ProductSignUp(email=ANN, external_id="u-1", name="An"))
    return ContactSync(email=ANN, external_id="u-1", name="Ann", source="crm", version=7)


def form(world: World) -> Any:
    world.do(LeadCapture(email=ANN, name="An"))
    return LeadCapture(email=ANN, name="Ann")


def opt_in(world: World) -> Any:
    world.do(LeadCapture(email=ANN))
    return NewsletterOptIn(email=ANN, name="Ann", subscription_types=("102",))


def change(world: World) -> Any:
    world.do(ProductSignUp(email=ANN, external_id="u-1", name="Ann"))
    return EmailChange(email=ANN, new_email=BOB)


STORIES = [sign_up, sync, form, opt_in, change]
SCRIPTS = ["claim", "checkpoint", "settle"]


def cost_nothing(world: World, receipt: Receipt, attempts: int = 1) -> None:
    """Applied in the end: no kill, no attempt, no dead letter, nobody twice (SCENARIOS 31)."""
    outcome, status = world.ended(receipt), world.status(receipt)
    assert outcome.result in ("created", "updated", "unchanged")
    assert (status.attempts, int(world.hash("intent", receipt.id).get("kills", 0))) == (attempts, 0)
    assert [event for event in world.seen.events if event[0] == "buried"] == []
    living = [one for one in world.sandbox.contacts() if not (one["archived"] or one["deleted"])]
    assert [one["name"] for one in living] == ["Ann"]
    assert world.workers[0].is_up


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("kind", ["oom", "down_before", "down_after", "hung"])
def test_three_failures_in_a_row_cost_nothing(world: World, story: Any, script: str, kind: str) -> None:
    intent = story(world)
    world.fault("redis", script, kind, times=3)
    outlived = (
        script == "claim" and kind == "hung"
    )  # the answer comes when the lease has ended: it is claimed again
    cost_nothing(world, world.enqueue(intent)[0], attempts=2 if outlived else 1)


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("kind", REFUSALS)
def test_every_refusal_costs_nothing(world: World, script: str, kind: str) -> None:
    intent = form(world)
    world.fault("redis", script, kind, times=3)
    cost_nothing(world, world.enqueue(intent)[0])


@pytest.mark.parametrize("away_s", [1, 8, 40])
@pytest.mark.parametrize("moment", [op.Search, op.Create, "checkpoint"])
def test_a_redis_that_is_away_costs_no_kill_and_no_dead_letter(
    make_world: MakeWorld, away_s: float, moment: Any
) -> None:
    """However long, and whoever else waits for the lane."""
    world = make_world(workers=2)

    def goes_away() -> None:
        world.link.away_until_s = world.now + away_s

    world.when(moment, goes_away)
    [receipt] = world.enqueue(ProductSignUp(email=ANN, external_id="u-1", name="Ann"))
    assert world.ended(receipt).result == "created"
    assert int(world.hash("intent", receipt.id).get("kills", 0)) == 0
    assert len(world.contacts(ANN)) == 1


def test_a_living_holder_is_not_the_last_kill(world: World) -> None:
    """Engines died of it before; this one lives, but cannot say so for longer than its lease. Another engine
    that comes meanwhile does not bury the intent."""
    [receipt] = world.enqueue(form(world))
    key = world.workspace.keys.key("intent", receipt.id)
    world.redis.execute("HSET", key, "kills", world.knobs.timing.max_kills - 1)
    world.fault("redis", "settle", "down_before", times=4)
    world.until(lambda: "token" in world.lane(ANN))
    world.link.away_until_s = world.now + 12
    world.hire()
    assert world.ended(receipt).result == "updated"
    assert int(world.hash("intent", receipt.id)["kills"]) == world.knobs.timing.max_kills - 1


def test_an_idle_engine_lives_through_it(world: World) -> None:
    world.run(5)
    world.link.refusal = "oom"
    world.run(300)
    world.link.refusal = None
    world.enqueue(LeadCapture(email=ANN, name="Ann"))
    assert world.rest() < 12


def test_it_stops_while_redis_refuses(world: World) -> None:
    world.fault("intercom", op.Search, "slow")
    world.enqueue(LeadCapture(email=ANN))
    world.run(1)
    world.link.refusal = "oom"
    world.workers[0].stop()
    assert world.until(world.workers[0].task.done) < 60
