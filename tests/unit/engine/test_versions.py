"""R96 over lanes: versions of an external id go with the external id, whatever address it comes by."""

from __future__ import annotations

from typing import Any

import pytest
from tests.world.workers import Knobs
from tests.world.world import World

from onelane import ContactErasure, ContactSync, EmailChange, LeadCapture
from onelane_worker.lanes.types import LaneSettings
from onelane_worker.planner import operations as op
from onelane_worker.planner.policy import Policy

from .dead_letters import bury, replay

ANN, BOB, CAT = "ann@example.test", "bob@example.test", "cat@example.test"


def sync(email: str, version: int | None, name: str = "", **more: Any) -> ContactSync:
    of = {"external_id": "u-1", "source": "crm", **more}
    return ContactSync(email=email, version=version, name=name or f"v{version}", **of)


def external_id(world: World) -> dict[str, str]:
    return world.hash("ext", world.workspace.external_id("u-1"))


def seen(world: World) -> dict[str, int]:
    """What the external id has seen: source → version."""
    stored = external_id(world).items()
    return {name.removeprefix("v:"): int(text.split()[0]) for name, text in stored if name.startswith("v:")}


def see(world: World, source: str, version: int) -> None:
    """Another lane has applied a version."""
    key = world.workspace.keys.key("ext", world.workspace.external_id("u-1"))
    world.redis.execute("HSET", key, f"v:{source}", f"{version} x {int(world.now * 1000)}")


def names(world: World, email: str) -> list[str]:
    return [contact["name"] for contact in world.contacts(email)]


class TestTwoAddresses:
    def test_an_older_one_is_superseded_without_a_call(self, world: World) -> None:
        [newest] = world.enqueue(sync(ANN, 5))
        world.rest()
        world.calls()
        outcome = world.do(sync(BOB, 4))
        assert (outcome.result, outcome.superseded_by, outcome.calls) == ("superseded", newest.id, 0)
        assert (world.calls(), names(world, ANN)) == ([], ["v5"])
        assert "lane" not in external_id(world)  # the lock was given back

    @pytest.mark.parametrize("other", [sync(BOB, 5), sync(BOB, 4, source="erp"), sync(BOB, None)])
    def test_what_is_not_older_is_applied(self, world: World, other: ContactSync) -> None:
        world.do(sync(ANN, 5))
        assert world.do(other).result == "updated"
        assert len(world.contacts(BOB)) == 1

    def test_of_a_fold_the_newest_counts(self, world: World) -> None:
        receipts = world.enqueue(sync(ANN, 1), sync(ANN, 3), sync(ANN, 2, source="erp"))
        world.rest()
        assert seen(world) == {"crm": 3, "erp": 2}
        assert world.do(sync(BOB, 2)).superseded_by == receipts[1].id

    def test_a_fold_ends_before_a_follower_that_is_old(self, world: World) -> None:
        world.do(sync(ANN, 5))
        see(world, "erp", 9)
        receipts = world.enqueue(sync(BOB, 6), sync(BOB, 4, source="erp"))
        assert [world.ended(one).result for one in receipts] == ["updated", "superseded"]

    def test_without_an_external_id_every_address_counts_for_itself(self, world: World) -> None:
        for email in (ANN, BOB):
            assert world.do(sync(email, 5, external_id=None)).result == "created"
            assert world.do(sync(email, 4, external_id=None)).result == "superseded"

    def test_they_are_forgotten_in_time(self, make_world: Any) -> None:
        policy, lanes = Policy(version_memory_ms=60_000), LaneSettings(version_ttl_ms=60_000)
        world = make_world(knobs=Knobs(policy=policy, lanes=lanes))
        world.do(sync(ANN, 5))
        world.run(61)
        assert world.do(sync(BOB, 4)).result == "updated"

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

    def test_not_what_found_nobody(self, world: World) -> None:
        assert world.do(sync(ANN, 5, create=False)).reason == "not_found"
        assert seen(world) == {}
        assert world.do(sync(BOB, 4)).result == "created"

    def test_not_what_is_put_back(self, world: World) -> None:
        world.fault("intercom", op.Create, "throttled")
        [receipt] = world.enqueue(sync(ANN, 5))
        world.run(1)
        assert seen(world) == {}
        assert world.ended(receipt).result == "created"
        assert seen(world) == {"crm": 5}

    def test_a_replayed_dead_letter_that_is_older(self, world: World) -> None:
        receipt = bury(world, sync(ANN, 4))
        world.do(sync(BOB, 5))
        assert replay(world, receipt) == "superseded"
        assert names(world, BOB) == ["v5"]


class TestDeaths:
    """Versions are stored by the script that ends the intents: nothing lies between the two."""

    @pytest.mark.parametrize(("moment", "ended"), [("crash_before", False), ("crash_after", True)])
    def test_at_the_end(self, world: World, moment: str, ended: bool) -> None:
        world.fault("redis", "settle", moment)
        [receipt] = world.enqueue(sync(ANN, 5))
        world.run(2)
        assert (seen(world) == {"crm": 5}, world.outcome(receipt) is not None) == (ended, ended)
        world.hire()
        assert world.ended(receipt).result in ("created", "updated", "unchanged")
        assert seen(world) == {"crm": 5}

    def test_a_fold_that_was_applied_and_not_settled(self, world: World) -> None:
        """Its older member says nothing that was not written before its newer one."""
        world.fault("redis", "settle", "crash_before")
        receipts = world.enqueue(sync(ANN, 1, phone="+353871234567"), sync(ANN, 2))
        world.run(2)
        world.hire()
        first, second = (world.ended(receipt) for receipt in receipts)
        assert {first.result, second.result} <= {"created", "updated", "unchanged", "superseded"}
        [contact] = world.contacts(ANN)
        assert (contact["name"], contact["phone"]) == ("v2", "+353871234567")


def test_a_create_in_doubt_is_cleared_up_before_its_intent_is_superseded(world: World) -> None:
    world.fault("intercom", op.Create, "unanswered")
    receipts = world.enqueue(sync(ANN, 5))
    world.run(20)
    assert "journal" in world.lane(ANN)
    receipts += world.enqueue(LeadCapture(email=ANN, phone="+353871234567"))
    see(world, "crm", 6)
    world.calls()
    first, second = (world.ended(receipt) for receipt in receipts)
    assert (first.result, first.superseded_by, second.result) == ("superseded", "x", "updated")
    assert world.calls() == ["FindByExternalId", "Update"]
    assert len(world.contacts(ANN)) == 1


class TestErasure:
    @pytest.mark.parametrize("named", [None, "u-1"])
    def test_versions_of_the_erased_person_are_forgotten(self, world: World, named: str | None) -> None:
        world.do(sync(ANN, 5))
        assert world.do(ContactErasure(email=ANN, external_id=named)).result == "erased"
        assert seen(world) == {}
        assert world.do(sync(BOB, 4)).result != "superseded"

    def test_other_accounts_keep_theirs(self, world: World) -> None:
        world.do(sync(ANN, 5))
        world.do(LeadCapture(email=ANN, external_id="u-2"))
        world.seed(role="lead", email=ANN)
        world.catch_up()
        assert world.do(ContactErasure(email=ANN, external_id="u-2")).result == "erased"
        assert world.do(sync(BOB, 4)).result == "superseded"
