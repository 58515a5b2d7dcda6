"""R96 over lanes: versions of an external id go with the external id, whatever address it comes by."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from onelane_worker.payloads import versions_of
from redis import Redis

from onelane import ContactErasure, ContactSync, EmailChange, LeadCapture, Outcome, Receipt, keyspace
from onelane_worker.lanes.model import Grant
from onelane_worker.planner import operations as op
from onelane_worker.planner.policy import Policy

from .test_replay import bury, replay
from .world import World

ANN, BOB, CAT = "ann@example.test", "bob@example.test", "cat@example.test"
EXT = keyspace.external_id("u-1")


def sync(email: str, version: int | None, name: str = "", **more: Any) -> ContactSync:
    of = {"external_id": "u-1", "source": "crm", **more}
    return ContactSync(email=email, version=version, name=name or f"v{version}", **of)


def seen(world: World) -> dict[str, int]:
    """What the external id has seen: source → version."""
    stored: Any = world.redis.hget(EXT, "versions")
    return {source: each.number for source, each in versions_of(stored).items()}


def ended(world: World, receipt: Receipt) -> Outcome:
    world.run_until(lambda: world.outcome(receipt) is not None)
    outcome = world.outcome(receipt)
    assert outcome is not None
    return outcome


def dies(world: World, method: str) -> Callable[[], None]:
    """The next call of that method of the store kills the worker. What wakes the lanes after that."""
    original, left = getattr(world.store, method), [None]

    def call(*args: Any, **more: Any) -> Any:
        if left:
            left.pop()
            raise KeyboardInterrupt
        return original(*args, **more)

    setattr(world.store, method, call)

    def wake() -> None:
        for key in [*world.redis.keys("onelane:*:lane:*")]:  # type: ignore[union-attr]
            lane = str(key).rpartition(":")[2]
            if world.redis.hget(key, "token"):
                world.redis.hset(key, mapping={"until": 1, "commit": 1})
                world.redis.zadd(keyspace.due(lane[0]), {lane: 1})

    return wake


class TestTwoAddresses:
    def test_an_older_one_is_superseded_without_a_call(self, world: World) -> None:
        newest = world.enqueue(sync(ANN, 5))[0]
        world.run()
        world.calls()
        outcome = world.do(sync(BOB, 4))
        assert (outcome.result, outcome.superseded_by, outcome.calls) == ("superseded", newest.id, 0)
        assert world.calls() == []
        assert [contact["name"] for contact in world.contacts(ANN)] == ["v5"]
        assert world.redis.hget(EXT, "lane") is None  # the lock was given back

    @pytest.mark.parametrize("other", [sync(BOB, 5), sync(BOB, 4, source="erp"), sync(BOB, None)])
    def test_what_is_not_older_is_applied(self, world: World, other: ContactSync) -> None:
        world.do(sync(ANN, 5))
        assert world.do(other).result == "updated"
        assert len(world.contacts(BOB)) == 1

    def test_of_a_fold_the_newest_counts(self, world: World) -> None:
        receipts = world.enqueue(sync(ANN, 1), sync(ANN, 3), sync(ANN, 2, source="erp"))
        world.run()
        assert seen(world) == {"crm": 3, "erp": 2}
        assert world.do(sync(BOB, 2)).superseded_by == receipts[1].id

    def test_a_fold_ends_before_a_follower_that_is_old(self, world: World) -> None:
        world.do(sync(ANN, 5))
        receipts = world.enqueue(sync(BOB, 6), sync(BOB, 4, source="erp"))
        world.redis.hset(EXT, "versions", json.dumps({"erp": {"number": 9, "by": "x", "at_ms": 2**50}}))
        assert [ended(world, receipt).result for receipt in receipts] == ["updated", "superseded"]

    def test_without_an_external_id_every_address_counts_for_itself(self, world: World) -> None:
        for email in (ANN, BOB):
            assert world.do(sync(email, 5, external_id=None)).result == "created"
            assert world.do(sync(email, 4, external_id=None)).result == "superseded"

    def test_they_are_forgotten_in_time(self, redis: Redis) -> None:
        world = World(redis, policy=Policy(version_memory_ms=0))
        world.do(sync(ANN, 5))
        world.redis.hset(EXT, "versions", json.dumps({"crm": {"number": 5, "by": "x", "at_ms": 1}}))
        assert world.do(sync(BOB, 4)).result == "updated"
        world.close()

    def test_after_a_change_of_address(self, world: World) -> None:
        world.do(sync(ANN, 5))
        world.do(EmailChange(email=ANN, new_email=BOB, external_id="u-1"))
        for email in (ANN, BOB, CAT):
            assert world.do(sync(email, 4)).result == "superseded"
        assert world.do(sync(BOB, 6)).result == "updated"


class TestOnlyWhatWasApplied:
    def test_not_a_dead_letter(self, world: World) -> None:
        bury(world, sync(ANN, 5))
        assert seen(world) == {}
        assert world.do(sync(BOB, 4)).result == "created"

    def test_not_what_found_nobody(self, redis: Redis) -> None:
        world = World(redis, policy=Policy(settle_window_ms=50))
        assert world.do(sync(ANN, 5, create=False)).reason == "not_found"
        assert seen(world) == {}
        assert world.do(sync(BOB, 4)).result == "created"
        world.close()

    def test_not_what_is_put_back(self, world: World) -> None:
        throttled = [op.Throttled(0.01, op.Problem("rate_limited", 429))]
        world.gateway.before = lambda operation: (
            throttled.pop() if throttled and isinstance(operation, op.Create) else None
        )
        receipt = world.enqueue(sync(ANN, 5))[0]
        world.run()
        assert seen(world) == {}
        assert ended(world, receipt).result == "created"
        assert seen(world) == {"crm": 5}

    def test_a_replayed_dead_letter_that_is_older(self, world: World) -> None:
        receipt = bury(world, sync(ANN, 4))
        newest = world.enqueue(sync(BOB, 5))[0]
        world.run()
        assert replay(world, receipt) == "superseded"
        outcome = world.outcome(receipt)
        assert outcome is not None
        assert outcome.superseded_by == newest.id
        assert [contact["name"] for contact in world.contacts(BOB)] == ["v5"]


class TestDeaths:
    def test_between_the_last_answer_and_the_note(self, world: World) -> None:
        """It is not remembered, and is served again: it cannot end without being remembered."""
        wake = dies(world, "note_leaf")
        receipt = world.enqueue(sync(ANN, 5))[0]
        with pytest.raises(KeyboardInterrupt):
            world.run()
        assert seen(world) == {}
        assert world.outcome(receipt) is None
        wake()
        assert ended(world, receipt).result in ("created", "updated", "unchanged")
        assert seen(world) == {"crm": 5}

    def test_between_the_note_and_the_settle(self, world: World) -> None:
        """It is remembered because it was applied; that it is so does not keep it from ending."""
        wake = dies(world, "settle")
        receipt = world.enqueue(sync(ANN, 5))[0]
        with pytest.raises(KeyboardInterrupt):
            world.run()
        assert seen(world) == {"crm": 5}
        assert world.do(sync(BOB, 4)).superseded_by == receipt.id
        wake()
        assert ended(world, receipt).result in ("created", "updated", "unchanged")
        assert [contact["name"] for contact in world.contacts(ANN)] == ["v5"]

    def test_a_fold_that_was_applied_and_not_settled(self, world: World) -> None:
        """Its older member says nothing that was not written before its newer one."""
        wake = dies(world, "settle")
        receipts = world.enqueue(sync(ANN, 1, phone="+353871234567"), sync(ANN, 2))
        with pytest.raises(KeyboardInterrupt):
            world.run()
        wake()
        first, second = (ended(world, receipt) for receipt in receipts)
        assert (first.result, first.superseded_by) == ("superseded", receipts[1].id)
        assert second.result in ("created", "updated", "unchanged")
        [contact] = world.contacts(ANN)
        assert (contact["name"], contact["phone"]) == ("v2", "+353871234567")

    def test_whose_lock_ran_out_is_not_done(self, world: World) -> None:
        """Another address was served between its write and its end: its picture is applied again."""
        [other] = world.enqueue(LeadCapture(email=CAT))
        world.broker.turns.clear()
        grant = world.store.claim(other.lane, "interactive", 0, "token")
        assert isinstance(grant, Grant)
        original, taken = world.store.note_leaf, []

        def too_late(*args: Any) -> bool:
            if not taken:
                world.redis.hset(EXT, "until", 1)
                taken.append(world.store.take_leaf("u-1", grant))
            return original(*args)

        world.store.note_leaf = too_late  # type: ignore[method-assign, assignment]
        receipt = world.enqueue(sync(ANN, 5))[0]
        world.run()
        assert (world.outcome(receipt), seen(world)) == (None, {})
        world.store.give_leaf("u-1", grant)
        assert ended(world, receipt).result in ("updated", "unchanged", "created")
        assert seen(world) == {"crm": 5}


class TestDoubt:
    def test_a_create_in_doubt_is_cleared_up_before_its_intent_is_superseded(self, world: World) -> None:
        lost = [op.Unknown(op.Problem("timeout"))]
        world.gateway.after = lambda operation, reply: (
            lost.pop() if lost and isinstance(operation, op.Create) else reply
        )
        world.gateway.before = lambda operation: (
            op.Throttled(0.01, op.Problem("rate_limited", 429))
            if isinstance(operation, op.Create) and not lost
            else None
        )
        receipts = world.enqueue(sync(ANN, 5))
        world.run()
        assert world.store.describe(receipts[0].lane).journal is not None
        receipts += world.enqueue(LeadCapture(email=ANN, phone="+353871234567"))
        world.gateway.before = lambda operation: None
        world.redis.hset(EXT, "versions", json.dumps({"crm": {"number": 6, "by": "x", "at_ms": 2**50}}))
        world.calls()
        first, second = (ended(world, receipt) for receipt in receipts)
        assert (first.result, first.superseded_by) == ("superseded", "x")
        assert second.result == "updated"
        assert world.calls() == ["FindByExternalId", "Update"]
        assert len(world.contacts(ANN)) == 1


class TestErasure:
    @pytest.mark.parametrize("named", [None, "u-1"])
    def test_versions_of_the_erased_person_are_forgotten(self, world: World, named: str | None) -> None:
        world.do(sync(ANN, 5))
        assert world.do(ContactErasure(email=ANN, external_id=named)).result == "erased"
        assert not world.redis.exists(EXT)
        assert world.do(sync(BOB, 4)).result != "superseded"

    def test_other_accounts_keep_theirs(self, world: World) -> None:
        world.do(sync(ANN, 5))
        world.do(LeadCapture(email=ANN, external_id="u-2"))
        world.seed(role="lead", email=ANN)
        world.sandbox.catch_up()
        assert world.do(ContactErasure(email=ANN, external_id="u-2")).result == "erased"
        assert world.do(sync(BOB, 4)).result == "superseded"
