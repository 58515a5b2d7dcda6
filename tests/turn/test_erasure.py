"""Erasing a person: in Intercom, and in everything that Redis keeps."""

from __future__ import annotations

import pytest
from onelane.identity import lane_id
from onelane_worker.history import History
from redis import Redis
from tests.lanes.laws import Dump, check_laws, check_nothing_empty

from onelane import (
    ContactErasure,
    ContactSync,
    EmailChange,
    LeadCapture,
    NewsletterOptOut,
    Outcome,
    ProductSignUp,
    Receipt,
)
from onelane_sandbox.rules import Request
from onelane_worker.planner import operations as op
from onelane_worker.planner.policy import Policy

from .test_replay import bury
from .world import World

ANN, BOB = "ann@example.test", "bob@example.test"
NAME = "Annabella"
QUICK = Policy(settle_window_ms=60)


def all_end(world: World, receipts: list[Receipt]) -> list[Outcome]:
    world.run_until(lambda: all(world.outcome(receipt) for receipt in receipts))
    seconds, micros = world.redis.time()  # type: ignore[misc]
    check_laws(world.redis, int(seconds) * 1000 + int(micros) // 1000)
    check_nothing_empty(world.redis)
    return [outcome for receipt in receipts if (outcome := world.outcome(receipt))]


def traces(world: World) -> list[str]:
    """Keys under which something still names the person."""
    dump = Dump(world.redis)
    words = ("ann@", NAME.lower(), "+353871234567", "u-1")
    return [
        key for key, value in dump.values.items() if any(word in f"{key} {value}".lower() for word in words)
    ]


def live(world: World) -> list[str]:
    states = ("archived", "deleted", "merged_into")
    return [c["id"] for c in world.sandbox.contacts() if not any(c[state] for state in states)]


class TestWhoGoes:
    def test_lead_and_user(self, world: World) -> None:
        world.seed(role="lead", email=ANN)
        world.seed(role="user", email=ANN, external_id="u-1")
        world.sandbox.catch_up()
        outcome = world.do(ContactErasure(email=ANN))
        assert (outcome.result, outcome.contact_id) == ("erased", None)
        assert live(world) == []
        assert world.calls() == ["Search", "Read", "Read", "Delete", "Delete"]

    def test_other_accounts_stay_unless_everyone_is_meant(self, world: World) -> None:
        world.sandbox.switch_all({"email_conflict": "external_id_wins"})
        for external_id in ("u-1", "u-2"):
            world.seed(role="user", email=ANN, external_id=external_id)
        world.sandbox.catch_up()
        assert world.do(ContactErasure(email=ANN)).reason == "ambiguous"
        assert len(live(world)) == 2
        outcome = world.do(ContactErasure(email=ANN, external_id="u-1"))
        assert outcome.result == "erased"
        assert outcome.other_contacts == tuple(live(world))
        assert world.do(ContactErasure(email=ANN, everyone=True)).result == "erased"
        assert live(world) == []

    def test_the_external_id_wherever_it_lives(self, world: World) -> None:
        world.do(ProductSignUp(email=BOB, external_id="u-1", name=NAME))
        assert world.do(ContactErasure(email=ANN, external_id="u-1")).result == "erased"
        assert live(world) == []
        assert world.queue.latest(BOB) is None

    def test_archived_one_that_we_know(self, world: World) -> None:
        made = world.do(LeadCapture(email=ANN))
        world.sandbox.handle(Request.of("POST", f"/contacts/{made.contact_id}/archive", None), world.now)
        world.gateway.calls.clear()
        assert world.do(ContactErasure(email=ANN)).result == "erased"
        assert [contact["deleted"] for contact in world.sandbox.contacts()] == [True]

    def test_nobody_is_believed_only_a_settle_window_later(self, redis: Redis) -> None:
        world = World(redis, policy=QUICK)
        [receipt] = world.enqueue(ContactErasure(email=ANN))
        world.run()
        assert world.outcome(receipt) is None
        world.seed(role="lead", email=ANN, name=NAME)
        world.sandbox.catch_up()
        assert all_end(world, [receipt])[0].result == "erased"
        assert live(world) == []
        world.close()


class TestUnknown:
    def test_create_that_surfaces_later(self, redis: Redis) -> None:
        """The answer of a create is lost; the erasure behind it waits until the lead can be found."""
        world = World(redis, policy=QUICK)
        lost = [op.Unknown(op.Problem("timeout"))]
        world.gateway.after = lambda operation, reply: (
            lost.pop() if isinstance(operation, op.Create) and lost else reply
        )
        receipts = world.enqueue(LeadCapture(email=ANN, name=NAME), ContactErasure(email=ANN))
        world.run()
        world.sandbox.catch_up()
        world.redis.zadd(f"onelane:{{{lane_id(ANN)[0]}}}:due", {lane_id(ANN): 1})
        assert [outcome.result for outcome in all_end(world, receipts)] == ["created", "erased"]
        assert live(world) == []
        world.close()

    def test_delete_whose_answer_is_lost(self, redis: Redis) -> None:
        """It is sent again and answers 404, as if somebody else had been there before: a second look."""
        world = World(redis, policy=QUICK)
        world.do(LeadCapture(email=ANN))
        lost = [op.Unknown(op.Problem("timeout"))]
        world.gateway.after = lambda operation, reply: (
            lost.pop() if isinstance(operation, op.Delete) and lost else reply
        )
        assert world.do(ContactErasure(email=ANN)).result == "erased"
        assert live(world) == []
        world.close()


class TestGone:
    """A DELETE that answers 404: the contact may live on in another one."""

    @pytest.mark.parametrize("others", [False, True])
    def test_merged_into_a_user_whom_the_index_hides(self, redis: Redis, others: bool) -> None:
        world = World(redis, policy=QUICK)
        lead = world.do(LeadCapture(email=ANN, name=NAME)).contact_id
        if others:
            world.seed(role="lead", email=ANN)
        world.sandbox.catch_up()
        user = world.seed(role="user", email=ANN, external_id="u-1")["id"]
        merged = Request.of("POST", "/contacts/merge", {"from": lead, "into": user})
        assert world.sandbox.handle(merged, world.now).status == 200
        [receipt] = world.enqueue(ContactErasure(email=ANN))
        world.run()
        assert world.outcome(receipt) is None  # nobody says where the lead has gone to
        assert live(world) == [user]
        world.sandbox.catch_up()
        assert all_end(world, [receipt])[0].result == "erased"
        assert live(world) == []
        world.close()

    def test_merged_into_one_whom_intercom_names(self, world: World) -> None:
        """The answer says who lives on: nothing needs to wait for the index."""
        lead = world.do(LeadCapture(email=ANN, name=NAME)).contact_id
        world.sandbox.catch_up()
        user = world.seed(role="user", email=ANN, external_id="u-1")["id"]
        merged = Request.of("POST", "/contacts/merge", {"from": lead, "into": user})
        assert world.sandbox.handle(merged, world.now).status == 200
        world.gateway.before = lambda operation: (
            op.Gone(merged_into=user) if operation == op.Delete(lead or "") else None
        )
        assert world.do(ContactErasure(email=ANN)).result == "erased"
        assert live(world) == []

    def test_nobody_then_either(self, redis: Redis) -> None:
        world = World(redis, policy=QUICK)
        lead = world.do(LeadCapture(email=ANN)).contact_id
        world.sandbox.handle(Request.of("DELETE", f"/contacts/{lead}", None), world.now)
        [receipt] = world.enqueue(ContactErasure(email=ANN))
        world.run()
        assert world.outcome(receipt) is None
        world.sandbox.catch_up()
        assert all_end(world, [receipt])[0].result == "erased"
        world.close()


class TestDeadLetters:
    def test_none_from_before_comes_back_behind_it(self, redis: Redis) -> None:
        world = World(redis, policy=QUICK)
        letter = bury(world, LeadCapture(email=ANN, name=NAME))
        [receipt] = world.enqueue(ContactErasure(email=ANN))
        world.run()  # nobody is there: it waits for its second look
        answer = world.store.replay(
            letter.lane, letter.id, "op", whole=False, lane_max=100, partition_max=100
        )
        assert answer.status == "erasing"
        assert all_end(world, [receipt])[0].result == "erased"
        outcome = world.outcome(letter)
        assert outcome is not None
        assert outcome.reason == "erased"
        assert live(world) == []
        world.close()


class TestTraces:
    @pytest.mark.parametrize("named", ["u-1", None])
    def test_the_lane_of_another_address_forgets_them(self, world: World, named: str | None) -> None:
        world.do(ContactSync(email=ANN, external_id="u-1", name=NAME))
        world.do(LeadCapture(email=BOB, external_id="u-1", phone="+353871234567"))
        world.do(LeadCapture(email=BOB, external_id="u-1", phone="+353871234567"))
        assert world.do(ContactErasure(email=ANN, external_id=named)).result == "erased"
        assert traces(world) == []

    def test_nothing_of_the_person_is_left(self, world: World) -> None:
        world.attributes("plan")
        receipts = world.enqueue(
            ProductSignUp(email=ANN, external_id="u-1", name=NAME, dedupe_key="ann@example.test"),
            NewsletterOptOut(email=ANN),
            ContactSync(email=ANN, external_id="u-1", name=NAME, custom_attributes={"plan": NAME}),
            LeadCapture(email=ANN, name=NAME, custom_attributes={"unknown": NAME}),
        )
        all_end(world, receipts)
        assert traces(world)
        told = [{"id": receipt.id, "what": "ended"} for receipt in receipts]
        History(world.redis, 60_000).add(lane_id(ANN), told)
        erased = all_end(world, world.enqueue(ContactErasure(email=ANN, external_id="u-1")))
        assert erased[0].result == "erased"
        assert traces(world) == []
        assert [status.state for receipt in receipts if (status := world.queue.status(receipt.id))] == [
            "done"
        ] * 4

    def test_what_comes_later_stays(self, world: World) -> None:
        world.do(LeadCapture(email=ANN, name=NAME, dedupe_key="k"))
        receipts = world.enqueue(ContactErasure(email=ANN), LeadCapture(email=ANN, name="Anew"))
        assert [outcome.result for outcome in all_end(world, receipts)] == ["erased", "created"]
        assert [contact["name"] for contact in world.contacts(ANN)] == ["Anew"]

    def test_an_old_opt_out_is_forgotten_too(self, world: World) -> None:
        world.do(LeadCapture(email=ANN))
        world.do(NewsletterOptOut(email=ANN))
        world.do(ContactErasure(email=ANN))
        world.do(LeadCapture(email=ANN))
        assert [contact["unsubscribed_from_emails"] for contact in world.contacts(ANN)] == [False]

    def test_after_a_change_of_address(self, world: World) -> None:
        world.do(ProductSignUp(email=BOB, external_id="u-9", name=NAME))
        world.do(EmailChange(email=BOB, new_email=ANN))
        world.do(ContactErasure(email=ANN))
        assert live(world) == []
        assert traces(world) == []

    @pytest.mark.parametrize("times", [1, 2])
    def test_dies_before_it_settles(self, redis: Redis, times: int) -> None:
        world = World(redis, policy=QUICK)
        world.do(LeadCapture(email=ANN, name=NAME))
        settle, left = world.store.settle, [None] * times

        def dies(*args: object, **kwargs: object) -> object:
            if left:
                left.pop()
                raise KeyboardInterrupt
            return settle(*args, **kwargs)  # type: ignore[arg-type]

        world.store.settle = dies  # type: ignore[method-assign, assignment]
        [receipt] = world.enqueue(ContactErasure(email=ANN))
        for _ in range(times):
            with pytest.raises(KeyboardInterrupt):
                world.run_until(lambda: False)
            lane = lane_id(ANN)
            world.redis.hset(f"onelane:{{{lane[0]}}}:lane:{lane}", "until", 1)
            world.redis.zadd(f"onelane:{{{lane[0]}}}:due", {lane: 1})
        assert all_end(world, [receipt])[0].result == "erased"
        assert traces(world) == []
        world.close()
