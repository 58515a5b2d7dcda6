"""What no other test of a whole turn says: promises about dead workers, poison, haste, and discretion."""

from __future__ import annotations

from typing import Any

import pytest
import structlog
from onelane.identity import lane_id
from onelane_worker.ending import Row
from onelane_worker.turn import serve

from onelane import (
    ContactSync,
    ContactUpsert,
    EmailChange,
    LeadCapture,
    NewsletterOptIn,
    Outcome,
    ProductSignUp,
    Receipt,
)
from onelane.submission import prepare
from onelane_worker.planner import operations as op

from .days import Days
from .world import World

ANN, BOB = "ann@example.test", "bob@example.test"
MOVE = EmailChange(email=ANN, new_email=BOB)


def dies(operation: op.Operation) -> None:
    raise KeyboardInterrupt


def survives(operation: op.Operation) -> None:
    pass


def kill_the_worker(days: Days) -> None:
    """It dies at its next call, without a word; another one takes its place at once."""
    with pytest.raises(KeyboardInterrupt):
        days.live(days.now + 60)
    days.intercom.before_call = days.intercom.before_send = survives


def time_until_ended(days: Days, receipt: Receipt) -> float:
    """Seconds of the world's time, to half a second."""
    began = days.now
    while days.outcome(receipt) is None:
        assert days.now - began < 60
        days.live(days.now + 0.5)
    return days.now - began


class TestOnePerson:
    def test_two_forms_within_the_lag_make_one_lead(self, world: World) -> None:
        first, second = (world.do(LeadCapture(email=ANN, name=name)) for name in ("Ann", "Anna"))
        assert first.contact_id == second.contact_id
        assert [contact["name"] for contact in world.contacts(ANN)] == ["Anna"]


class TestAtOnce:
    """The index lags for an hour here, and the due timer never looks."""

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
    def test_a_newcomer_is_there_when_the_turn_ends(self, world: World, intent: Any) -> None:
        [receipt] = world.enqueue(intent)
        world.run()
        assert world.outcome(receipt) is not None
        assert len(world.contacts(ANN)) == 1

    def test_so_is_a_change_right_behind(self, world: World) -> None:
        receipts = world.enqueue(LeadCapture(email=ANN), ProductSignUp(email=ANN, external_id="u-1"))
        world.run()
        assert [world.outcome(receipt) is not None for receipt in receipts] == [True, True]
        assert [contact["role"] for contact in world.contacts(ANN)] == ["user"]


class TestDeadWorker:
    """kill -9. The settings are those of production."""

    def test_another_one_goes_on_within_a_lease_and_a_second(self, days: Days) -> None:
        [receipt] = days.enqueue(LeadCapture(email=ANN, name="Ann"))
        days.intercom.before_call = dies
        kill_the_worker(days)
        assert time_until_ended(days, receipt) <= days.settings.lease_s + 1

    def test_with_a_write_in_flight_when_that_can_no_longer_commit(self, days: Days) -> None:
        days.enqueue_now(LeadCapture(email=ANN, name="Ann"))
        days.live_until_rest(within_s=5)
        [receipt] = days.enqueue(LeadCapture(email=ANN, name="Anna"))
        days.intercom.before_send = dies
        kill_the_worker(days)
        commit_s = days.settings.commit_ms / 1000
        assert commit_s <= time_until_ended(days, receipt) <= commit_s + 1
        assert [contact["name"] for contact in days.contacts(ANN)] == ["Anna"]


class TestMessages:
    def test_a_lost_one_costs_seconds(self, days: Days) -> None:
        [receipt] = days.enqueue(LeadCapture(email=ANN))
        days.broker.turns.clear()
        for _ in range(5):
            days.live(days.now + 1)
        assert days.outcome(receipt) is not None

    def test_doubled_and_late_ones_change_nothing(self, days: Days) -> None:
        """Every message comes three times, the newest first."""
        receipts = days.enqueue(*(LeadCapture(email=ANN, name=f"N{n}") for n in range(3)), MOVE)
        seen = []
        for _ in range(5):
            days.broker.turns = [*days.broker.turns, *seen, *seen][::-1]
            seen = list(dict.fromkeys(days.broker.turns))
            days.live(days.now + 1)
        assert [days.outcome(receipt) is not None for receipt in receipts] == [True] * 4
        assert [event[1] for event in days.seen.events if event[0] == "ended"] == [one.id for one in receipts]
        assert [contact["name"] for contact in days.contacts(BOB)] == ["N2"]


class TestChanges:
    def test_two_that_cross_never_wait_for_each_other(self, days: Days) -> None:
        """Two producers at the same moment: both changes are stored before either keeps its place."""
        days.do(ProductSignUp(email=ANN, external_id="u-1"))
        days.do(ProductSignUp(email=BOB, external_id="u-2"))
        receipts, gates = [], []
        for move in (MOVE, EmailChange(email=BOB, new_email=ANN)):
            submission = prepare(move, days.queue.settings)
            [reply] = days.queue._run([submission.call])
            receipt, turn = submission.accepted(reply)
            receipts.append(receipt)
            days.broker.turns += [turn] if turn else []
            gates += [gate for gate in [submission.gate(reply)] if gate]
        days.queue._run(gates)
        days.live(days.now + 60)
        assert [days.outcome(receipt) is not None for receipt in receipts] == [True, True]


class TestUnseen:
    def test_a_hidden_user_gets_our_lead_a_window_later(self, days: Days) -> None:
        user = days.seed(role="user", email=ANN, external_id="u-1")
        lead = days.do(LeadCapture(email=ANN, name="Ann"))
        assert lead.result == "created"
        days.live(days.now + days.settings.settle_window_s + 5)
        left = [(one["id"], one["name"]) for one in days.contacts(ANN) if not one["merged_into"]]
        assert left == [(user["id"], "Ann")]


class TestPoison:
    def test_what_kills_its_worker_three_times_is_a_dead_letter(self, days: Days) -> None:
        poison, mate = days.enqueue(LeadCapture(email=ANN, name="Poison"), LeadCapture(email=ANN, name="Ann"))
        [other] = days.enqueue(LeadCapture(email=BOB))
        deaths: list[op.Operation] = []

        def poisonous(operation: op.Operation) -> None:
            if isinstance(operation, op.Search) and ANN in operation.emails and len(deaths) < 3:
                deaths.append(operation)
                raise KeyboardInterrupt

        days.intercom.before_call = poisonous
        for _ in range(3):
            with pytest.raises(KeyboardInterrupt):
                days.live(days.now + 60)
        days.live(days.now + 60)

        ended = [days.outcome(receipt) for receipt in (poison, mate, other)]
        assert [one.result if one else None for one in ended] == ["rejected", "created", "created"]
        assert ended[0] is not None
        assert ended[0].reason == "killed_worker"
        assert [contact["name"] for contact in days.contacts(ANN)] == ["Ann"]


class _Rows:
    """An observer that keeps what Flower would show."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def ended(self, row: Row, outcome: Outcome) -> None:
        self.told.append((row, outcome))

    def buried(self, row: Row, outcome: Outcome, problem: op.Problem) -> None:
        self.told.append((row, outcome))

    def put_back(self, row: Row, problem: op.Problem, state: str, delay_s: float) -> None:
        self.told.append((row, problem, state))


class TestDiscretion:
    def test_no_address_is_seen_outside(self, world: World) -> None:
        """In keys, messages, log lines, and what Flower and the timeline are told."""
        rows, turns = _Rows(), []
        world.seed(role="user", email=ANN, external_id="u-1")
        trouble: list[op.Reply] = [op.Unknown(op.Problem("timeout"))]
        world.gateway.after = lambda operation, reply: trouble.pop() if trouble else reply
        receipts = world.enqueue(
            ProductSignUp(email=ANN, external_id="u-1", dedupe_key=ANN),
            ContactSync(email=ANN, external_id="u-1", name="Ann"),
            LeadCapture(email=ANN, custom_attributes={"unknown": ANN}),
        )
        with structlog.testing.capture_logs() as lines:
            for _ in range(50):
                turns += world.broker.turns
                while world.broker.turns:
                    turn = world.broker.turns.pop(0)
                    serve(world.deps, turn.lane, turn.queue, turn.seq, rows)
                world.tick()
        assert all(world.outcome(receipt) for receipt in receipts)
        outside = [*map(str, world.redis.scan_iter()), *map(repr, turns), *map(str, lines)]
        outside += map(repr, rows.told)
        assert lane_id(ANN) in str(outside)
        assert [text for text in outside if "ann@" in text.lower()] == []
