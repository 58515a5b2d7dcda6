"""Folding (R90–R97), fields (R40–R44), words of consent (R50–R56): what a run of intents wants."""

from __future__ import annotations

from typing import Any

import pytest

from onelane.intents import (
    ContactSync,
    ContactUpsert,
    LeadCapture,
    NewsletterOptIn,
    NewsletterOptOut,
    ProductSignUp,
)
from onelane_worker.planner.fold import (
    Accepted,
    DesiredState,
    Superseded,
    applied_versions,
    fold,
    refold,
    remembered,
)
from onelane_worker.planner.intent_rights import AnyIntent, mode_of
from onelane_worker.planner.policy import Policy
from onelane_worker.planner.registry import ALL_MAIL, ConsentMemory, ConsentWord, Version

from .play import ANN, START_MS

MINUTE_MS = 60_000
WINDOW_MS = 600_000
A: dict[str, Any] = {"email": ANN}
X: dict[str, Any] = {"email": ANN, "external_id": "u-1"}
EARLY, LATE = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"
EARLY_MS, LATE_MS = 1_767_225_600_000, 1_769_904_000_000
SEEN = {
    "crm": Version(number=5, by="i0", at_ms=START_MS),
    "": Version(number=9, by="i00", at_ms=START_MS),
}
"""What "u-1" has seen, whatever the address was."""


def batch(*intents: AnyIntent, every_ms: int = 1, size: int = 100) -> list[Accepted]:
    return [Accepted(f"i{n}", each, START_MS + n * every_ms, size) for n, each in enumerate(intents, 1)]


def folded(
    *intents: AnyIntent, memory: ConsentMemory | None = None, policy: Policy | None = None, **more: Any
) -> DesiredState:
    now_ms = more.pop("now_ms", START_MS + MINUTE_MS)
    desired = fold(batch(*intents, **more), memory or ConsentMemory(), policy or Policy(), now_ms)
    assert isinstance(desired, DesiredState)
    return desired


def said(channel: str, opted_in: bool, at_ms: int, **more: Any) -> ConsentMemory:
    return ConsentMemory(consent={channel: ConsentWord(opted_in=opted_in, at_ms=at_ms, by="i0", **more)})


class TestFields:
    def test_R40_what_is_not_named_is_not_wished(self) -> None:
        assert folded(LeadCapture(**A, name="Ann")).fields == {"name": "Ann"}

    def test_R41_unset_is_a_word_too(self) -> None:
        desired = folded(ContactSync(**A, name="Ann", unset=("phone", "custom_attributes.plan")))
        assert desired.fields == {"name": "Ann", "phone": None, "custom_attributes.plan": None}

    def test_R91_the_last_word_per_field_wins_and_unset_is_one(self) -> None:
        desired = folded(
            ContactSync(**A, name="Ann", phone="+1", custom_attributes={"plan": "a", "city": "Rome"}),
            ContactSync(**A, name="Anne", unset=("custom_attributes.plan",)),
            ContactSync(**A, custom_attributes={"plan": "b"}),
        )
        assert desired.fields == {
            "name": "Anne",
            "phone": "+1",
            "custom_attributes.city": "Rome",
            "custom_attributes.plan": "b",
        }
        assert desired.authors["custom_attributes.plan"] == "i3"
        assert desired.authors["phone"] == "i1"

    def test_R44_only_the_inserter_gives_what_is_set_on_insert(self) -> None:
        desired = folded(
            ContactUpsert(**A, set_on_insert={"name": "first", "phone": "+1"}),
            ContactUpsert(**A, set_on_insert={"name": "second"}, set={"phone": "+2"}),
        )
        assert (desired.insert_fields, desired.fields) == ({"name": "first", "phone": "+1"}, {"phone": "+2"})

    @pytest.mark.parametrize(
        ("intent", "seconds"),
        [
            (ProductSignUp(**X), START_MS // 1000),
            (ProductSignUp(**X, occurred_at="2026-01-01T00:00:00.900Z"), EARLY_MS // 1000),
            (ProductSignUp(**X, occurred_at="2200-01-01T00:00:00Z"), START_MS // 1000),
            (ContactSync(**X), None),
        ],
    )
    def test_R27_when_the_person_signed_up(self, intent: AnyIntent, seconds: int | None) -> None:
        assert folded(intent).signed_up_at == seconds

    def test_R15_every_spelling_is_searched_for_the_lanes_own_first(self) -> None:
        desired = folded(LeadCapture(email="Ann@Example.test"), LeadCapture(email="ANN@example.test"))
        assert desired.spellings == (ANN, "Ann@Example.test", "ANN@example.test")


class TestWhatFolds:
    @pytest.mark.parametrize(
        ("head", "follower", "folds"),
        [
            (LeadCapture(**A), LeadCapture(**A), True),
            (LeadCapture(**A), NewsletterOptIn(**A), True),
            (NewsletterOptIn(**A), NewsletterOptIn(**A), True),
            (NewsletterOptIn(**A), NewsletterOptOut(**A), False),
            (NewsletterOptOut(**A), NewsletterOptOut(**A), True),
            (NewsletterOptIn(**A), NewsletterOptIn(**A, subscription_types=("101",)), False),
            (LeadCapture(**A), LeadCapture(**X), False),
            (LeadCapture(**A), ProductSignUp(**X), False),
            (ProductSignUp(**X), ProductSignUp(**X), True),
            (ProductSignUp(**X), ProductSignUp(**X, contact_id="0" * 24), False),
            (ContactSync(**X), ContactSync(**X), True),
            (ContactSync(**X), ContactSync(**X, create=False), False),
            (ContactSync(**X, version=2), ContactSync(**X, version=2), True),
            (ContactSync(**X, version=2), ContactSync(**X, version=1), False),
            (ContactSync(**X, version=2, source="a"), ContactSync(**X, version=1, source="b"), True),
            (ContactUpsert(**A), ContactUpsert(**A), True),
            (ContactUpsert(**A, create="create_only"), ContactUpsert(**A, create="create_only"), False),
            (ContactUpsert(**A), ContactUpsert(**A, role="user"), False),
        ],
    )
    def test_R92_only_what_may_do_the_same_to_the_same_person(
        self, head: AnyIntent, follower: AnyIntent, folds: bool
    ) -> None:
        assert len(folded(head, follower).members) == (2 if folds else 1)

    def test_R92_at_most_so_many_and_so_large(self) -> None:
        captures = [LeadCapture(**A)] * 9
        assert len(folded(*captures, policy=Policy(fold_max=3)).members) == 3
        assert len(folded(*captures, policy=Policy(fold_max=1)).members) == 1
        assert len(folded(*captures, policy=Policy(fold_bytes=250)).members) == 2
        assert len(folded(*captures, policy=Policy(fold_bytes=50)).members) == 1

    def test_R92_folding_stops_at_the_first_that_does_not_fold(self) -> None:
        assert folded(LeadCapture(**A), ProductSignUp(**X), LeadCapture(**A)).ids == ("i1",)

    @pytest.mark.parametrize(("waited_ms", "members"), [(0, 3), (WINDOW_MS, 1), (WINDOW_MS + MINUTE_MS, 2)])
    def test_R31_who_may_not_create_ends_by_its_own_second_look(self, waited_ms: int, members: int) -> None:
        """When the head has waited long enough, younger ones may not have."""
        outs = [NewsletterOptOut(**A)] * 3
        accepted_ms = START_MS + MINUTE_MS  # of the head
        assert len(folded(*outs, every_ms=MINUTE_MS, now_ms=accepted_ms + waited_ms).members) == members

    def test_R31_a_creator_behind_is_noticed(self) -> None:
        out = NewsletterOptOut(**A)
        assert folded(out, LeadCapture(**A)).creator_waits
        assert not folded(out, ContactSync(**A, create=False)).creator_waits
        assert not folded(out, out).creator_waits
        assert folded(out, NewsletterOptIn(**A), policy=Policy(optout_creates=True)).creator_waits


class TestVersions:
    memory = ConsentMemory(versions={"crm": Version(number=5, by="i0", at_ms=START_MS)})

    @pytest.mark.parametrize(
        ("version", "source", "stale"),
        [(4, "crm", True), (5, "crm", False), (6, "crm", False), (4, None, False), (None, "crm", False)],
    )
    def test_R96_strictly_older_is_superseded(
        self, version: int | None, source: str | None, stale: bool
    ) -> None:
        intent = ContactSync(**A, version=version, source=source)
        desired = fold(batch(intent), self.memory, Policy(), START_MS)
        assert desired == Superseded("i1", "i0") if stale else isinstance(desired, DesiredState)

    def test_R96_another_identity_counts_for_itself(self) -> None:
        assert folded(ContactSync(**X, version=1, source="crm"), memory=self.memory)

    def test_R96_versions_are_forgotten_after_their_time(self) -> None:
        late_ms = START_MS + Policy().version_memory_ms + 1
        assert folded(ContactSync(**A, version=1, source="crm"), memory=self.memory, now_ms=late_ms)

    def test_R96_is_learnt_only_from_what_was_carried_out(self) -> None:
        desired = folded(ContactSync(**A, version=7))
        kept = [
            remembered(ConsentMemory(), desired, done, Policy(), START_MS).versions for done in (True, False)
        ]
        assert [[each.number for each in versions.values()] for versions in kept] == [[7], []]

    def test_R96_of_an_external_id_is_no_matter_of_the_lane(self) -> None:
        desired = folded(ContactSync(**X, version=7, source="crm"), ContactSync(**X, version=2))
        assert remembered(ConsentMemory(), desired, True, Policy(), START_MS).versions == {}
        seen = applied_versions({}, desired, Policy(), START_MS)
        assert {source: (each.number, each.by) for source, each in seen.items()} == {
            "crm": (7, "i1"), "": (2, "i2")
        }  # fmt: skip

    def test_R96_what_an_external_id_has_seen_is_forgotten_after_its_time(self) -> None:
        late_ms = START_MS + Policy().version_memory_ms + 1
        desired = folded(ContactSync(**X, version=1))
        seen = applied_versions(SEEN, desired, Policy(), late_ms)
        assert [each.number for each in seen.values()] == [1]

    @pytest.mark.parametrize(
        ("version", "source", "by"),
        [(4, "crm", "i0"), (5, "crm", None), (6, "crm", None), (6, None, "i00"), (4, "erp", None)],
    )
    def test_R96_older_than_what_came_by_another_address(
        self, version: int, source: str | None, by: str | None
    ) -> None:
        intents = batch(ContactSync(**X, version=version, source=source))
        desired = fold(intents, ConsentMemory(), Policy(), START_MS)
        assert isinstance(desired, DesiredState)
        again = refold(desired, intents, ConsentMemory(), SEEN, Policy(), START_MS)
        assert (again.outdated_by, again.ids) == (by, ("i1",))

    def test_R96_the_fold_ends_before_a_follower_that_is_old(self) -> None:
        intents = batch(ContactSync(**X, version=9), ContactSync(**X, version=4, source="crm"))
        desired = fold(intents, ConsentMemory(), Policy(), START_MS)
        assert isinstance(desired, DesiredState)
        assert desired.ids == ("i1", "i2")
        again = refold(desired, intents, ConsentMemory(), SEEN, Policy(), START_MS)
        assert (again.ids, again.outdated_by) == (("i1",), None)


class TestWords:
    @pytest.mark.parametrize(
        ("intent", "channels"),
        [
            (NewsletterOptIn(**A), {ALL_MAIL: True}),
            (NewsletterOptIn(**A, lift_unsubscribe_all=False), {}),
            (NewsletterOptIn(**A, subscription_types=("101",)), {ALL_MAIL: True, "101": True}),
            (NewsletterOptOut(**A), {ALL_MAIL: False}),
            (NewsletterOptOut(**A, subscription_types=("101", "102")), {"101": False, "102": False}),
            (LeadCapture(**A), {}),
            (ContactSync(**A), {}),
            (ProductSignUp(**X), {}),
        ],
    )
    def test_R50_R53_who_speaks_and_on_which_channel(
        self, intent: AnyIntent, channels: dict[str, bool]
    ) -> None:
        assert {c: word.opted_in for c, word in folded(intent).words.items()} == channels

    @pytest.mark.parametrize(
        ("intent", "channels"),
        [
            (NewsletterOptIn(**A), {ALL_MAIL, "101"}),
            (NewsletterOptIn(**A, subscription_types=("102",)), {ALL_MAIL, "102"}),
            (NewsletterOptOut(**A), {"101"}),
        ],
    )
    def test_R54_the_newsletters_own_types_unless_named(self, intent: AnyIntent, channels: set[str]) -> None:
        policy = Policy(newsletter_subscription_types=("101",))
        assert set(folded(intent, policy=policy).words) == channels

    def test_R56_a_replayed_old_opt_in_is_superseded(self) -> None:
        old = NewsletterOptIn(**A, occurred_at=EARLY)
        assert fold(batch(old), said(ALL_MAIL, False, LATE_MS), Policy(), START_MS) == Superseded("i1", "i0")

    def test_R56_also_when_it_stands_behind_a_head(self) -> None:
        new, old = NewsletterOptIn(**A), NewsletterOptIn(**A, occurred_at=EARLY)
        assert folded(new, old, new, memory=said(ALL_MAIL, False, LATE_MS)).ids == ("i1",)

    def test_R56_but_only_in_that_part(self) -> None:
        old = NewsletterOptIn(**A, occurred_at=EARLY, name="Ann", subscription_types=("102",))
        desired = folded(old, memory=said(ALL_MAIL, False, LATE_MS))
        assert (set(desired.words), desired.fields) == ({"102"}, {"name": "Ann"})

    def test_R56_within_a_fold_the_newest_act_counts_not_the_last_in_line(self) -> None:
        outs = NewsletterOptOut(**A, occurred_at=LATE), NewsletterOptOut(**A, occurred_at=EARLY)
        desired = folded(*outs)
        assert desired.words[ALL_MAIL].at_ms == LATE_MS
        assert desired.authors == {"consent:all": "i1"}

    def test_R56_a_fast_clock_does_not_make_a_word_unassailable(self) -> None:
        boast = NewsletterOptOut(**A, occurred_at="2200-01-01T00:00:00Z")
        memory = remembered(ConsentMemory(), folded(boast), True, Policy(), START_MS)
        assert folded(NewsletterOptIn(**A), NewsletterOptIn(**A), memory=memory).words[ALL_MAIL].opted_in

    def test_R56_words_are_kept_as_pending_until_they_are_carried_out(self) -> None:
        desired = folded(NewsletterOptOut(**A))
        pending = remembered(ConsentMemory(), desired, False, Policy(), START_MS)
        assert pending.consent[ALL_MAIL].pending
        anything = folded(LeadCapture(**A))
        assert not remembered(pending, anything, True, Policy(), START_MS).consent[ALL_MAIL].pending
        assert remembered(pending, anything, False, Policy(), START_MS).consent[ALL_MAIL].pending

    def test_R56_words_are_forgotten_after_their_time(self) -> None:
        late_ms = LATE_MS + Policy().consent_memory_ms + 1
        memory = remembered(said(ALL_MAIL, False, LATE_MS), folded(LeadCapture(**A)), True, Policy(), late_ms)
        assert memory.consent == {}


class TestModes:
    """kinds.py: one row per kind; here the corners that a table does not show."""

    def test_R12_only_a_sign_up_need_not_ask_by_external_id_first(self) -> None:
        asks = {
            type(i).__name__: mode_of(i, Policy()).finds_first for i in (ProductSignUp(**X), ContactSync(**X))
        }
        assert asks == {"ProductSignUp": False, "ContactSync": True}

    @pytest.mark.parametrize(
        ("intent", "people", "always", "never"),
        [
            (NewsletterOptIn(**A), True, True, False),
            (NewsletterOptOut(**A), False, False, False),
            (ContactSync(**A), False, True, False),
            (ContactUpsert(**A), True, True, False),
            (ContactUpsert(**A, create="update_only"), False, True, False),
            (ContactUpsert(**A, create="create_only"), False, False, False),
        ],
    )
    def test_R21_who_may_bring_back(self, intent: AnyIntent, people: bool, always: bool, never: bool) -> None:
        policies = [Policy(revive="people"), Policy(revive="always"), Policy(revive="never")]
        assert [mode_of(intent, policy).revives for policy in policies] == [people, always, never]
