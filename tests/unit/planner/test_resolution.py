"""Who is it? Resolution (R10–R17), pointers and their age (R1–R6), ghosts, and what a miss proves."""

from __future__ import annotations

from typing import Any

import pytest

from onelane.intents import (
    ContactSync,
    ContactUpsert,
    LeadCapture,
    NewsletterOptIn,
    ProductSignUp,
)
from onelane_worker.engine.codec import entry_of, to_store
from onelane_worker.planner import operations as op
from onelane_worker.planner.absorb import absorb
from onelane_worker.planner.knowledge import Knowledge, recall, record
from onelane_worker.planner.policy import Policy
from onelane_worker.planner.registry import Contact, RegistryEntry, Tombstone

from .play import ANN, START_MS, World

A: dict[str, Any] = {"email": ANN}
X: dict[str, Any] = {"email": ANN, "external_id": "u-1"}
WINDOW_S = 600.0
SYNC = ContactSync(**X, name="Ann")


class TestNumberOfCalls:
    """What a producer can count on."""

    @pytest.mark.parametrize(
        ("seed", "intent", "calls"),
        [
            ({}, LeadCapture(**A, name="Ann"), 2),
            ({}, ProductSignUp(**X), 2),
            ({}, SYNC, 3),
            ({"role": "user", "external_id": "u-1"}, SYNC, 2),
            ({"role": "user", "external_id": "u-1", "name": "Ann"}, SYNC, 1),
            ({"role": "lead"}, LeadCapture(**A, name="Ann"), 3),
            ({"role": "lead", "name": "Ann"}, LeadCapture(**A, name="Ann"), 2),
            ({"role": "lead"}, NewsletterOptIn(**A), 2),
        ],
    )
    def test_cold(self, seed: dict[str, Any], intent: Any, calls: int) -> None:
        world = World()
        if seed:
            world.seed("C", **seed)
        assert world.do(intent).calls == calls

    def test_a_believed_change_costs_one_call_and_a_believed_no_op_none(self) -> None:
        world = World()
        world.do(SYNC)
        assert world.do(SYNC).calls == 0
        assert world.do(ContactSync(**X, name="Anne")).calls == 1
        assert world.do(SYNC).calls == 1

    def test_R51_a_believed_opt_in_always_costs_one(self) -> None:
        world = World()
        opt_in = NewsletterOptIn(**A)
        assert [world.do(opt_in).calls for _ in range(3)] == [2, 1, 1]

    @pytest.mark.parametrize(("lists", "calls"), [("present", 3), ("absent", 4)])
    def test_each_subscription_to_change_costs_one_and_so_does_looking(self, lists: str, calls: int) -> None:
        world = World(switches={"subscription_lists": lists})
        world.seed("C", role="lead")
        world.do(LeadCapture(**A))
        world.calls()
        world.do(NewsletterOptIn(**A, subscription_types=("101", "102")))
        assert len(world.calls()) == calls - 1


class TestSearch:
    def test_R13_find_by_external_id_comes_first_but_not_for_a_sign_up(self) -> None:
        assert self._asked(SYNC)[:2] == ["find u-1", "search"]
        assert self._asked(ProductSignUp(**X))[0] == "search"

    def test_R15_the_search_names_every_spelling_and_the_external_id(self) -> None:
        world = World()
        world.do(ProductSignUp(email="Ann@Example.test", external_id="u-1"))
        assert world.log[0][1] == op.Search((ANN, "Ann@Example.test"), "u-1")

    def test_R16_a_hit_is_read_before_the_first_write(self) -> None:
        world = World()
        world.seed("L", role="lead")
        world.do(LeadCapture(**A, name="Ann"))
        assert world.calls() == ["search", "get L", "put L name"]

    def test_R17_the_oldest_of_equals_then_the_smallest_id(self) -> None:
        world = World()
        for name in ("L1", "L2"):
            world.seed(name, role="lead")
        first = min(contact["id"] for contact in world.live())
        outcome = world.do(LeadCapture(**A, name="Ann"))
        assert (outcome.contact_id, outcome.ambiguous) == (first, True)
        assert len(outcome.other_contacts) == 1

    def _asked(self, intent: Any) -> list[str]:
        world = World()
        world.do(intent)
        return world.calls()


class TestGhosts:
    """Search shows what is no more: not to be written to, and no proof that the person is not there."""

    def test_an_archived_lead_that_the_index_still_shows(self) -> None:
        world = self._shown_but_archived()
        outcome = world.do(LeadCapture(**A, name="Ann"))
        assert world.calls() == ["search", "get L", "search", "post lead name"]
        assert outcome.result == "created"
        assert world.now_ms - START_MS > WINDOW_S * 1000

    def test_a_user_with_an_external_id_need_not_wait_for_the_index(self) -> None:
        world = self._shown_but_archived()
        world.do(ProductSignUp(**X))
        assert world.calls() == ["search", "get L", "post user ext since"]

    def test_one_that_was_brought_back_meanwhile_is_not_doubled(self) -> None:
        world = self._shown_but_archived()
        world.say(LeadCapture(**A, name="Ann"))
        world.run(until_ms=world.now_ms + 300_000)
        [lead] = world.names
        world.ask("POST", f"/contacts/{lead}/unarchive")
        world.run()
        assert world.calls() == ["search", "get L", "search", "get L", "put L name"]
        assert len(world.live()) == 1

    def test_one_that_moved_away_is_explained_and_nobody_waits(self) -> None:
        world = World()
        lead = world.seed("L", role="lead")
        world.ask("PUT", f"/contacts/{lead}", {"email": "new@example.test"})
        assert world.do(LeadCapture(**A, name="Ann")).result == "created"
        assert world.calls() == ["search", "get L", "post lead name"]
        assert world.now_ms - START_MS < 5_000
        assert world.only("new@example.test")["name"] is None

    def test_the_next_candidate_is_tried(self) -> None:
        world = World()
        ghost = world.seed("U", role="user")
        world.seed("L", role="lead")
        world.ask("POST", f"/contacts/{ghost}/archive")
        world.do(LeadCapture(**A, name="Ann"))
        assert world.calls() == ["search", "get U", "get L", "put L name"]

    def test_R5_a_third_ghost_is_a_retry_that_knows_the_first_two(self) -> None:
        world = World()
        ghosts = []
        for name in ("G1", "G2", "G3"):
            ghosts.append(world.seed(name, role="lead"))
            world.age(1)
        world.seed("L", role="lead")
        for ghost in ghosts:
            world.ask("POST", f"/contacts/{ghost}/archive")
        world.do(LeadCapture(**A, name="Ann"))
        first, second = ["search", "get G1", "get G2", "get G3"], ["search", "get L", "put L name"]
        assert world.calls() == first + second

    def test_a_newcomer_never_waits(self) -> None:
        for intent in (LeadCapture(**A), NewsletterOptIn(**A), SYNC, ContactSync(**A), ProductSignUp(**X)):
            world = World(lag=86_400)
            world.do(intent)
            assert world.now_ms - START_MS < 1_000

    def _shown_but_archived(self) -> World:
        world = World()
        world.ask("POST", f"/contacts/{world.seed('L', role='lead')}/archive")
        return world


class TestMergedAway:
    """API 2.16 and later say where a merged contact went."""

    def test_the_link_is_followed_at_once(self) -> None:
        world = self._merged()
        world.do(LeadCapture(**A, name="Ann"))
        assert world.calls() == ["search", "get L", "get U", "put U name"]

    def test_the_heir_is_the_person_even_with_another_address(self) -> None:
        world = self._merged()
        world.do(LeadCapture(**A, name="Ann"))
        world.do(LeadCapture(**A, name="Anne"))
        assert [contact["name"] for contact in world.live(None)] == ["Anne"]

    def _merged(self) -> World:
        world = World(version="2.16")
        lead = world.seed("L", role="lead")
        user = world.hide("U", role="user", email="work@example.test")
        merge = {"from": lead, "into": user, "skip_duplicate_validation": True}
        world.ask("POST", "/contacts/merge", merge)
        return world


class TestSecondLook:
    """R31: who may not create waits for the index, once, and for its own sake."""

    UPDATE = ContactUpsert(**A, set={"name": "Ann"}, create="update_only")

    def test_it_takes_a_settle_window_and_counts_from_the_acceptance(self) -> None:
        world = World()
        accepted_ms = world.now_ms + 1
        assert world.do(self.UPDATE).reason == "not_found"
        assert WINDOW_S * 1000 <= world.now_ms - accepted_ms < WINDOW_S * 1000 + 1_000

    def test_somebody_who_was_there_all_along_is_found(self) -> None:
        world = World(lag=500)
        world.hide("L", role="lead")
        assert world.do(self.UPDATE).result == "updated"
        assert world.calls() == ["search", "search", "get L", "put L name"]

    def test_the_next_intent_gets_a_look_of_its_own(self) -> None:
        world = World(lag=500)
        world.do(self.UPDATE)
        world.hide("L", role="lead")
        assert world.do(self.UPDATE).result == "updated"

    def test_an_intent_that_waited_in_line_long_enough_looks_once(self) -> None:
        world = World()
        world.say(self.UPDATE)
        world.age(WINDOW_S)
        world.run()
        assert world.calls() == ["search"]

    def test_a_creator_behind_ends_the_wait(self) -> None:
        world = World()
        ids = world.say(self.UPDATE, LeadCapture(**A))
        world.run()
        assert [world.outcomes[i].result for i in ids] == ["skipped", "created"]
        assert world.now_ms - START_MS < 1_000

    def test_a_creator_that_comes_later_ends_it_too(self) -> None:
        world = World()
        [first] = world.say(self.UPDATE)
        world.run(until_ms=world.now_ms + 60_000)
        assert world.do(LeadCapture(**A)).result == "created"
        assert world.outcomes[first].reason == "not_found"
        assert world.now_ms - START_MS < 62_000


class TestPointers:
    def test_R3_a_busy_lane_looks_again_and_finds_a_user_made_elsewhere(self) -> None:
        world = World()
        world.do(LeadCapture(**A))
        world.name_new("L")
        world.hide("U", role="user")
        for minute in range(20):
            world.age(60)
            world.do(LeadCapture(**A, name=str(minute)))
        calls = world.calls()
        assert calls.count("search") == 2
        assert [line for line in calls if not line.startswith("put L")][2:7] == [
            "search",
            "get U",
            "put U name",
            "get L",
            "merge L U",
        ]
        assert (world.only()["role"], world.only()["name"]) == ("user", "19")

    def test_R3_a_lead_of_ours_is_looked_up_again_rather_than_forgotten(self) -> None:
        world = World(lag=86_400)
        world.do(LeadCapture(**A))
        world.name_new("L")
        world.age(850)
        world.do(LeadCapture(**A, name="a"))
        world.age(100)
        world.calls()
        world.do(LeadCapture(**A, name="b"))
        assert world.calls() == ["search", "get L", "put L name"]

    def test_R3_and_if_it_has_been_archived_it_comes_back(self) -> None:
        world = World()
        world.do(LeadCapture(**A))
        lead = world.name_new("L")
        world.age(850)
        world.do(LeadCapture(**A, name="a"))
        world.ask("POST", f"/contacts/{lead}/archive")
        world.age(100)
        world.calls()
        assert world.do(LeadCapture(**A, name="b")).revived
        assert world.calls() == ["search", "get L", "unarchive L", "put L name"]

    def test_R2_facts_are_not_used_after_their_time(self) -> None:
        world = World()
        world.do(SYNC)
        world.age(901)
        world.calls()
        assert world.do(SYNC).calls == 1

    def test_R2_an_unclean_end_leaves_who_but_not_what(self) -> None:
        world = World()
        world.do(SYNC)
        world.name_new("U")
        world.fate = lambda operation: "crash_after" if isinstance(operation, op.Update) else None
        world.say(ContactSync(**X, name="Anne"))
        world.run(until_ms=world.now_ms + 1_000)
        world.fate = lambda operation: None
        world.run()
        world.calls()
        world.lanes[ANN].clean = False
        world.do(ContactSync(**X, name="Anne"))
        assert world.calls() == ["put U name"]

    def test_R6_a_lead_is_remembered_by_the_external_id_that_intercom_dropped(self) -> None:
        world = World()
        world.do(LeadCapture(**X))
        [known] = world.entry().contacts
        assert (known.alias, known.external_id, known.role) == ("u-1", None, "lead")
        assert world.do(ProductSignUp(**X)).result == "converted"

    def test_R5_a_believed_user_deleted_elsewhere(self) -> None:
        world = World()
        world.do(SYNC)
        user = world.name_new("U")
        world.ask("DELETE", f"/contacts/{user}")
        world.calls()
        outcome = world.do(ContactSync(**X, name="Anne"))
        assert (outcome.result, outcome.reason) == ("skipped", "archived")
        assert world.calls() == ["put U name", "find u-1", "search", "post user ext name"]


class TestRecall:
    """Between registry and turn, without a world around."""

    policy = Policy()
    now_ms = START_MS

    def _known(self, **more: Any) -> Contact:
        return Contact(**{"id": "c1", "role": "lead", "email": ANN, "resolved_ms": self.now_ms} | more)

    def _recall(self, entry: RegistryEntry, age_s: float = 0.0) -> Knowledge:
        return recall(ANN, None, entry, None, self.policy, self.now_ms + int(age_s * 1000))

    @pytest.mark.parametrize(
        ("known", "kept"),
        [({}, False), ({"role": "user"}, True), ({"role": "user", "email": "b@example.test"}, False)],
    )
    def test_R3_what_ages(self, known: dict[str, Any], kept: bool) -> None:
        entry = RegistryEntry(contacts=(self._known(**known),))
        assert self._recall(entry).contacts
        assert bool(self._recall(entry, 901).contacts) is kept

    def test_an_opt_out_searches_again_when_a_pointer_has_aged(self) -> None:
        entry = RegistryEntry(contacts=(self._known(),), searched_ms=self.now_ms + 800_000)
        assert self._recall(entry, 850).looked_ms is not None
        assert self._recall(entry, 901).looked_ms is None

    def test_tombstones_are_kept_for_as_long_as_the_registry_remembers(self) -> None:
        entry = RegistryEntry(tombstones={"c9": Tombstone(why="gone", at_ms=self.now_ms)})
        assert self._recall(entry, 899).gone_ms == self.now_ms
        assert self._recall(entry, 901).gone_ms is None

    def test_a_new_epoch_of_redis_makes_misses_worthless(self) -> None:
        know = recall(ANN, None, RegistryEntry(), None, self.policy, self.now_ms, epoch_ms=self.now_ms - 5)
        assert know.gone_ms == self.now_ms - 5

    def test_record_keeps_the_primary_until_there_is_another(self) -> None:
        know = self._recall(RegistryEntry(contacts=(self._known(),), primary="c1"))
        assert record(know, None, self.policy, self.now_ms).primary == "c1"
        gone = absorb(know, op.Read("c1"), op.Gone(), self.now_ms)
        gone = absorb(gone, op.Unarchive("c1"), op.Gone(), self.now_ms)
        assert record(gone, None, self.policy, self.now_ms).primary is None

    def test_who_is_lost_is_not_asked_back_once_the_person_lives_in_another(self) -> None:
        lost, living = self._known(lost_ms=self.now_ms - 5), self._known(id="c2")
        know = self._recall(RegistryEntry(contacts=(lost, living)))
        assert [known.id for known in record(know, None, self.policy, self.now_ms).contacts] == ["c1", "c2"]
        ended = record(know, "c2", self.policy, self.now_ms)
        assert [known.id for known in ended.contacts] == ["c2"]
        assert ended.tombstones["c1"].at_ms == self.now_ms - 5

    def test_the_end_of_a_wish_forgets_what_was_kept_for_it(self) -> None:
        know = self._recall(RegistryEntry(contacts=(self._known(),))).did(
            created="c1", written=frozenset({"c1"})
        )
        assert record(know, None, self.policy, self.now_ms).log.created == "c1"
        assert record(know, "c1", self.policy, self.now_ms).log == RegistryEntry().log

    def test_a_belief_survives_json(self) -> None:
        world = World()
        world.do(LeadCapture(**A, name="Ann", custom_attributes={"plan": "pro"}))
        entry = world.entry()
        assert entry_of(to_store(entry)) == entry
