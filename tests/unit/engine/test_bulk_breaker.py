"""A re-sync that brings what Intercom does not take: the bulk class stops, and nobody else does."""

from __future__ import annotations

from typing import Any

import pytest
from tests.world.world import World

from onelane import ContactSync, LeadCapture, ProductSignUp

WHILE_S = 600.0
EQUAL = 20
"""ONELANE_BULK_REJECTIONS by default."""
PAUSE_S = 15.0


@pytest.fixture
def world(make_world: Any) -> World:
    made: World = make_world(lag_s=120.0)
    return made


def sync(number: int, **values: str) -> ContactSync:
    email, values = f"s{number}@example.test", values or {"renamed": "x"}
    return ContactSync(email=email, external_id=f"u-{number}", custom_attributes=values)


def dead(world: World) -> int:
    outcomes = [world.outcome(receipt) for receipt in world.accepted]
    return sum(one is not None and one.result == "rejected" for one in outcomes)


def is_stopped(world: World) -> bool:
    return world.hash("breaker", "bulk").get("state") in ("open", "half")


class TestARenamedAttribute:
    def test_fills_no_dead_letters_and_goes_on_by_itself_once_it_is_mended(self, world: World) -> None:
        world.enqueue(*(sync(number) for number in range(100)))
        for n in range(10):
            world.later(60 + n, ProductSignUp(email=f"new{n}@example.test", external_id=f"n-{n}"))
        world.run(WHILE_S)

        assert dead(world) <= EQUAL
        assert is_stopped(world)
        assert all(world.outcome(receipt) for receipt in world.accepted[100:])
        assert {world.status(one).attempts for one in world.accepted if not world.outcome(one)} == {0}

        world.attributes("renamed")
        world.rest(within_s=10 * PAUSE_S)
        assert dead(world) <= EQUAL
        assert not is_stopped(world)
        written = [one for one in world.sandbox.contacts() if one["custom_attributes"].get("renamed") == "x"]
        assert len(written) >= 100 - EQUAL

    def test_asks_intercom_seldom_while_it_is_not_mended(self, world: World) -> None:
        world.enqueue(*(sync(number) for number in range(60)))
        world.run(120)
        calls = len(world.sandbox.requests())
        world.run(WHILE_S)
        # a search, a create, and now and then a read, for each try
        assert len(world.sandbox.requests()) - calls <= 3 * WHILE_S / PAUSE_S
        assert dead(world) <= EQUAL

    def test_a_sign_up_of_somebody_whose_sync_waits_is_not_held(self, world: World) -> None:
        world.enqueue(*(sync(number) for number in range(60)))
        world.run(60)
        waiting = next(intent for receipt, intent, _ in world.told if not world.outcome(receipt))
        began = world.now
        outcome = world.do(ProductSignUp(email=waiting.email, external_id=waiting.external_id))
        assert outcome.result == "created"
        assert world.now - began < 5

    def test_says_why(self, world: World) -> None:
        world.enqueue(*(sync(number) for number in range(60)))
        world.run(60)
        view = world.call(lambda store: store.breaker_view(bulk=True))
        assert "Custom attribute 'renamed' does not exist" in view.problem
        assert world.hash("breaker").get("state", "closed") == "closed"


class TestWhatDoesNotStopIt:
    def test_a_few_that_are_rejected_alike_among_many_that_are_not(self, world: World) -> None:
        world.attributes("ok")
        for n in range(240):
            world.later(n * 0.1, sync(n) if n % 6 == 0 else sync(n, ok="x"))
        world.run(24)
        world.rest(within_s=120)
        assert (dead(world), is_stopped(world)) == (40, False)

    def test_interactive_intents(self, world: World) -> None:
        forms = [
            LeadCapture(email=f"l{n}@example.test", custom_attributes={"renamed": "x"}) for n in range(40)
        ]
        world.enqueue(*forms)
        world.rest(within_s=120)
        assert (dead(world), is_stopped(world)) == (40, False)
