"""What the producers are told (R94): one outcome an intent."""

from __future__ import annotations

from typing import Any

from onelane.intents import ContactSync, LeadCapture, NewsletterOptIn, NewsletterOptOut, ProductSignUp
from onelane.results import Outcome
from onelane_worker.planner import operations as op
from onelane_worker.planner.fold import Superseded
from onelane_worker.planner.outcomes import rejected, superseded
from onelane_worker.planner.planner import Reject
from onelane_worker.planner.registry import AttemptLog

from .play import ANN, World

A: dict[str, Any] = {"email": ANN}
X: dict[str, Any] = {"email": ANN, "external_id": "u-1"}


def together(world: World, *intents: Any) -> list[Outcome]:
    ids = world.say(*intents)
    world.run()
    return [world.outcomes[i] for i in ids]


def results(outcomes: list[Outcome]) -> list[str]:
    return [outcome.result for outcome in outcomes]


class TestFold:
    def test_the_first_made_it_the_others_met_it(self) -> None:
        first, second = together(World(), LeadCapture(**A, name="Ann"), LeadCapture(**A, phone="+1"))
        assert (first.result, first.calls, first.applied_with) == ("created", 2, ("i2",))
        assert (second.result, second.calls, second.applied_with) == ("updated", 0, ("i1",))
        assert first.contact_id == second.contact_id

    def test_who_made_it_did_so_even_if_every_word_was_overwritten(self) -> None:
        outcomes = together(World(), LeadCapture(**A, name="Ann"), LeadCapture(**A, name="Anne"))
        assert results(outcomes) == ["created", "updated"]

    def test_who_only_updated_is_superseded_by_the_last_to_overwrite(self) -> None:
        world = World()
        world.do(LeadCapture(**A))
        outcomes = together(
            world,
            LeadCapture(**A, name="a", phone="1"),
            LeadCapture(**A, name="b"),
            LeadCapture(**A, phone="2"),
        )
        assert results(outcomes) == ["superseded", "updated", "updated"]
        assert outcomes[0].superseded_by == world.accepted[-1].id

    def test_one_surviving_word_is_enough(self) -> None:
        world = World()
        world.do(LeadCapture(**A))
        outcomes = together(world, LeadCapture(**A, name="a", phone="1"), LeadCapture(**A, name="b"))
        assert results(outcomes) == ["updated", "updated"]

    def test_who_named_nothing_was_not_overwritten(self) -> None:
        world = World()
        world.do(ContactSync(**X, name="a"))
        outcomes = together(world, ContactSync(**X), ContactSync(**X, name="a"))
        assert results(outcomes) == ["unchanged", "unchanged"]

    def test_converted_is_told_once(self) -> None:
        world = World()
        world.do(LeadCapture(**A))
        outcomes = together(world, ProductSignUp(**X, name="a"), ProductSignUp(**X, phone="1"))
        assert results(outcomes) == ["converted", "updated"]

    def test_a_skipped_fold_is_skipped_altogether_and_paid_once(self) -> None:
        outcomes = together(World(), NewsletterOptOut(**A), NewsletterOptOut(**A), LeadCapture(**A))
        assert results(outcomes) == ["skipped", "skipped", "created"]
        assert [outcome.calls for outcome in outcomes] == [1, 0, 2]

    def test_consent_counts_as_a_word(self) -> None:
        world = World()
        world.do(LeadCapture(**A))
        outcomes = together(world, NewsletterOptIn(**A), NewsletterOptIn(**A))
        assert results(outcomes) == ["superseded", "updated"]


class TestOne:
    def test_role_and_others(self) -> None:
        world = World()
        lead, user = world.seed("L", role="lead"), world.seed("U", role="user")
        outcome = world.do(LeadCapture(**A, name="Ann"))
        assert (outcome.contact_id, outcome.role, outcome.other_contacts) == (user, "user", (lead,))

    def test_an_opt_out_that_wrote_only_to_others_is_an_update(self) -> None:
        world = World()
        world.seed("U", role="user", unsubscribed_from_emails=True)
        world.seed("L", role="lead")
        assert world.do(NewsletterOptOut(**A)).result == "updated"
        assert world.calls() == ["search", "get U", "get L", "put L flag=out"]

    def test_an_interrupted_wish_knows_what_it_has_done(self) -> None:
        world = World()
        fates = ["throttled"]
        world.fate = lambda call: fates.pop() if fates and isinstance(call, op.Attach) else None
        outcome = world.do(NewsletterOptIn(**A, subscription_types=("102",)))
        assert outcome.result == "created"
        assert world.do(NewsletterOptIn(**A, subscription_types=("102",))).result == "updated"

    def test_a_dead_letter_does_not_hand_its_deeds_on(self) -> None:
        world = World()
        world.do(LeadCapture(**A))
        bad = ProductSignUp(**X, custom_attributes={"nonsense": "1"})
        outcomes = together(world, bad, ProductSignUp(**X))
        assert results(outcomes) == ["rejected", "converted"]

    def test_the_words_for_a_dead_letter_and_a_late_one(self) -> None:
        problem = op.Problem("refused", 400, "parameter_invalid", "no such attribute")
        log = AttemptLog(calls=2, merged=("c8",))
        dead = rejected(Reject("refused", problem, ("c9",)), log)
        assert (dead.reason, dead.message, dead.other_contacts) == ("refused", "no such attribute", ("c9",))
        late = superseded(Superseded("i1", "i2"), log)
        assert (late.result, late.superseded_by) == ("superseded", "i2")
        assert [(each.calls, each.merged) for each in (dead, late)] == [(2, ("c8",))] * 2
