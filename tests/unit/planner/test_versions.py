"""R96 where one external id comes by several addresses: an older picture never follows a newer one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onelane.intents import ContactSync, LeadCapture
from onelane_worker.planner import operations as op
from onelane_worker.planner.registry import Version

from .play import ANN, World
from .test_laws import FATES, LAG_S, law, pauses, play

BOB = "bob@example.test"
X: dict[str, Any] = {"external_id": "u-1", "source": "crm"}


def once(fate: str, kind: type) -> Callable[[op.Operation], str | None]:
    fates = [fate]
    return lambda operation: fates.pop() if fates and isinstance(operation, kind) else None


def test_an_older_one_by_another_address_costs_nothing() -> None:
    world = World()
    world.do(ContactSync(email=ANN, **X, version=5, name="five"))
    world.calls()
    outcome = world.do(ContactSync(email=BOB, **X, version=4, name="four"))
    assert (outcome.result, outcome.superseded_by, outcome.calls) == ("superseded", "i1", 0)
    assert world.calls() == []
    assert world.only()["name"] == "five"


@pytest.mark.parametrize(
    "other", [{"version": 5}, {"version": 6}, {"version": 4, "source": "erp"}, {"version": None}]
)
def test_what_is_not_older_moves_the_contact(other: dict[str, Any]) -> None:
    world = World()
    world.do(ContactSync(email=ANN, **X, version=5, name="five"))
    assert world.do(ContactSync(**{"email": BOB, **X, "name": "other", **other})).result == "updated"
    assert world.only(BOB)["name"] == "other"


def test_addresses_without_an_external_id_count_for_themselves() -> None:
    world = World()
    for email in (ANN, BOB):
        assert world.do(ContactSync(email=email, source="crm", version=5, name="five")).result == "created"
        old = ContactSync(email=email, source="crm", version=4, name="four")
        assert world.do(old).result == "superseded"


class TestDoubt:
    """A create whose result is unknown is cleared up, although nobody wants its values any more."""

    def interrupted(self, fate: str) -> World:
        """The create of version 5 has no answer, and that address is not served for a minute."""
        world = World()
        world.fate = once(fate, op.Create)
        world.say(ContactSync(email=ANN, **X, version=5, name="five"))
        world.run(until_ms=world.now_ms + 1)
        world.lanes[ANN].due_ms = world.now_ms + 60_000
        world.age(40)
        return world

    @pytest.mark.parametrize("fate", ["lost", "dropped", "late"])
    def test_then_it_is_superseded(self, fate: str) -> None:
        world = self.interrupted(fate)
        world.say(ContactSync(email=BOB, **X, version=6, name="six"))
        world.run(until_ms=world.now_ms + 1_000)
        assert world.outcomes["i2"].result in ("created", "updated")
        world.calls()
        world.run()
        assert world.calls() == ["find u-1"]
        assert (world.outcomes["i1"].result, world.outcomes["i1"].superseded_by) == ("superseded", "i2")
        assert world.only(BOB)["name"] == "six"

    def test_who_comes_next_by_that_address_meets_the_user_that_was_made(self) -> None:
        """A journal that was dropped unread would leave a lead to be made beside the user."""
        world = self.interrupted("lost")
        world.versions["u-1"] = {"crm": Version(number=6, by="i0", at_ms=world.now_ms)}
        world.say(LeadCapture(email=ANN, phone="+1"))
        world.run()
        assert [world.outcomes[i].result for i in ("i1", "i2")] == ["superseded", "updated"]
        assert len(world.live()) == 1


phones = st.sampled_from([None, "+1", "+2"])
fates = st.lists(st.sampled_from([None, None, *(fate for fate in FATES if fate != "late")]), max_size=8)
"""What becomes of the calls. No late writes: what is against them, the leaf lock, is not in this world."""


@st.composite
def pictures(draw: st.DrawFn) -> list[ContactSync]:
    """One source's pictures of one person, out of order and by two addresses."""
    versions = draw(st.lists(st.integers(1, 4), min_size=1, max_size=6))
    return [
        ContactSync(email=draw(st.sampled_from([ANN, BOB])), **X, version=n, name=f"v{n}", phone=draw(phones))
        for n in versions
    ]


@law(200)
@given(pictures(), pauses, fates)
def test_the_newest_picture_is_what_remains(
    history: list[ContactSync], gaps: list[float], mishaps: list[str | None]
) -> None:
    world = World(lag=LAG_S)
    world.fate = lambda operation: mishaps.pop() if mishaps else None
    play(world, history, gaps)
    [contact] = world.live(None)
    assert contact["name"] == f"v{max(each.version or 0 for each in history)}"
