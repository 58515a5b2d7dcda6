"""One lane: what its intents cost, what is recorded before a write, what is put back, and who is blamed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.world.workers import Knobs
from tests.world.world import World

from onelane import ContactSync, ContactUpsert, LeadCapture, NewsletterOptIn, ProductSignUp
from onelane_worker.engine.lane import Timing
from onelane_worker.planner import operations as op

ANN, BOB = "ann@example.test", "bob@example.test"
MakeWorld = Callable[..., World]


def with_attempts(most: int) -> Knobs:
    return Knobs(timing=Timing(max_attempts=most))


class TestCalls:
    """How many calls an intent costs."""

    def test_a_newcomer_costs_two(self, world: World) -> None:
        assert world.do(NewsletterOptIn(email=ANN, name="Ann")).calls == 2
        assert world.calls() == ["Search", "Create"]

    def test_a_change_of_somebody_known_costs_one(self, world: World) -> None:
        world.do(LeadCapture(email=ANN, name="Ann"))
        world.calls()
        assert world.do(LeadCapture(email=ANN, name="Anna")).result == "updated"
        assert world.calls() == ["Update"]

    def test_what_is_so_already_costs_none(self, world: World) -> None:
        world.do(LeadCapture(email=ANN, name="Ann"))
        world.calls()
        assert world.do(LeadCapture(email=ANN, name="Ann")).result == "unchanged"
        assert world.calls() == []

    def test_somebody_there_whom_nobody_knows_costs_three(self, world: World) -> None:
        world.seed(role="user", email=ANN)
        world.catch_up()
        assert world.do(LeadCapture(email=ANN, name="Ann")).calls == 3
        assert world.calls() == ["Search", "Read", "Update"]

    def test_a_known_external_id_costs_two(self, world: World) -> None:
        world.seed(role="user", email=ANN, external_id="u-1")
        assert world.do(ContactSync(email=ANN, external_id="u-1", name="Ann")).calls == 2
        assert world.calls() == ["FindByExternalId", "Update"]


class TestAtOnce:
    """The index lags for an hour, and nobody waits for it."""

    @pytest.mark.parametrize(
        "intent",
        [
            LeadCapture(email=ANN, name="Ann"),
            NewsletterOptIn(email=ANN),
            ProductSignUp(email=ANN, external_id="u-1"),
            ContactSync(email=ANN, external_id="u-1", name="Ann"),
            ContactUpsert(email=ANN, role="lead"),
        ],
        ids=lambda intent: intent.kind,
    )
    def test_a_newcomer_is_there_within_two_seconds(self, world: World, intent: Any) -> None:
        world.enqueue(intent)
        assert world.rest() < 2
        assert len(world.contacts(ANN)) == 1

    def test_so_is_a_change_right_behind(self, world: World) -> None:
        world.enqueue(LeadCapture(email=ANN), ProductSignUp(email=ANN, external_id="u-1"))
        assert world.rest() < 3
        assert [contact["role"] for contact in world.contacts(ANN)] == ["user"]

    def test_two_forms_within_the_lag_make_one_lead(self, world: World) -> None:
        first, second = (world.do(LeadCapture(email=ANN, name=name)) for name in ("Ann", "Anna"))
        assert first.contact_id == second.contact_id
        assert [contact["name"] for contact in world.contacts(ANN)] == ["Anna"]


class TestRecordBeforeWrite:
    """Law 3: at the moment of sending, Redis knows of the write."""

    def test_the_write_and_the_journal_of_a_create(self, world: World) -> None:
        seen: list[Any] = []
        world.when(op.Create, lambda: seen.append((world.open_write(ANN), "journal" in world.lane(ANN))))
        [receipt] = world.enqueue(LeadCapture(email=ANN, name="Ann"))
        world.rest()
        [(open_write, has_journal)] = seen
        assert (open_write["op"], open_write["intents"], has_journal) == ("create", [receipt.id], True)
        assert "Ann" not in str(open_write)

    def test_nothing_is_open_when_it_has_settled(self, world: World) -> None:
        world.do(LeadCapture(email=ANN, name="Ann"))
        assert {"open", "journal", "dirty", "token", "commit"}.isdisjoint(world.lane(ANN))

    def test_an_update_has_no_journal(self, world: World) -> None:
        world.do(LeadCapture(email=ANN, name="Ann"))
        seen: list[bool] = []
        world.when(op.Update, lambda: seen.append("journal" in world.lane(ANN)))
        world.do(LeadCapture(email=ANN, name="Anna"))
        assert seen == [False]


class TestUnknownResults:
    def test_a_users_create_is_found_by_its_external_id(self, world: World) -> None:
        world.fault("intercom", op.Create, "unanswered")
        outcome = world.do(ProductSignUp(email=ANN, external_id="u-1", name="Ann"))
        assert (outcome.result, outcome.adopted) == ("created", True)
        assert len(world.contacts(ANN)) == 1
        assert world.calls() == ["Search", "Create", "FindByExternalId"]

    def test_an_update_is_sent_again_and_no_fact_is_believed(self, world: World) -> None:
        world.do(LeadCapture(email=ANN, name="Ann"))
        world.fault("intercom", op.Update, "unanswered")
        world.calls()
        assert world.do(LeadCapture(email=ANN, name="Anna")).result == "updated"
        assert world.calls() == ["Update", "Update"]

    def test_it_waits_until_the_first_can_no_longer_commit(self, world: World) -> None:
        world.do(LeadCapture(email=ANN, name="Ann"))
        world.fault("intercom", op.Update, "committed_late")
        began = world.now
        world.do(LeadCapture(email=ANN, name="Anna"))
        assert 31 <= world.now - began < 34
        assert world.contacts(ANN)[0]["name"] == "Anna"

    def test_an_old_value_after_a_buried_write_is_written(self, make_world: MakeWorld) -> None:
        """Scenario 26."""
        world = make_world(knobs=with_attempts(1))
        world.do(LeadCapture(email=ANN, name="Ann"))
        world.fault("intercom", op.Update, "unanswered")
        assert world.do(LeadCapture(email=ANN, name="Zoe")).reason == "upstream_error"
        assert world.contacts(ANN)[0]["name"] == "Zoe"
        assert world.do(LeadCapture(email=ANN, name="Ann")).result == "updated"
        assert world.contacts(ANN)[0]["name"] == "Ann"

    def test_a_create_that_was_not_sent_leaves_no_journal(self, world: World) -> None:
        world.fault("intercom", op.Create, "not_sent")
        assert world.do(LeadCapture(email=ANN)).result == "created"
        assert world.calls() == ["Search", "Search", "Create"]
        assert len(world.contacts(ANN)) == 1


class TestBlame:
    """R95: a refused fold goes one by one; only the guilty one becomes a dead letter."""

    def test_poison_in_the_middle_of_a_fold(self, world: World) -> None:
        receipts = world.enqueue(
            LeadCapture(email=ANN, name="Ann"),
            LeadCapture(email=ANN, custom_attributes={"unknown": 1}),
            LeadCapture(email=ANN, phone="+353871234567"),
        )
        world.rest()
        assert [world.outcome(one).result for one in receipts] == ["created", "rejected", "updated"]  # type: ignore[union-attr]
        [contact] = world.contacts(ANN)
        assert (contact["name"], contact["phone"]) == ("Ann", "+353871234567")

    def test_a_dead_letter_keeps_payload_and_message(self, world: World) -> None:
        [receipt] = world.enqueue(LeadCapture(email=ANN, custom_attributes={"unknown": 1}))
        world.rest()
        assert "unknown" in world.hash("intent", receipt.id)["payload"]
        error = world.status(receipt).error
        assert error is not None
        assert "does not exist" in str(error.message)


class TestPutBack:
    """Nothing is dropped: whatever is in the way, the head stays the head."""

    @pytest.mark.parametrize(
        ("fault", "state"),
        [("throttled", "retrying"), ("not_sent", "retrying"), ("unanswered", "retrying")],
    )
    def test_a_search_fails_and_then_works(self, world: World, fault: str, state: str) -> None:
        world.fault("intercom", op.Search, fault)
        assert world.do(LeadCapture(email=ANN)).result == "created"
        [(_, _, (_, seen, _))] = [event for event in world.seen.events if event[0] == "put_back"]
        assert seen == state

    def test_waiting_costs_no_attempt(self, world: World) -> None:
        world.fault("intercom", op.Search, "throttled", times=3)
        [receipt] = world.enqueue(LeadCapture(email=ANN))
        world.rest()
        assert world.status(receipt).attempts == 1

    def test_too_many_failures_make_a_dead_letter_and_the_lane_goes_on(self, make_world: MakeWorld) -> None:
        world = make_world(knobs=with_attempts(2))
        world.fault("intercom", op.Search, "not_sent", times=2)
        outcome = world.do(LeadCapture(email=ANN, name="Ann"))
        assert (outcome.result, outcome.reason) == ("rejected", "upstream_error")
        assert world.do(LeadCapture(email=ANN, name="Anna")).result == "created"

    def test_the_dead_letter_keeps_what_intercom_said(self, make_world: MakeWorld) -> None:
        world = make_world(knobs=with_attempts(1))
        world.do(LeadCapture(email=ANN, name="Ann"))
        world.fault("intercom", op.Update, "error_after")
        [receipt] = world.enqueue(LeadCapture(email=ANN, name="Zoe"))
        world.rest()
        error = world.status(receipt).error
        assert error is not None
        assert (error.class_, error.http_status) == ("upstream_error", 502)

    def test_what_the_plan_does_not_have_is_a_dead_letter(self, world: World) -> None:
        world.answer(op.Create, op.Forbidden(op.Problem("forbidden", 403, "api_plan_restricted")))
        outcome = world.do(LeadCapture(email=ANN))
        assert (outcome.result, outcome.reason) == ("rejected", "forbidden")


class TestExternalIds:
    """One external id, two addresses."""

    def test_a_busy_one_is_waited_for_without_an_attempt(self, world: World) -> None:
        """The other lane's create may still commit: until then nobody writes to that external id."""
        world.fault("intercom", op.Create, "dropped")
        first, second = world.enqueue(
            ProductSignUp(email=BOB, external_id="u-1"), ContactSync(email=ANN, external_id="u-1")
        )
        world.run(20)
        assert (world.outcome(first), world.outcome(second)) == (None, None)
        assert world.status(second).attempts == 0
        world.rest()
        assert len(world.contacts(ANN)) == 1

    def test_an_address_moves_with_its_external_id(self, world: World) -> None:
        world.do(ContactSync(email=ANN, external_id="u-1", name="Ann"))
        world.calls()
        assert world.do(ContactSync(email=BOB, external_id="u-1")).result == "updated"
        assert world.calls() == ["Update"]
        assert (world.contacts(ANN), len(world.contacts(BOB))) == ([], 1)

    def test_the_old_address_no_longer_finds_the_moved_contact(self, world: World) -> None:
        world.do(ContactSync(email=ANN, external_id="u-1", name="Ann"))
        world.do(ContactSync(email=BOB, external_id="u-1"))
        world.run(7_200)
        assert world.do(LeadCapture(email=ANN, name="Somebody else")).result == "created"
        [moved] = world.contacts(BOB)
        assert moved["name"] == "Ann"
