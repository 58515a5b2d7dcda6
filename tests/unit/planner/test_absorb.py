"""What each answer teaches: `absorb`, reply by reply."""

from __future__ import annotations

from typing import Any

import pytest

from onelane_worker.planner import operations as op
from onelane_worker.planner.absorb import absorb
from onelane_worker.planner.knowledge import Knowledge
from onelane_worker.planner.registry import Contact, Facts, Journal, Tombstone

from .play import ANN, START_MS

NOW_MS = START_MS
WINDOW_MS = 600_000
problem = op.Problem("any")


def facts(contact_id: str = "c1", role: Any = "user", **more: Any) -> Facts:
    return Facts(**{"id": contact_id, "role": role, "email": ANN, "created_at": NOW_MS // 1000} | more)


def known(contact_id: str = "c1", role: Any = "user", **more: Any) -> Contact:
    return Contact(**{"id": contact_id, "role": role, "email": ANN, "resolved_ms": NOW_MS - 9} | more)


def knowing(*contacts: Contact, **more: Any) -> Knowledge:
    return Knowledge(ANN, "u-1", contacts={each.id: each for each in contacts}, **more)


def journal(**more: Any) -> Journal:
    sent = {"intents": ("i1",), "role": "lead", "body": {}, "sent_ms": NOW_MS, "commit_until_ms": NOW_MS + 9}
    return Journal(**sent | more)


def hit(contact_id: str = "c1", role: Any = "lead") -> op.Candidate:
    return op.Candidate(contact_id, role, None, ANN, 1)


SEARCH = op.Search((ANN,))


class TestFacts:
    def test_R1_a_hit_is_a_candidate_without_facts(self) -> None:
        know = absorb(knowing(), SEARCH, op.Listed((hit(),), NOW_MS), NOW_MS)
        assert (know.contacts["c1"].confirmed, know.contacts["c1"].facts) == (False, None)
        assert (know.search_ms, know.looked_ms) == (NOW_MS, NOW_MS)

    def test_R1_a_read_confirms_and_its_age_counts_from_the_sending(self) -> None:
        know = absorb(knowing(known(confirmed=False)), op.Read("c1"), op.Found(facts()), NOW_MS)
        one = know.contacts["c1"]
        assert one.confirmed
        assert one.facts is not None
        assert (one.facts.as_of_ms, one.facts.source) == (NOW_MS, "read")

    def test_R3_writing_does_not_make_a_pointer_younger_but_seeing_it_does(self) -> None:
        know = knowing(known())
        written = absorb(know, op.Update("c1", {"name": "a"}), op.Found(facts()), NOW_MS)
        assert written.contacts["c1"].resolved_ms == NOW_MS - 9
        seen = absorb(know, SEARCH, op.Listed((hit("c1", "user"),), NOW_MS), NOW_MS)
        assert seen.contacts["c1"].resolved_ms == NOW_MS
        assert seen.contacts["c1"].confirmed

    def test_a_leads_own_external_id_is_nobodys(self) -> None:
        know = absorb(knowing(), op.Read("c1"), op.Found(facts(role="lead", external_id="uuid")), NOW_MS)
        assert (know.contacts["c1"].external_id, know.contacts["c1"].minted) == (None, "uuid")

    def test_the_same_contact_by_find_and_by_search_is_one(self) -> None:
        know = absorb(knowing(), op.FindByExternalId("u-1"), op.Found(facts(external_id="u-1")), NOW_MS)
        again = absorb(know, SEARCH, op.Listed((hit("c1", "user"),), NOW_MS), NOW_MS)
        assert again.contacts["c1"].external_id == "u-1"
        assert again.contacts["c1"].confirmed
        backwards = absorb(knowing(), SEARCH, op.Listed((hit("c1", "user"),), NOW_MS), NOW_MS)
        found = absorb(backwards, op.FindByExternalId("u-1"), op.Found(facts(external_id="u-1")), NOW_MS)
        assert found.contacts["c1"].confirmed

    def test_a_contact_that_answers_under_anothers_id_has_swallowed_it(self) -> None:
        know = absorb(knowing(known()), op.Read("c1"), op.Found(facts("c2")), NOW_MS)
        assert know.tombstones["c1"].into == "c2"
        assert list(know.contacts) == ["c2"]

    def test_who_is_found_again_has_no_tombstone(self) -> None:
        know = knowing(tombstones={"c1": Tombstone(why="gone", at_ms=NOW_MS)})
        assert absorb(know, op.Read("c1"), op.Found(facts()), NOW_MS).tombstones == {}


class TestLog:
    def test_create(self) -> None:
        body = {"role": "lead", "email": ANN, "name": "Ann"}
        know = absorb(knowing(journal=journal()), op.Create(body), op.Found(facts(role="lead")), NOW_MS)
        assert (know.log.created, know.journal) == ("c1", None)
        assert (know.contacts["c1"].made_ms, know.contacts["c1"].alias) == (NOW_MS, "u-1")
        assert know.attached["c1"] == frozenset()
        assert "name" in know.sent["c1"]

    def test_convert(self) -> None:
        update = op.Update("c1", {"role": "user", "external_id": "u-1"})
        found = op.Found(facts(external_id="u-1"))
        know = absorb(knowing(known(role="lead", alias="u-1", minted="uuid")), update, found, NOW_MS)
        assert know.log.converted == "c1"
        assert (know.contacts["c1"].external_id, know.contacts["c1"].alias) == ("u-1", None)

    def test_convert_without_an_external_id_keeps_the_minted_one(self) -> None:
        found = op.Found(facts(external_id="uuid"))
        know = absorb(knowing(known(role="lead")), op.Update("c1", {"role": "user"}), found, NOW_MS)
        assert (know.contacts["c1"].external_id, know.contacts["c1"].minted) == (None, "uuid")

    def test_move(self) -> None:
        know = knowing(known(email="old@example.test", external_id="u-1"))
        know = absorb(know, op.Update("c1", {"email": ANN}), op.Found(facts(external_id="u-1")), NOW_MS)
        assert know.log.left == {"c1": "old@example.test"}

    def test_merge_makes_everything_sent_before_worthless(self) -> None:
        know = knowing(known("lead", "lead"), known())
        know = absorb(know, op.Update("c1", {"name": "a"}), op.Found(facts()), NOW_MS)
        know = absorb(know, op.ListSubscriptions("c1"), op.Subscriptions(frozenset()), NOW_MS)
        know = absorb(know, op.Merge("lead", "c1"), op.Found(facts()), NOW_MS)
        assert know.log.merged == ("lead",)
        assert know.tombstones["lead"] == Tombstone(why="merged", into="c1", at_ms=NOW_MS)
        assert ("c1" in know.sent, "c1" in know.attached) == (False, False)

    @pytest.mark.parametrize(
        "reply", [op.Refused(problem), op.Conflict(None, False), op.NotRestorable("blocked", problem)]
    )
    def test_a_merge_that_is_refused_is_not_asked_again(self, reply: op.Reply) -> None:
        know = absorb(knowing(known("lead", "lead"), known()), op.Merge("lead", "c1"), reply, NOW_MS)
        assert know.unmergeable == {"lead"}

    def test_a_merge_that_meets_nobody_believes_neither(self) -> None:
        know = knowing(known("lead", "lead"), known(facts=facts()))
        know = absorb(know, op.Merge("lead", "c1"), op.Gone(), NOW_MS)
        assert know.unmergeable == {"lead"}
        assert not know.contacts["lead"].confirmed
        assert know.contacts["c1"].facts is None

    def test_subscriptions(self) -> None:
        know = absorb(knowing(known()), op.Attach("c1", "102", "opt_in"), op.Done(), NOW_MS)
        assert know.attached["c1"] == {"102"}
        for reply in (op.Done(), op.NoResource()):
            assert absorb(know, op.Detach("c1", "102"), reply, NOW_MS).attached["c1"] == frozenset()


class TestGone:
    def test_a_believed_contact_is_lost_not_forgotten(self) -> None:
        know = absorb(knowing(known(facts=facts())), op.Update("c1", {}), op.Gone(), NOW_MS)
        assert (know.contacts["c1"].lost_ms, know.contacts["c1"].facts) == (NOW_MS, None)
        assert (know.gone_ms, know.gone_count) == (NOW_MS, 1)

    def test_a_mere_candidate_was_a_ghost(self) -> None:
        know = absorb(knowing(known(confirmed=False)), op.Read("c1"), op.Gone(), NOW_MS)
        assert know.contacts == {}
        assert (know.tombstones["c1"].why, know.gone_ms) == ("gone", NOW_MS)

    def test_the_first_sighting_counts(self) -> None:
        know = knowing(known(lost_ms=NOW_MS - 500))
        assert absorb(know, op.Unarchive("c1"), op.Gone(), NOW_MS).gone_ms == NOW_MS - 500

    def test_nobody_by_that_external_id_is_no_mark(self) -> None:
        know = absorb(knowing(), op.FindByExternalId("u-1"), op.Gone(), NOW_MS)
        assert (know.asked, know.gone_ms) == ({"u-1"}, None)

    def test_a_named_heir_is_no_mystery(self) -> None:
        know = absorb(knowing(known()), op.Read("c1"), op.Gone("c2"), NOW_MS)
        assert know.gone_ms is None
        assert know.is_heir("c2")
        assert not know.contacts["c2"].confirmed

    def test_the_index_may_show_it_for_a_window_and_not_longer(self) -> None:
        stone = Tombstone(why="gone", at_ms=NOW_MS)
        for age_ms, shown in ((WINDOW_MS - 1, False), (WINDOW_MS, True)):
            at_ms = NOW_MS + age_ms
            know = absorb(knowing(tombstones={"c1": stone}), SEARCH, op.Listed((hit(),), at_ms), at_ms)
            assert ("c1" in know.contacts) is shown
            assert know.gone_ms == NOW_MS

    def test_and_the_same_for_one_that_is_lost(self) -> None:
        for age_ms, live in ((WINDOW_MS - 1, False), (WINDOW_MS, True)):
            at_ms = NOW_MS + age_ms
            know = absorb(knowing(known(lost_ms=NOW_MS)), SEARCH, op.Listed((hit(),), at_ms), at_ms)
            assert (know.contacts["c1"].lost_ms is None) is live
            assert know.gone_ms == NOW_MS

    def test_a_merged_one_never_comes_back(self) -> None:
        know = knowing(tombstones={"c1": Tombstone(why="merged", into="c2", at_ms=0)})
        assert absorb(know, SEARCH, op.Listed((hit(),), NOW_MS), NOW_MS).contacts == {}


class TestConflict:
    create = op.Create({"role": "user", "email": ANN})
    create_ext = op.Create({"role": "user", "email": ANN, "external_id": "u-1"})

    def test_R24_without_an_external_id_the_address_settles_who_it_is(self) -> None:
        know = absorb(knowing(), self.create, op.Conflict("c1", False), NOW_MS)
        assert know.contacts["c1"].confirmed

    def test_R24_with_one_the_holder_is_read_first(self) -> None:
        know = absorb(knowing(), self.create_ext, op.Conflict("c1", False), NOW_MS)
        assert not know.contacts["c1"].confirmed

    def test_a_409_ends_the_doubt_about_an_earlier_create(self) -> None:
        pending = journal(role="user", external_id="u-1")
        know = absorb(knowing(journal=pending), self.create_ext, op.Conflict("c1", False), NOW_MS)
        assert (know.journal, know.doubt) == (None, pending)
        know = absorb(know, op.Read("c1"), op.Found(facts(external_id="u-1")), NOW_MS)
        assert (know.log.created, know.log.adopted) == ("c1", True)

    def test_a_believed_holder_that_is_archived_is_lost(self) -> None:
        know = absorb(knowing(known()), self.create_ext, op.Conflict("c1", True), NOW_MS)
        assert know.contacts["c1"].lost_ms == NOW_MS

    def test_a_lost_holder_that_lives_is_read(self) -> None:
        know = absorb(knowing(known(lost_ms=1)), self.create_ext, op.Conflict("c1", False), NOW_MS)
        assert (know.contacts["c1"].lost_ms, know.contacts["c1"].confirmed) == (None, False)

    def test_the_first_409_that_names_nobody_is_remembered(self) -> None:
        know = absorb(knowing(), self.create_ext, op.Conflict(None, False), NOW_MS)
        assert know.missed_ms == NOW_MS
        assert absorb(know, self.create_ext, op.Conflict(None, False), NOW_MS + 5).missed_ms == NOW_MS

    def test_who_cannot_come_back_because_a_live_one_took_the_id(self) -> None:
        know = knowing(known(external_id="u-1", lost_ms=1))
        know = absorb(know, op.Unarchive("c1"), op.Conflict("c2", False), NOW_MS)
        assert list(know.contacts) == ["c2"]
        assert know.contacts["c2"].external_id == "u-1"
        assert "c1" in know.unrestorable


class TestUnarchive:
    def test_back(self) -> None:
        know = absorb(knowing(known(lost_ms=1)), op.Unarchive("c1"), op.Done("u-1"), NOW_MS)
        assert (know.contacts["c1"].lost_ms, know.gone_ms) == (None, None)
        assert (know.log.revived, know.contacts["c1"].external_id) == ("c1", "u-1")

    @pytest.mark.parametrize(("external_id", "confirmed"), [("u-1", True), (None, False)])
    def test_a_stranger_without_an_external_id_in_the_answer_is_read_first(
        self, external_id: str | None, confirmed: bool
    ) -> None:
        know = absorb(knowing(), op.Unarchive("c1"), op.Done(external_id), NOW_MS)
        assert know.contacts["c1"].confirmed is confirmed

    @pytest.mark.parametrize(
        ("role", "why", "dead_end", "mark"),
        [
            ("user", "deleted", True, True),
            ("lead", "deleted", False, False),
            ("lead", "merged", False, True),
            ("user", "merged", False, True),
            ("lead", "blocked", True, True),
        ],
    )
    def test_not_restorable(self, role: Any, why: Any, dead_end: bool, mark: bool) -> None:
        know = knowing(known(role=role, lost_ms=NOW_MS))
        know = absorb(know, op.Unarchive("c1"), op.NotRestorable(why, problem), NOW_MS)
        assert (know.dead_end is not None) is dead_end
        assert (know.gone_ms is not None) is mark

    def test_failures_add_up(self) -> None:
        said_by_intercom = op.Problem("server_error", 500, "server_error")
        know = knowing(known(lost_ms=1))
        for count in (1, 2, 3):
            know = absorb(know, op.Unarchive("c1"), op.Unknown(said_by_intercom), NOW_MS)
            assert know.unarchive_failures == {"c1": count}

    def test_what_failed_on_the_way_to_intercom_says_nothing_of_the_contact(self) -> None:
        know = absorb(knowing(known(lost_ms=1)), op.Unarchive("c1"), op.Unknown(problem), NOW_MS)
        assert know.unarchive_failures == {}
        assert absorb(know, op.Unarchive("c1"), op.Done(), NOW_MS).unarchive_failures == {}

    def test_whom_an_unarchive_without_an_answer_may_have_revived_is_not_forgotten(self) -> None:
        know = knowing(known(lost_ms=NOW_MS - 800_000))
        know = absorb(know, op.Unarchive("c1"), op.Unknown(problem), NOW_MS)
        assert know.contacts["c1"].lost_ms == NOW_MS
        assert know.gone_ms == NOW_MS


class TestJournal:
    """R70–R73: what a read says about a create whose answer was lost."""

    @pytest.mark.parametrize(
        ("pending", "read", "adopted", "created"),
        [
            ({}, {"role": "lead"}, True, True),
            ({}, {"role": "lead", "created_at": NOW_MS // 1000 - 5}, True, True),
            ({}, {"role": "lead", "created_at": NOW_MS // 1000 - 6}, True, False),
            ({}, {"role": "lead", "created_at": None}, True, False),
            ({}, {"role": "user"}, True, False),
            ({}, {"role": "lead", "email": "b@example.test"}, False, False),
            ({"role": "user", "external_id": "u-1"}, {"external_id": "u-1"}, True, True),
            ({"role": "user", "external_id": "u-1"}, {"external_id": "u-2"}, False, False),
            ({"role": "user", "external_id": "u-1"}, {"external_id": None}, False, False),
        ],
    )
    def test_is_this_ours(
        self, pending: dict[str, Any], read: dict[str, Any], adopted: bool, created: bool
    ) -> None:
        know = absorb(knowing(journal=journal(**pending)), op.Read("c1"), op.Found(facts(**read)), NOW_MS)
        assert (know.journal is None) is adopted
        assert know.log.adopted is adopted
        assert (know.log.created == "c1") is created
        assert (know.contacts["c1"].made_ms == NOW_MS) is created

    @pytest.mark.parametrize(("after_ms", "over"), [(WINDOW_MS - 1, False), (WINDOW_MS, True)])
    def test_R72_nobody_in_a_whole_window_after_it_could_last_commit(self, after_ms: int, over: bool) -> None:
        at_ms = NOW_MS + 9 + after_ms
        know = absorb(knowing(journal=journal()), SEARCH, op.Listed((), at_ms), at_ms)
        assert (know.journal is None) is over

    def test_R72_but_every_candidate_is_read_first(self) -> None:
        at_ms = NOW_MS + 9 + WINDOW_MS
        know = absorb(knowing(journal=journal()), SEARCH, op.Listed((hit(),), at_ms), at_ms)
        assert know.journal is not None
        assert absorb(know, op.Read("c1"), op.Gone(), at_ms).journal is None

    def test_R71_late_enough_a_404_by_external_id_ends_the_doubt(self) -> None:
        pending = journal(role="user", external_id="u-1")
        for at_ms, over in ((NOW_MS + WINDOW_MS, False), (NOW_MS + 9 + WINDOW_MS, True)):
            know = absorb(knowing(journal=pending), op.FindByExternalId("u-1"), op.Gone(), at_ms)
            assert (know.journal is None) is over


@pytest.mark.parametrize(
    "reply",
    [
        op.NotSent(problem),
        op.Throttled(1, problem),
        op.Stopped(problem),
        op.Refused(problem),
        op.Unknown(problem),
    ],
)
def test_replies_that_say_nothing_about_the_person_teach_nothing(reply: op.Reply) -> None:
    know = knowing(known())
    assert absorb(know, op.Update("c1", {"name": "a"}), reply, NOW_MS) == know
