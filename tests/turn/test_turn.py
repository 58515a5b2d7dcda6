"""The turn: what is recorded before a write, what is blamed, what is put back, and that the lane goes on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from onelane.identity import lane_id
from onelane_worker.turn import serve
from redis import Redis

from onelane import ContactSync, LeadCapture, NewsletterOptIn, ProductSignUp, keyspace
from onelane_worker.lanes.model import Refused
from onelane_worker.planner import operations as op

from .world import TIMING, World

ANN = "ann@example.test"
LANE = lane_id(ANN)
BROKEN = op.Problem("server_error", 502)


class TestCalls:
    """How many calls an intent costs."""

    def test_newcomer_costs_two(self, world: World) -> None:
        assert world.do(NewsletterOptIn(email=ANN, name="Ann")).calls == 2
        assert world.calls() == ["Search", "Create"]

    def test_believed_change_costs_one(self, world: World) -> None:
        world.do(LeadCapture(email=ANN, name="Ann"))
        world.calls()
        assert world.do(LeadCapture(email=ANN, name="Anna")).result == "updated"
        assert world.calls() == ["Update"]

    def test_believed_no_op_costs_none(self, world: World) -> None:
        world.do(LeadCapture(email=ANN, name="Ann"))
        world.calls()
        assert world.do(LeadCapture(email=ANN, name="Ann")).result == "unchanged"
        assert world.calls() == []

    def test_cold_existing_contact_costs_three(self, world: World) -> None:
        world.seed(role="user", email=ANN)
        world.sandbox.catch_up()
        assert world.do(LeadCapture(email=ANN, name="Ann")).calls == 3
        assert world.calls() == ["Search", "Read", "Update"]

    def test_cold_sync_of_a_known_external_id_costs_two(self, world: World) -> None:
        world.seed(role="user", email=ANN, external_id="u-1")
        assert world.do(ContactSync(email=ANN, external_id="u-1", name="Ann")).calls == 2
        assert world.calls() == ["FindByExternalId", "Update"]


class TestRecordBeforeWrite:
    """Law 3: at the moment of sending, Redis knows of the write."""

    def test_open_write_and_journal_stand_when_a_create_is_sent(self, world: World) -> None:
        seen = []
        world.gateway.on_record = lambda operation: seen.append(
            (type(operation).__name__, world.open_write(LANE), world.store.describe(LANE).journal is not None)
        )
        receipt = world.enqueue(LeadCapture(email=ANN, name="Ann"))[0]
        world.run()
        [(name, open_write, journal)] = seen
        assert (name, journal) == ("Create", True)
        assert open_write is not None
        assert open_write["intents"] == [receipt.id]
        assert "Ann" not in str(open_write)

    def test_nothing_is_open_after_a_settle(self, world: World) -> None:
        world.do(LeadCapture(email=ANN, name="Ann"))
        view = world.store.describe(LANE)
        assert (view.open_write, view.journal, view.dirty, view.holder) == (None, None, False, None)

    def test_update_has_no_journal(self, world: World) -> None:
        world.do(LeadCapture(email=ANN, name="Ann"))
        seen = []
        world.gateway.on_record = lambda operation: seen.append(world.store.describe(LANE).journal)
        world.do(LeadCapture(email=ANN, name="Anna"))
        assert seen == [None]


class TestUnknownResults:
    def test_lost_answer_of_a_user_create_is_found_by_its_external_id(self, world: World) -> None:
        world.gateway.after = _lose_once(op.Create)
        outcome = world.do(ProductSignUp(email=ANN, external_id="u-1", name="Ann"))
        assert (outcome.result, outcome.adopted) == ("created", True)
        assert len(world.contacts(ANN)) == 1
        assert world.calls() == ["Search", "Create", "FindByExternalId"]

    def test_lost_update_is_sent_again_and_facts_are_not_believed(self, world: World) -> None:
        world.do(LeadCapture(email=ANN, name="Ann"))
        world.gateway.after = _lose_once(op.Update)
        world.calls()
        assert world.do(LeadCapture(email=ANN, name="Anna")).result == "updated"
        assert world.calls() == ["Update", "Update"]

    def test_old_value_after_an_unknown_and_buried_write_is_written(self, redis: Redis) -> None:
        world = World(redis, timing=replace(TIMING, max_attempts=1))
        world.do(LeadCapture(email=ANN, name="Ann"))
        world.gateway.after = _lose_once(op.Update)
        assert world.do(LeadCapture(email=ANN, name="Zoe")).reason == "upstream_error"
        assert world.contacts(ANN)[0]["name"] == "Zoe"
        assert world.do(LeadCapture(email=ANN, name="Ann")).result == "updated"
        assert world.contacts(ANN)[0]["name"] == "Ann"
        world.close()

    def test_provably_unsent_create_leaves_no_journal(self, world: World) -> None:
        world.gateway.before = _answer_once(op.Create, op.NotSent(op.Problem("network")))
        assert world.do(LeadCapture(email=ANN)).result == "created"
        assert world.calls() == ["Search", "Create", "Search", "Create"]
        assert len(world.contacts(ANN)) == 1


class TestBlame:
    """R95: a refused fold goes one by one; only the guilty one dies."""

    def test_poison_in_the_middle_of_a_fold(self, world: World) -> None:
        receipts = world.enqueue(
            LeadCapture(email=ANN, name="Ann"),
            LeadCapture(email=ANN, custom_attributes={"unknown": 1}),
            LeadCapture(email=ANN, phone="+353871234567"),
        )
        world.run_until(lambda: all(world.outcome(receipt) for receipt in receipts))
        outcomes = [world.outcome(receipt) for receipt in receipts]
        assert [o.result for o in outcomes if o] == ["created", "rejected", "updated"]
        [contact] = world.contacts(ANN)
        assert (contact["name"], contact["phone"]) == ("Ann", "+353871234567")

    def test_dead_letter_keeps_payload_and_message(self, world: World) -> None:
        [receipt] = world.enqueue(LeadCapture(email=ANN, custom_attributes={"unknown": 1}))
        world.run()
        letter = world.store.dead_letter(receipt.id)
        assert letter is not None
        assert "unknown" in letter.payload
        assert "does not exist" in (letter.error or "")


class TestPutBack:
    """Nothing is dropped: whatever is in the way, the head stays the head."""

    @pytest.mark.parametrize(
        ("reply", "state"),
        [
            (op.Throttled(0.001, op.Problem("rate_limited", 429)), "retrying"),
            (op.Stopped(op.Problem("unauthorized", 401)), "parked"),
            (op.NotSent(op.Problem("network")), "retrying"),
            (op.Unknown(BROKEN), "retrying"),
        ],
    )
    def test_search_fails_then_works(self, world: World, reply: op.Reply, state: str) -> None:
        world.gateway.before = _answer_once(op.Search, reply)
        assert world.do(LeadCapture(email=ANN)).result == "created"
        [(_, _, (_, seen_state, _))] = [event for event in world.seen.events if event[0] == "put_back"]
        assert seen_state == state

    def test_waiting_and_stopping_cost_no_attempt(self, world: World) -> None:
        answers = iter(
            [
                op.Throttled(0.001, op.Problem("rate_limited", 429)),
                op.Stopped(op.Problem("unauthorized", 401)),
            ]
        )
        world.gateway.before = lambda operation: next(answers, None)
        [receipt] = world.enqueue(LeadCapture(email=ANN))
        world.run_until(lambda: world.outcome(receipt) is not None)
        status = world.queue.status(receipt.id)
        assert status is not None
        assert status.attempts == 1
        assert world.limiter.throttles == [0.001]

    def test_too_many_failures_make_a_dead_letter_and_the_lane_goes_on(self, redis: Redis) -> None:
        world = World(redis, timing=replace(TIMING, max_attempts=2))
        world.gateway.before = lambda operation: (
            None if isinstance(operation, op.Probe) else op.NotSent(op.Problem("network", message="refused"))
        )
        [receipt] = world.enqueue(LeadCapture(email=ANN, name="Ann"))
        world.run_until(lambda: world.outcome(receipt) is not None)
        outcome = world.outcome(receipt)
        assert outcome is not None
        assert (outcome.result, outcome.reason) == ("rejected", "upstream_error")
        world.gateway.before = lambda operation: None
        assert world.do(LeadCapture(email=ANN, name="Anna")).result == "created"
        world.close()

    def test_what_the_plan_does_not_have_is_a_dead_letter(self, world: World) -> None:
        restricted = op.Problem("forbidden", 403, "api_plan_restricted")
        world.gateway.before = _answer_once(op.Create, op.Forbidden(restricted))
        outcome = world.do(LeadCapture(email=ANN))
        assert (outcome.result, outcome.reason) == ("rejected", "forbidden")

    def test_forbidden_with_a_dead_token_stops_the_line(self, world: World) -> None:
        answers = iter(
            [None, op.Forbidden(op.Problem("forbidden", 403)), op.Stopped(op.Problem("unauthorized", 401))]
        )
        world.gateway.before = lambda operation: next(answers, None)
        assert world.do(LeadCapture(email=ANN)).result == "created"
        assert [event[2][1] for event in world.seen.events if event[0] == "put_back"] == ["parked"]


class TestTurnsAreHints:
    """Law 1: lost, doubled and late turns change nothing."""

    def test_doubled_turn_ends_quietly(self, world: World) -> None:
        world.enqueue(LeadCapture(email=ANN))
        [turn] = world.broker.turns
        world.run()
        refused = serve(world.deps, turn.lane, turn.queue, turn.seq, world.seen)
        assert isinstance(refused, Refused)
        assert refused.reason == "asleep"
        assert len(world.contacts(ANN)) == 1

    def test_intents_behind_the_head_are_served_in_order_by_one_turn(self, world: World) -> None:
        receipts = world.enqueue(
            LeadCapture(email=ANN, name="Ann"),
            ProductSignUp(email=ANN, external_id="u-1"),
            NewsletterOptIn(email=ANN),
        )
        assert len(world.broker.turns) == 1
        world.run()
        assert [event[1] for event in world.seen.events] == [receipt.id for receipt in receipts]
        assert [contact["role"] for contact in world.contacts(ANN)] == ["user"]

    def test_a_used_up_slice_hands_the_lane_on(self, redis: Redis) -> None:
        world = World(redis, timing=replace(TIMING, slice_intents=1))
        world.enqueue(LeadCapture(email=ANN, name="Ann"), ProductSignUp(email=ANN, external_id="u-1"))
        turn = world.broker.turns.pop(0)
        serve(world.deps, turn.lane, turn.queue, turn.seq, world.seen)
        assert len(world.broker.turns) == 1
        assert world.broker.turns[0].seq > turn.seq
        world.run()
        assert len(world.seen.events) == 2
        world.close()


class TestExternalIds:
    """One external id, two addresses."""

    def test_busy_external_id_puts_back_without_an_attempt(self, world: World) -> None:
        other = world.queue.enqueue(ProductSignUp(email="old@example.test", external_id="u-1"))
        turn = world.broker.turns.pop()
        grant = world.store.claim(turn.lane, turn.queue, turn.seq, "elsewhere")
        assert not isinstance(grant, Refused)
        assert world.store.take_leaf("u-1", grant).owned
        [receipt] = world.enqueue(ContactSync(email=ANN, external_id="u-1"))
        world.run()
        status = world.queue.status(receipt.id)
        assert status is not None
        assert (status.state, status.attempts) == ("retrying", 0)
        assert status.error is not None
        assert status.error.class_ == "external_id_busy"
        assert world.outcome(other) is None

    def test_address_moves_with_its_external_id(self, world: World) -> None:
        world.do(ContactSync(email=ANN, external_id="u-1", name="Ann"))
        world.calls()
        outcome = world.do(ContactSync(email="new@example.test", external_id="u-1"))
        assert outcome.result == "updated"
        assert world.calls() == ["Update"]
        assert world.contacts(ANN) == []
        assert len(world.contacts("new@example.test")) == 1

    def test_a_holder_that_settles_late_believes_an_address_that_is_no_more(self, world: World) -> None:
        """It had given the external id back, and another lane has moved the contact before it settled."""
        settle, late = world.store.settle, [True]

        def slow(*args: Any, **more: Any) -> Any:
            if late:
                late.clear()
                world.do(ContactSync(email="new@example.test", external_id="u-1"))
            return settle(*args, **more)

        world.store.settle = slow  # type: ignore[method-assign, assignment]
        world.do(ContactSync(email=ANN, external_id="u-1", name="Ann"))
        assert [contact["name"] for contact in world.contacts("new@example.test")] == ["Ann"]
        assert world.do(ContactSync(email=ANN, external_id="u-1")).result == "updated"
        assert [contact["name"] for contact in world.contacts(ANN)] == ["Ann"]

    def test_old_address_no_longer_finds_the_moved_contact(self, world: World) -> None:
        world.do(ContactSync(email=ANN, external_id="u-1", name="Ann"))
        world.do(ContactSync(email="new@example.test", external_id="u-1"))
        world.now += 7200
        outcome = world.do(LeadCapture(email=ANN, name="Somebody else"))
        assert outcome.result in {"created", "updated"}
        [moved] = world.contacts("new@example.test")
        assert moved["name"] == "Ann"


def _lose_once(kind: type):  # type: ignore[no-untyped-def]
    """The first answer to such an operation is lost, after it took effect."""
    lost: list[op.Operation] = []

    def after(operation: op.Operation, reply: op.Reply) -> op.Reply:
        if isinstance(operation, kind) and not lost:
            lost.append(operation)
            return op.Unknown(BROKEN)
        return reply

    return after


def _answer_once(kind: type, reply: op.Reply):  # type: ignore[no-untyped-def]
    """The first such operation is answered so, without effect."""
    answered: list[op.Operation] = []

    def before(operation: op.Operation) -> op.Reply | None:
        if isinstance(operation, kind) and not answered:
            answered.append(operation)
            return reply
        return None

    return before


class TestUnreadable:
    """A newer producer's intent: it waits for a newer worker, says so, and nothing before it is held up."""

    def spoil(self, world: World, intent_id: str) -> None:
        key = keyspace.intent(intent_id)
        payload = world.redis.hget(key, "payload")
        assert payload is not None
        world.redis.hset(key, "payload", str(payload).replace("lead_capture", "from_tomorrow"))

    def test_the_head_waits_and_says_why(self, world: World) -> None:
        [receipt] = world.enqueue(LeadCapture(email=ANN))
        self.spoil(world, receipt.id)
        world.run()
        status = world.queue.status(receipt.id)
        assert status is not None
        assert status.error is not None
        assert (status.state, status.attempts, status.error.class_) == ("parked", 0, "unreadable")

    def test_what_stands_before_it_is_served(self, world: World) -> None:
        first, second = world.enqueue(LeadCapture(email=ANN), LeadCapture(email=ANN, name="Ann"))
        self.spoil(world, second.id)
        world.run()
        outcome = world.outcome(first)
        assert outcome is not None
        assert outcome.result == "created"


class TestGivingUp:
    def test_the_dead_letter_keeps_what_intercom_said(self, redis: Redis) -> None:
        world = World(redis, timing=replace(TIMING, max_attempts=1))
        world.do(LeadCapture(email=ANN, name="Ann"))
        world.gateway.after = _lose_once(op.Update)
        [receipt] = world.enqueue(LeadCapture(email=ANN, name="Zoe"))
        world.run_until(lambda: world.outcome(receipt) is not None)
        status = world.queue.status(receipt.id)
        assert status is not None
        assert status.error is not None
        assert (status.error.class_, status.error.http_status) == ("upstream_error", 502)
        world.close()
