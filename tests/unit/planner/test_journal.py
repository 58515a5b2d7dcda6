"""A create whose result is unknown (R70–R74): reconciled before anything else, adopted, never doubled."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from onelane.intents import ContactSync, ContactUpsert, LeadCapture, NewsletterOptIn, ProductSignUp
from onelane_worker.planner import operations as op
from onelane_worker.planner.policy import Policy

from .play import ANN, COMMIT_MS, START_MS, World

A: dict[str, Any] = {"email": ANN}
X: dict[str, Any] = {"email": ANN, "external_id": "u-1"}
CAPTURE = LeadCapture(**A, name="Ann")
SIGN_UP = ProductSignUp(**X, name="Ann")


def once(fate: str, kind: type = op.Create) -> Callable[[op.Operation], str | None]:
    """The first call of that kind goes wrong, nothing else."""
    fates = [fate]
    return lambda operation: fates.pop() if fates and isinstance(operation, kind) else None


def world_with(fate: str, **more: Any) -> World:
    world = World(**more)
    world.fate = once(fate)
    return world


def waited_s(world: World) -> float:
    return (world.now_ms - START_MS) / 1000


class TestLeads:
    """R72: nothing is unique about a lead, so it is looked for until it shows or cannot exist."""

    @pytest.mark.parametrize("fate", ["lost", "late", "crash_after"])
    def test_one_that_was_made_is_adopted_as_created(self, fate: str) -> None:
        world = world_with(fate, lag=100)
        outcome = world.do(CAPTURE)
        assert (outcome.result, outcome.adopted) == ("created", True)
        world.name_new("L")
        calls = world.calls()
        assert (calls[:2], calls[-1]) == (["search", "post lead name"], "get L")
        assert set(calls[2:-1]) == {"search"}
        assert len(world.live()) == 1

    @pytest.mark.parametrize("fate", ["dropped", "crash_before"])
    def test_one_that_was_not_is_made_after_the_window(self, fate: str) -> None:
        world = world_with(fate)
        assert world.do(CAPTURE).result == "created"
        assert waited_s(world) >= 600 + COMMIT_MS / 1000
        assert len(world.live()) == 1

    def test_the_looks_come_ever_slower(self) -> None:
        world = world_with("dropped")
        world.do(CAPTURE)
        looks = [at_ms for at_ms, operation, _ in world.log if isinstance(operation, op.Search)]
        gaps = [round((b - a) / 1000) for a, b in pairwise(looks)]
        assert gaps[:7] == [31, 2, 4, 8, 15, 30, 30]
        assert max(gaps) == 31

    @pytest.mark.parametrize("window_s", [1, 5, 20])
    def test_no_look_is_later_than_the_end_of_a_short_window(self, window_s: int) -> None:
        world = World(Policy(settle_window_ms=window_s * 1000))
        world.fate = once("dropped")
        assert world.do(CAPTURE).result == "created"
        assert COMMIT_MS / 1000 + window_s <= waited_s(world) < COMMIT_MS / 1000 + window_s + 1

    def test_not_sent_is_not_unknown(self) -> None:
        world = world_with("not_sent")
        world.do(CAPTURE)
        assert waited_s(world) < 5

    def test_nothing_else_is_written_on_the_lane_meanwhile(self) -> None:
        world = world_with("lost", lag=100)
        world.say(CAPTURE, SIGN_UP)
        world.run()
        world.name_new("U")
        calls = world.calls()
        assert calls.index("get U") < calls.index("put U ext role since")
        assert len([line for line in calls if line.startswith("post")]) == 1

    def test_a_ghost_in_the_index_is_no_answer(self) -> None:
        world = World(lag=100)
        world.do(ContactUpsert(**A, create="update_only"))
        ghost = world.seed("G", role="lead")
        world.ask("POST", f"/contacts/{ghost}/archive")
        world.calls()
        world.fate = once("lost")
        outcome = world.do(CAPTURE)
        assert outcome.result == "created"
        assert len(world.live()) == 1

    def test_a_user_of_somebody_elses_is_the_person_but_not_created_by_us(self) -> None:
        world = world_with("dropped", lag=10_000)
        world.say(CAPTURE)
        world.run(until_ms=world.now_ms + 40_000)
        world.hide("U", role="user")
        world.sandbox.catch_up()
        world.run()
        [outcome] = world.outcomes.values()
        assert (outcome.result, outcome.adopted) == ("updated", True)
        assert world.only()["name"] == "Ann"

    def test_a_user_with_an_external_id_was_not_made_without_one(self) -> None:
        world = world_with("dropped", lag=10_000)
        world.say(ContactUpsert(**A, role="user", set={"name": "Ann"}, set_on_insert={"phone": "+1"}))
        world.run(until_ms=world.now_ms + 1_000)
        world.hide("U", role="user", external_id="u-9")
        world.sandbox.catch_up()
        world.run()
        [outcome] = world.outcomes.values()
        assert (outcome.result, outcome.adopted) == ("updated", True)
        assert (world.only()["name"], world.only()["phone"]) == ("Ann", None)

    def test_create_only_keeps_its_meaning(self) -> None:
        world = world_with("lost", lag=100)
        outcome = world.do(ContactUpsert(**A, create="create_only", set={"name": "Ann"}))
        assert (outcome.result, outcome.adopted) == ("created", True)

    def test_set_on_insert_keeps_its_meaning(self) -> None:
        for fate in ("lost", "dropped"):
            world = world_with(fate, lag=100)
            world.do(ContactUpsert(**A, set_on_insert={"phone": "+1"}, set={"name": "Ann"}))
            assert (world.only()["phone"], world.only()["name"]) == ("+1", "Ann")

    def test_what_joined_later_is_written_after_the_adoption(self) -> None:
        world = world_with("lost", lag=100)
        world.say(CAPTURE)
        world.run(until_ms=world.now_ms + 5_000)
        world.say(LeadCapture(**A, phone="+1"))
        world.run()
        assert (world.only()["name"], world.only()["phone"]) == ("Ann", "+1")

    def test_types_are_attached_after_the_adoption(self) -> None:
        world = world_with("lost", lag=100)
        world.do(NewsletterOptIn(**A, subscription_types=("102",)))
        assert [each["id"] for each in world.only()["subscriptions"]] == ["102"]


class TestUsers:
    """R71: an external id is unique, so asking for it, or trying again, settles the matter."""

    @pytest.mark.parametrize("fate", ["lost", "crash_after"])
    def test_one_that_was_made_is_found_at_once(self, fate: str) -> None:
        world = world_with(fate)
        outcome = world.do(SIGN_UP)
        assert (outcome.result, outcome.adopted) == ("created", True)
        assert world.calls() == ["search", "post user ext name since", "find u-1"]

    @pytest.mark.parametrize("fate", ["dropped", "crash_before"])
    def test_one_that_was_not_is_made_when_it_can_no_longer_commit(self, fate: str) -> None:
        world = world_with(fate)
        outcome = world.do(SIGN_UP)
        assert (outcome.result, outcome.adopted) == ("created", False)
        assert COMMIT_MS / 1000 <= waited_s(world) < COMMIT_MS / 1000 + 10

    @pytest.mark.parametrize("find", ["strong", "lagging"])
    def test_one_that_commits_late_is_named_by_a_409(self, find: str) -> None:
        world = world_with("late", switches={"find_by_external_id": find})
        outcome = world.do(SIGN_UP)
        assert (outcome.result, outcome.adopted) == ("created", True)
        assert len(world.live()) == 1

    def test_without_an_external_id_it_is_looked_for_like_a_lead(self) -> None:
        world = world_with("lost", lag=100)
        assert world.do(ContactSync(**A, name="Ann")).adopted
        assert len(world.live()) == 1

    def test_an_intent_of_another_sort_does_not_repeat_the_create(self) -> None:
        """The create's own intent is dead by then: it must not be carried out by somebody else's turn."""
        world = world_with("dropped", lag=100)
        world.say(SIGN_UP, ContactUpsert(**A, set={"name": "Ann"}, create="update_only"))
        world.run(until_ms=world.now_ms + 1_000)
        lane = world.lanes[ANN]
        lane.queue = lane.queue[1:]
        world.run()
        assert world.live() == []
        assert world.outcomes["i2"].reason == "not_found"


class TestNoResult:
    @pytest.mark.parametrize(
        ("fate", "kind"), [("lost", op.Update), ("dropped", op.Update), ("late", op.Update)]
    )
    def test_an_unknown_update_is_sent_again_when_it_can_no_longer_commit(
        self, fate: str, kind: type
    ) -> None:
        world = World()
        world.do(CAPTURE)
        world.fate = once(fate, kind)
        ids = world.say(LeadCapture(**A, name="Anne"))
        world.run(until_ms=world.now_ms + 1_000)
        world.say(LeadCapture(**A, name="Annika"))
        world.run()
        assert world.outcomes[ids[0]].result in ("updated", "superseded")
        assert world.only()["name"] == "Annika"

    def test_a_conversion_whose_answer_was_lost(self) -> None:
        world = World()
        world.do(CAPTURE)
        world.fate = once("lost", op.Update)
        world.do(SIGN_UP)
        assert (world.only()["role"], world.only()["external_id"]) == ("user", "u-1")

    def test_a_merge_whose_answer_was_lost(self) -> None:
        world = World(Policy(merge_leads="all"))
        world.seed("U", role="user")
        world.seed("L", role="lead")
        world.fate = once("lost", op.Merge)
        assert world.do(CAPTURE).result == "updated"
        assert len(world.live()) == 1

    def test_an_unarchive_that_always_fails_is_given_up(self) -> None:
        world = World(switches={"deleted_unarchive": "500"})
        user = world.seed("U", role="user", external_id="u-1")
        world.ask("DELETE", f"/contacts/{user}")
        world.sandbox.catch_up()
        outcome = world.do(SIGN_UP)
        assert (outcome.result, outcome.reason) == ("rejected", "not_restorable")
        assert world.calls().count("unarchive U") == 3
