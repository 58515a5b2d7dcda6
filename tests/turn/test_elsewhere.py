"""A contact that lives at one address is written to from another: no lane believes what is no longer true."""

from __future__ import annotations

from typing import Any

import pytest
from onelane.identity import lane_id

from onelane import ContactSync, ContactUpsert, LeadCapture, keyspace
from onelane_worker.planner import operations as op

from .test_versions import dies
from .world import World

ANN, BOB, CAT = "ann@example.test", "bob@example.test", "cat@example.test"


def sync(email: str, name: str, **more: Any) -> ContactSync:
    return ContactSync(email=email, external_id="u-1", name=name, **more)


def form(email: str, name: str | None = None, **more: Any) -> LeadCapture:
    return LeadCapture(email=email, name=name, **more)


def name_of(world: World) -> str | None:
    [contact] = world.sandbox.contacts()
    name: str | None = contact["name"]
    return name


class TestAtHome:
    @pytest.mark.parametrize(
        "again",
        [
            sync(ANN, "Ann", version=2),
            form(ANN, "Ann"),
            ContactUpsert(email=ANN, set={"name": "Ann"}),
            form(ANN, "Ann", external_id="u-1"),
        ],
    )
    def test_a_form_of_another_address_is_no_secret(self, world: World, again: Any) -> None:
        world.do(sync(ANN, "Ann"))
        assert world.do(form(BOB, "Bob", external_id="u-1")).result == "updated"
        assert world.do(again).result == "updated"
        assert name_of(world) == "Ann"

    @pytest.mark.parametrize("named", ["u-1", None])
    def test_nor_what_is_to_be_cleared(self, world: World, named: str | None) -> None:
        clears = ContactUpsert(email=ANN, external_id=named, unset=("name",))
        world.do(sync(ANN, "Ann"))
        world.do(clears)
        world.do(form(BOB, "Bob", external_id="u-1"))
        assert world.do(clears).result == "updated"
        assert not name_of(world)

    def test_nor_a_form_that_finds_our_lead(self, world: World) -> None:
        world.do(form(ANN, "Ann", external_id="u-1"))
        world.do(form(BOB, "Bob", external_id="u-1"))
        assert name_of(world) == "Bob"
        world.do(form(ANN, "Ann"))
        assert name_of(world) == "Ann"

    def test_nor_if_its_worker_dies_before_it_settles(self, world: World) -> None:
        world.do(sync(ANN, "Ann"))
        dies(world, "settle")
        world.enqueue(form(BOB, "Bob", external_id="u-1"))
        with pytest.raises(KeyboardInterrupt):
            world.run()
        assert name_of(world) == "Bob"
        world.do(form(ANN, "Ann"))
        assert name_of(world) == "Ann"

    def test_nor_if_home_is_being_served(self, world: World) -> None:
        """The form of the other address is written after home has its answer, and home settles last."""
        world.do(sync(ANN, "Ann"))
        meanwhile = [form(BOB, "Bob", external_id="u-1")]

        def another(operation: op.Operation, reply: op.Reply) -> op.Reply:
            if isinstance(operation, op.Update) and meanwhile:
                world.do(meanwhile.pop())
            return reply

        world.gateway.after = another
        world.do(form(ANN, phone="+353871234567"))  # its answer still calls her Ann
        assert name_of(world) == "Bob"
        world.do(form(ANN, "Ann"))
        assert name_of(world) == "Ann"

    def test_known_to_be_so_costs_no_call(self, world: World) -> None:
        world.do(sync(ANN, "Ann"))
        world.do(form(BOB, external_id="u-1"))  # nothing to write
        world.calls()
        assert world.do(form(ANN, "Ann")).calls == 0

    def test_who_was_moved_here_is_at_home_here(self, world: World) -> None:
        world.do(sync(ANN, "Ann"))
        world.do(sync(BOB, "Ann"))
        assert world.do(sync(BOB, "Ann")).calls == 0

    def test_two_others_one_after_the_other(self, world: World) -> None:
        world.do(sync(ANN, "Ann"))
        world.do(form(BOB, "Bob", external_id="u-1"))
        world.do(form(CAT, "Cat", external_id="u-1"))
        world.do(form(BOB, "Bob", external_id="u-1"))
        assert name_of(world) == "Bob"


class TestFromAfar:
    def test_what_home_writes_is_no_secret_either(self, world: World) -> None:
        world.do(sync(ANN, "Ann"))
        world.do(form(BOB, "Bob", external_id="u-1"))
        world.do(form(ANN, "Ann"))
        world.do(form(BOB, "Bob", external_id="u-1"))
        assert name_of(world) == "Bob"

    def test_it_is_remembered_who_but_not_what(self, world: World) -> None:
        world.do(sync(ANN, "Ann"))
        world.do(form(BOB, "Bob", external_id="u-1"))
        stored = world.redis.get(keyspace.belief(lane_id(BOB)))
        assert stored is not None
        assert "Bob" not in str(stored)
        world.calls()
        world.do(form(BOB, "Bob", external_id="u-1"))
        assert world.calls() == ["Update"]
