"""A change of address: one person, two lanes, and whatever happens in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from onelane.identity import lane_id
from onelane_worker.turn import serve
from redis import Redis
from tests.lanes.laws import check_laws, check_nothing_empty

from onelane import (
    ContactSync,
    EmailChange,
    InvalidIntent,
    LeadCapture,
    NewsletterOptIn,
    NewsletterOptOut,
    Outcome,
    ProductSignUp,
    Receipt,
)
from onelane.submission import Submission, prepare
from onelane_sandbox.rules import Request
from onelane_worker.lanes.model import Grant, Refused
from onelane_worker.planner import operations as op
from onelane_worker.planner.policy import Policy

from .world import World

ANN, BOB, CAT = "ann@example.test", "bob@example.test", "cat@example.test"
MOVE = EmailChange(email=ANN, new_email=BOB)


def ends(world: World, receipts: list[Receipt]) -> list[Outcome]:
    """Work until all have ended."""
    world.run_until(lambda: all(world.outcome(receipt) for receipt in receipts))
    return [outcome for receipt in receipts if (outcome := world.outcome(receipt))]


def once(kind: type[Any], reply: op.Reply) -> Callable[[op.Operation], op.Reply | None]:
    left = [reply]
    return lambda operation: left.pop() if isinstance(operation, kind) and left else None


def check(world: World) -> None:
    seconds, micros = world.redis.time()  # type: ignore[misc]
    check_laws(world.redis, int(seconds) * 1000 + int(micros) // 1000)
    check_nothing_empty(world.redis)


class TestScenario19:
    """A moves to B; intents for A and for B follow within the index' lag."""

    def test_both_lanes_end_right(self, world: World) -> None:
        made = world.do(ProductSignUp(email=ANN, external_id="u-1", name="Ann"))
        receipts = world.enqueue(
            MOVE,
            LeadCapture(email=BOB, name="Bob"),
            LeadCapture(email=ANN, name="Anew"),
            LeadCapture(email=BOB),
        )
        moved, at_new, at_old, again = ends(world, receipts)
        assert (moved.result, moved.contact_id) == ("updated", made.contact_id)
        assert (at_new.contact_id, at_new.result) == (made.contact_id, "updated")
        assert again.applied_with == (receipts[1].id,)
        assert (at_old.result, at_old.contact_id) == ("created", world.contacts(ANN)[0]["id"])
        assert [contact["name"] for contact in world.contacts(BOB)] == ["Bob"]
        check(world)

    def test_the_index_goes_on_showing_the_old_address(self, world: World) -> None:
        user = world.seed(role="user", email=ANN, external_id="u-1")
        world.sandbox.catch_up()
        assert world.do(MOVE).contact_id == user["id"]
        assert world.do(LeadCapture(email=BOB, name="Bob")).contact_id == user["id"]
        assert world.do(LeadCapture(email=ANN)).result == "created"

    def test_a_believed_change_costs_a_search_and_a_write(self, world: World) -> None:
        world.do(LeadCapture(email=ANN))
        world.calls()
        world.do(MOVE)
        world.do(LeadCapture(email=BOB))
        assert world.calls() == ["Search", "Update"]

    def test_an_external_id_moves_with_it(self, world: World) -> None:
        world.do(ProductSignUp(email=ANN, external_id="u-1"))
        outcome = world.do(EmailChange(email=ANN, new_email=BOB, external_id="u-1"))
        synced = world.do(ContactSync(email=BOB, external_id="u-1", name="Bob"))
        assert outcome.contact_id == synced.contact_id
        assert len(world.sandbox.contacts()) == 1

    def test_it_holds_the_external_id_that_the_contact_has(self, world: World) -> None:
        """Another address may be at work on the same external id."""
        world.do(ProductSignUp(email=ANN, external_id="u-1"))
        [other] = world.enqueue(LeadCapture(email=CAT))
        grant = world.store.claim(other.lane, "interactive", 0, "token")
        assert isinstance(grant, Grant)
        assert world.store.take_leaf("u-1", grant).owned
        [receipt] = world.enqueue(MOVE)
        world.broker.turns = [turn for turn in world.broker.turns if turn.lane == receipt.lane]
        world.run()
        assert world.outcome(receipt) is None
        assert "Update" not in world.calls()
        world.store.give_leaf("u-1", grant)
        assert ends(world, [receipt])[0].result == "updated"

    def test_the_last_word_on_consent_goes_along(self, world: World) -> None:
        world.do(LeadCapture(email=ANN))
        world.do(NewsletterOptOut(email=ANN))
        opted_out_ms = world.store.describe(lane_id(ANN)).memory
        world.do(MOVE)
        assert world.store.describe(lane_id(BOB)).memory == opted_out_ms


class TestWhoIsThere:
    """The decision table, as far as two addresses meet."""

    def test_nobody_at_the_old_address_but_somebody_at_the_new(self, world: World) -> None:
        user = world.seed(role="user", email=BOB)
        world.sandbox.catch_up()
        assert world.do(MOVE).model_dump(include={"result", "contact_id"}) == {
            "result": "unchanged", "contact_id": user["id"]
        }  # fmt: skip

    def test_nobody_anywhere(self, redis: Redis) -> None:
        world = World(redis, policy=Policy(settle_window_ms=50))
        outcome = world.do(MOVE)
        assert (outcome.result, outcome.reason) == ("skipped", "not_found")
        world.close()

    def test_a_skipped_change_gives_the_external_id_back(self, redis: Redis) -> None:
        """Else the next address that names it waits until the lock ends by itself: some 36 s."""
        world = World(redis, policy=Policy(settle_window_ms=50))
        skipped = world.do(EmailChange(email=ANN, new_email=BOB, external_id="u-1"))
        assert skipped.result == "skipped"
        [receipt] = world.enqueue(ProductSignUp(email=CAT, external_id="u-1"))
        world.run()
        outcome = world.outcome(receipt)
        assert outcome is not None
        assert outcome.result == "created"
        world.close()

    def test_who_lives_at_the_new_address_has_not_moved(self, redis: Redis) -> None:
        """Nobody went from A to B; then whoever is at B goes to A, and is not taken for one who has left."""
        world = World(redis, policy=Policy(settle_window_ms=50))
        other = world.seed(role="user", email=BOB, external_id="u-2")
        world.sandbox.catch_up()
        nobody = world.do(EmailChange(email=ANN, new_email=BOB, external_id="u-1"))
        assert nobody.result == "skipped"
        back = world.do(EmailChange(email=BOB, new_email=ANN))
        assert (back.result, back.contact_id) == ("updated", other["id"])
        world.close()

    def test_user_meets_a_lead_of_ours(self, world: World) -> None:
        user = world.do(ProductSignUp(email=ANN, external_id="u-1"))
        lead = world.do(LeadCapture(email=BOB, phone="+353871234567"))
        outcome = world.do(MOVE)
        assert (outcome.contact_id, outcome.merged) == (user.contact_id, (lead.contact_id,))
        assert [contact["phone"] for contact in world.contacts(BOB) if not contact["merged_into"]] == [
            "+353871234567"
        ]

    def test_user_meets_a_stranger_lead(self, world: World) -> None:
        world.do(ProductSignUp(email=ANN, external_id="u-1"))
        lead = world.seed(role="lead", email=BOB)
        world.sandbox.catch_up()
        outcome = world.do(MOVE)
        assert (outcome.result, outcome.merged, outcome.other_contacts) == ("updated", (), (lead["id"],))

    def test_lead_meets_a_user(self, world: World) -> None:
        world.do(LeadCapture(email=ANN, phone="+353871234567"))
        user = world.do(ProductSignUp(email=BOB, external_id="u-1"))
        outcome = world.do(MOVE)
        assert (outcome.result, outcome.contact_id) == ("updated", user.contact_id)
        assert len(outcome.merged) == 1
        assert world.do(LeadCapture(email=BOB)).contact_id == user.contact_id

    @pytest.mark.parametrize("role", ["lead", "user"])
    def test_taken(self, world: World, role: str) -> None:
        intents = {"lead": LeadCapture, "user": ProductSignUp}
        named = [{"external_id": word} if role == "user" else {} for word in ("u-1", "u-2")]
        world.do(intents[role](email=ANN, **named[0]))
        holder = world.do(intents[role](email=BOB, **named[1]))
        outcome = world.do(MOVE)
        assert (outcome.reason, outcome.other_contacts) == ("address_taken", (holder.contact_id,))
        assert world.do(LeadCapture(email=BOB, name="Bob")).contact_id == holder.contact_id
        check(world)

    def test_invisible_holder_is_named_by_a_conflict(self, world: World) -> None:
        world.sandbox.switch_all({"put_email_conflict": "409"})
        world.do(ProductSignUp(email=ANN, external_id="u-1"))
        holder = world.seed(role="user", email=BOB, external_id="u-2")
        outcome = world.do(MOVE)
        assert (outcome.reason, outcome.other_contacts) == ("address_taken", (holder["id"],))

    def test_two_users_and_no_external_id(self, world: World) -> None:
        world.sandbox.switch_all({"email_conflict": "external_id_wins"})
        for external_id in ("u-1", "u-2"):
            world.seed(role="user", email=ANN, external_id=external_id)
        world.sandbox.catch_up()
        assert world.do(MOVE).reason == "ambiguous"
        named = world.do(EmailChange(email=ANN, new_email=BOB, external_id="u-2"))
        assert named.result == "updated"
        assert [contact["external_id"] for contact in world.contacts(ANN)] == ["u-1"]
        assert [contact["external_id"] for contact in world.contacts(BOB)] == ["u-2"]

    def test_archived(self, redis: Redis) -> None:
        world = World(redis, policy=Policy(settle_window_ms=50))
        user = world.do(ProductSignUp(email=ANN, external_id="u-1"))
        world.sandbox.handle(_request("POST", f"/contacts/{user.contact_id}/archive"), world.now)
        assert world.do(MOVE).reason == "archived"
        world.close()


class TestGates:
    """What is accepted for the new address waits behind the change; no two changes wait for each other."""

    def test_later_intents_wait_and_earlier_ones_do_not(self, world: World) -> None:
        world.do(ProductSignUp(email=ANN, external_id="u-1"))
        world.broker.turns.clear()
        before, move, after = world.enqueue(LeadCapture(email=BOB), MOVE, LeadCapture(email=BOB, name="Bob"))
        turns = world.broker.turns
        world.broker.turns = [turn for turn in turns if turn.lane == lane_id(BOB)]
        world.run()
        assert world.outcome(before) is not None
        assert world.outcome(after) is None
        world.broker.turns += turns
        ends(world, [before, move, after])
        assert [contact["name"] for contact in world.contacts(BOB) if not contact["merged_into"]] == ["Bob"]
        check(world)

    def test_a_gated_lane_is_refused_and_not_forgotten(self, world: World) -> None:
        world.enqueue(MOVE, LeadCapture(email=BOB))
        world.redis.zrem(f"onelane:{{{lane_id(BOB)[0]}}}:due", lane_id(BOB))
        refused = world.store.claim(lane_id(BOB), "interactive", 0, "token")
        assert isinstance(refused, Refused)
        assert refused.reason == "gated"
        again = world.store.claim(lane_id(BOB), "interactive", 0, "token")
        assert again == refused
        check(world)

    @pytest.mark.parametrize("order", [(0, 1), (1, 0)])
    def test_two_that_cross_both_end(self, world: World, order: tuple[int, int]) -> None:
        world.do(ProductSignUp(email=ANN, external_id="u-1"))
        world.do(ProductSignUp(email=BOB, external_id="u-2"))
        moves = [MOVE, EmailChange(email=BOB, new_email=ANN)]
        receipts = _interleaved(world, [moves[i] for i in order])
        outcomes = ends(world, receipts)
        assert {outcome.reason for outcome in outcomes} == {"address_taken"}
        check(world)

    def test_three_in_a_ring_all_end_with_intents_between(self, world: World) -> None:
        ring = [(ANN, BOB), (BOB, CAT), (CAT, ANN)]
        for email, _ in ring:
            world.do(LeadCapture(email=email))
        moves = [EmailChange(email=a, new_email=b) for a, b in ring]
        receipts = _interleaved(world, moves, between=[LeadCapture(email=email) for email, _ in ring])
        assert len(ends(world, receipts)) == 6
        check(world)

    def test_producer_dies_before_its_gate(self, world: World) -> None:
        world.do(ProductSignUp(email=ANN, external_id="u-1"))
        [receipt] = _interleaved(world, [MOVE], gates=False)
        later = world.enqueue(LeadCapture(email=BOB))
        assert ends(world, [receipt, *later])[0].result == "updated"
        check(world)

    def test_gate_comes_after_the_change_has_ended(self, world: World) -> None:
        world.do(ProductSignUp(email=ANN, external_id="u-1"))
        calls: list[Any] = []
        [receipt] = _interleaved(world, [MOVE], gates=False, kept=calls)
        ends(world, [receipt])
        world.queue._run(calls)
        world.queue._run(calls)
        assert world.store.describe(lane_id(BOB)).intents == ()
        assert world.do(LeadCapture(email=BOB)).result == "unchanged"
        check(world)

    def test_gate_whose_change_is_dead_is_cleared_away(self, world: World) -> None:
        world.gateway.before = once(op.Search, op.Refused(op.Problem("refused", 400)))
        receipts = world.enqueue(MOVE, LeadCapture(email=BOB))
        assert [outcome.result for outcome in ends(world, receipts)] == ["rejected", "created"]
        check(world)

    def test_gate_of_a_lost_change_does_not_hold_the_lane(self, world: World) -> None:
        [receipt] = world.enqueue(MOVE)
        world.redis.delete(f"onelane:{{{lane_id(ANN)[0]}}}:intent:{receipt.id}")
        [later] = world.enqueue(LeadCapture(email=BOB))
        world.redis.zrem(f"onelane:{{{lane_id(BOB)[0]}}}:due", lane_id(BOB))
        serve(world.deps, lane_id(BOB), "interactive", 0, world.seen)
        world.broker.turns = [turn for turn in world.broker.turns if turn.lane == lane_id(BOB)]
        assert ends(world, [later])[0].result == "created"

    def test_duplicate_makes_no_second_gate(self, world: World) -> None:
        keyed = EmailChange(email=ANN, new_email=BOB, dedupe_key="k")
        first, second = world.enqueue(keyed, keyed)
        assert (second.id, second.duplicate) == (first.id, True)
        assert len(world.store.describe(lane_id(BOB)).intents) == 1
        check(world)

    def test_many_at_once_keep_their_gates(self, world: World) -> None:
        world.do(ProductSignUp(email=ANN, external_id="u-1"))
        receipts = world.queue.enqueue_many(
            [MOVE, EmailChange(email=BOB, new_email=CAT), LeadCapture(email=CAT)]
        )
        outcomes = ends(world, receipts)
        assert [outcome.result for outcome in outcomes] == ["updated", "updated", "unchanged"]
        assert len(world.contacts(CAT)) == 1
        check(world)


class TestCrash:
    def test_in_the_middle_of_the_write(self, world: World) -> None:
        """The worker dies when Intercom has done it: the next holder goes on, and nobody else meanwhile."""
        world.do(ProductSignUp(email=ANN, external_id="u-1"))

        def die(operation: op.Operation, reply: op.Reply) -> op.Reply:
            if isinstance(operation, op.Update):
                raise KeyboardInterrupt
            return reply

        world.gateway.after = die
        receipts = world.enqueue(MOVE, LeadCapture(email=BOB, name="Bob"))
        with pytest.raises(KeyboardInterrupt):
            world.run()
        world.gateway.after = lambda operation, reply: reply
        _expire(world, lane_id(ANN))
        outcomes = ends(world, receipts)
        assert [outcome.result for outcome in outcomes] == ["updated", "updated"]
        assert len(world.contacts(BOB)) == 1
        check(world)

    def test_between_the_two_lanes(self, world: World) -> None:
        """Settled here, and the gate still stands there: its lane finds out by itself."""
        world.do(ProductSignUp(email=ANN, external_id="u-1"))
        leave, world.store.leave_gate = world.store.leave_gate, _dies  # type: ignore[method-assign]
        receipts = world.enqueue(MOVE, LeadCapture(email=BOB))
        with pytest.raises(KeyboardInterrupt):
            world.run()
        world.store.leave_gate = leave  # type: ignore[method-assign]
        world.redis.zadd(f"onelane:{{{lane_id(BOB)[0]}}}:due", {lane_id(BOB): 1})
        assert [outcome.result for outcome in ends(world, receipts)] == ["updated", "unchanged"]
        check(world)

    def test_lost_answer_is_written_again(self, world: World) -> None:
        world.do(ProductSignUp(email=ANN, external_id="u-1"))
        world.gateway.before = once(op.Update, op.Unknown(op.Problem("timeout")))
        assert ends(world, world.enqueue(MOVE, LeadCapture(email=BOB)))[0].result == "updated"

    def test_replayed_after_death(self, world: World) -> None:
        world.do(ProductSignUp(email=ANN, external_id="u-1"))
        world.gateway.before = once(op.Update, op.Refused(op.Problem("refused", 400)))
        [receipt] = world.enqueue(MOVE)
        assert ends(world, [receipt])[0].result == "rejected"
        replayed = world.store.replay(
            lane_id(ANN), receipt.id, "op", whole=False, lane_max=9, partition_max=9
        )
        assert replayed.turn is not None
        world.broker.turns.append(replayed.turn)
        assert ends(world, [receipt])[0].result == "updated"
        check(world)


def test_the_gate_costs_no_opt_in(world: World) -> None:
    """Consent of others at the new address is its own."""
    world.do(NewsletterOptIn(email=BOB))
    world.do(MOVE)
    assert world.do(NewsletterOptIn(email=BOB)).result == "updated"


def _dies(*_: Any) -> None:
    raise KeyboardInterrupt


def _request(method: str, path: str) -> Any:
    return Request.of(method, path, None)


def _expire(world: World, lane: str) -> None:
    """The lease of a dead holder runs out."""
    world.redis.hset(f"onelane:{{{lane[0]}}}:lane:{lane}", "until", 1)
    world.redis.zadd(f"onelane:{{{lane[0]}}}:due", {lane: 1})


def _interleaved(
    world: World,
    intents: list[Any],
    *,
    between: list[Any] | None = None,
    gates: bool = True,
    kept: list[Any] | None = None,
) -> list[Receipt]:
    """Producers at the same moment: all intents are stored before the first gate is."""
    receipts, calls = [], kept if kept is not None else []
    for intent in intents:
        submission: Submission = prepare(intent, world.queue.settings)
        [reply] = world.queue._run([submission.call])
        receipt, turn = submission.accepted(reply)
        call = submission.gate(reply)
        assert call is not None
        calls.append(call)
        receipts.append(receipt)
        world.broker.turns += [turn] if turn else []
    receipts += world.enqueue(*(between or []))
    if gates:
        world.queue._run(calls[::-1])
    return receipts


def test_the_same_address_is_no_change() -> None:
    with pytest.raises(InvalidIntent) as refused:
        EmailChange(email=ANN, new_email="Ann@Example.Test")
    assert refused.value.field == "new_email"
