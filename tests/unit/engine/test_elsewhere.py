"""A contact that lives at one address is written to from another: no lane believes what is no longer true."""

from __future__ import annotations

from typing import Any

import pytest
from tests.world.world import World

from onelane import ContactSync, ContactUpsert, LeadCapture, ProductSignUp

ANN, BOB, CAT = "ann@example.test", "bob@example.test", "cat@example.test"


def sync(email: str, name: str, **more: Any) -> ContactSync:
    return ContactSync(email=email, external_id="u-1", name=name, **more)


def form(email: str, name: str | None = None, **more: Any) -> LeadCapture:
    return LeadCapture(email=email, name=name, **more)


BOBS_FORM = form(BOB, "Bob", external_id="u-1")


def name_of(world: World) -> str | None:
    [contact] = world.sandbox.contacts()
    name: str | None = contact["name"]
    return name


def test_who_has_moved_away_is_not_written_to_from_the_old_address(world: World) -> None:
    world.do(ProductSignUp(email=ANN, external_id="u-1", name="Ann"))
    world.do(ProductSignUp(email=BOB, external_id="u-1"))  # the same account, at another address
    assert world.do(form(ANN, "Somebody else")).result == "created"
    assert {one["email"]: one["name"] for one in world.sandbox.contacts()} == {
        BOB: "Ann",
        ANN: "Somebody else",
    }


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
        assert world.do(BOBS_FORM).result == "updated"
        assert world.do(again).result == "updated"
        assert name_of(world) == "Ann"

    @pytest.mark.parametrize("named", ["u-1", None])
    def test_nor_what_is_to_be_cleared(self, world: World, named: str | None) -> None:
        clears = ContactUpsert(email=ANN, external_id=named, unset=("name",))
        for intent in (sync(ANN, "Ann"), clears, BOBS_FORM):
            world.do(intent)
        assert world.do(clears).result == "updated"
        assert not name_of(world)

    def test_nor_a_form_that_finds_our_lead(self, world: World) -> None:
        world.do(form(ANN, "Ann", external_id="u-1"))
        world.do(BOBS_FORM)
        assert name_of(world) == "Bob"
        world.do(form(ANN, "Ann"))
        assert name_of(world) == "Ann"

    def test_nor_if_its_engine_dies_before_it_settles(self, world: World) -> None:
        world.do(sync(ANN, "Ann"))
        world.fault("redis", "settle", "crash_before")
        world.enqueue(BOBS_FORM)
        world.run(2)
        assert name_of(world) == "Bob"
        world.hire()
        world.do(form(ANN, "Ann"))
        assert name_of(world) == "Ann"

    def test_nor_if_home_is_being_served(self, world: World) -> None:
        """The other address' form is written after home has its answer, and home settles last."""
        world.do(sync(ANN, "Ann"))
        world.fault("redis", "settle", "freeze_before", delay_s=3)
        world.enqueue(form(ANN, phone="+353871234567"))  # its answer still calls her Ann
        world.run(1)
        world.hire()
        world.do(BOBS_FORM)
        world.rest()
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
        for intent in (sync(ANN, "Ann"), BOBS_FORM, form(CAT, "Cat", external_id="u-1"), BOBS_FORM):
            world.do(intent)
        assert name_of(world) == "Bob"


class TestFromAfar:
    def test_what_home_writes_is_no_secret_either(self, world: World) -> None:
        for intent in (sync(ANN, "Ann"), BOBS_FORM, form(ANN, "Ann"), BOBS_FORM):
            world.do(intent)
        assert name_of(world) == "Bob"

    def test_it_is_remembered_who_but_not_what(self, world: World) -> None:
        world.do(sync(ANN, "Ann"))
        world.do(BOBS_FORM)
        stored = world.text("registry", BOB)
        assert stored
        assert "Bob" not in stored
        world.calls()
        world.do(BOBS_FORM)
        assert world.calls() == ["Update"]


def test_a_holder_that_settles_late_believes_an_address_that_is_no_more(world: World) -> None:
    """Another lane has moved the contact before it settles: its lock had run out."""
    world.fault("redis", "settle", "freeze_before", delay_s=60)
    world.enqueue(sync(ANN, "Ann"))
    world.run(2)
    world.hire()
    world.do(ContactSync(email=BOB, external_id="u-1"))
    world.rest()
    world.run(60)
    assert [contact["name"] for contact in world.contacts(ANN) + world.contacts(BOB)] == ["Ann"]
    world.do(sync(ANN, "Ann"))
    assert [contact["name"] for contact in world.contacts(ANN)] == ["Ann"]
