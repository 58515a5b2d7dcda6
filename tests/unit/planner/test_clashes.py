"""409s and other answers that change who the person is (R20–R26, R24, R25), against scripted replies."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from onelane.intents import ContactSync, ContactUpsert, LeadCapture, NewsletterOptIn, ProductSignUp
from onelane_worker.planner import operations as op
from onelane_worker.planner.planner import Finish, Reject, Retry, Skip, Wait
from onelane_worker.planner.policy import Policy
from onelane_worker.planner.registry import Contact, Facts, RegistryEntry

from .play import ANN, START_MS, converse

A: dict[str, Any] = {"email": ANN}
X: dict[str, Any] = {"email": ANN, "external_id": "u-1"}
SIGN_UP = ProductSignUp(**X)
NOBODY = op.Listed((), START_MS)
HELD, HELD_ARCHIVED, HELD_BY_NOBODY = (
    op.Conflict("V", False),
    op.Conflict("V", True),
    op.Conflict(None, False),
)
problem = op.Problem("not_restorable")


def found(
    contact_id: str = "V", role: Any = "user", external_id: str | None = "u-1", **more: Any
) -> op.Found:
    fields = {"name": None, "signed_up_at": 1, "unsubscribed_from_emails": False}
    facts = {"id": contact_id, "role": role, "external_id": external_id, "email": ANN, "fields": fields}
    return op.Found(Facts(**facts | more))


def believed(role: Any = "lead", contact_id: str = "L", **more: Any) -> RegistryEntry:
    known = {"id": contact_id, "role": role, "email": ANN, "resolved_ms": START_MS}
    return RegistryEntry(contacts=(Contact(**known | more),))


class TestCreateIsRefused:
    def test_R24_the_holder_has_our_external_id(self) -> None:
        asked, end = converse(SIGN_UP, NOBODY, HELD, found())
        assert asked == ["search", "post user ext since", "get V"]
        assert end == Finish("V")

    def test_R24_the_holder_has_none(self) -> None:
        asked, end = converse(SIGN_UP, NOBODY, HELD, found(external_id=None), found())
        assert asked[2:] == ["get V", "put V ext"]
        assert end == Finish("V")

    def test_R20_the_holder_has_another_one(self) -> None:
        end = converse(SIGN_UP, NOBODY, HELD, found(external_id="u-9"))[1]
        assert end == Reject("address_taken", other_contacts=("V",))

    def test_R20_by_choice_the_holder_is_taken_over(self) -> None:
        adopt = Policy(other_external_id="adopt")
        asked, end = converse(SIGN_UP, NOBODY, HELD, found(external_id="u-9"), found(), policy=adopt)
        assert asked[-1] == "put V ext"
        assert end == Finish("V")

    def test_R24_without_an_external_id_the_holder_is_written_to_at_once(self) -> None:
        asked, end = converse(ContactSync(**A, name="Ann"), NOBODY, HELD, found(external_id="u-9"))
        assert asked == ["search", "post user name", "put V name"]
        assert end == Finish("V")

    def test_the_holder_is_gone_before_it_is_read(self) -> None:
        assert converse(SIGN_UP, NOBODY, HELD, op.Gone())[1] == Retry("conflict")

    def test_R25_an_unusual_address_of_the_holder_does_not_make_it_a_stranger(self) -> None:
        asked, end = converse(SIGN_UP, NOBODY, HELD, found(email=None), found())
        assert asked[-1] == "put V email"
        assert end == Finish("V")


class TestUpdateIsRefused:
    user = staticmethod(lambda: believed("user", "U", external_id="u-1", email="old@example.test"))

    def test_R64_the_new_address_has_a_user_already(self) -> None:
        for external_id in (None, "u-9"):
            replies = (HELD, found(external_id=external_id))
            asked, end = converse(ContactSync(**X), *replies, entry=self.user())
            assert asked == ["put U email", "get V"]
            assert end == Reject("address_taken", other_contacts=("V",))

    def test_a_409_that_makes_no_sense_is_not_asked_for_again(self) -> None:
        user = believed("user", "U")
        end = converse(LeadCapture(**A, name="Ann"), HELD, found(external_id=None), entry=user)[1]
        assert end == Reject("address_taken", other_contacts=("V",))


class TestArchivedHolder:
    def test_R21_is_brought_back_by_the_persons_act(self) -> None:
        asked, end = converse(SIGN_UP, NOBODY, HELD_ARCHIVED, op.Done("u-1"), found())
        assert asked[2:] == ["unarchive V", "put V email"]
        assert end == Finish("V")

    def test_R21_and_by_nobody_else(self) -> None:
        end = converse(ContactSync(**X), op.Gone(), NOBODY, HELD_ARCHIVED)[1]
        assert end == Skip("archived", "V")

    def test_one_without_an_external_id_in_the_answer_is_read_first(self) -> None:
        replies = (NOBODY, HELD_ARCHIVED, op.Done(None), found(external_id=None), found())
        asked, end = converse(SIGN_UP, *replies)
        assert asked[2:] == ["unarchive V", "get V", "put V ext"]
        assert end == Finish("V")

    def test_R20_one_of_another_account_is_put_back(self) -> None:
        asked, end = converse(SIGN_UP, NOBODY, HELD_ARCHIVED, op.Done("u-9"), op.Done("u-9"))
        assert asked[2:] == ["unarchive V", "archive V"]
        assert end == Reject("address_taken", other_contacts=("V",))

    def test_R20_also_if_only_reading_tells(self) -> None:
        replies = (NOBODY, HELD_ARCHIVED, op.Done(None), found(external_id="u-9"), op.Done())
        assert converse(SIGN_UP, *replies)[0][2:] == ["unarchive V", "get V", "archive V"]

    def test_S15_one_that_was_deleted_or_blocked(self) -> None:
        for why in ("deleted", "blocked"):
            replies: tuple[Any, ...] = (NOBODY, HELD_ARCHIVED, op.NotRestorable(why, problem))
            assert converse(SIGN_UP, *replies)[1] == Reject("not_restorable", problem)

    def test_S15_one_that_was_merged_is_looked_for_once_more(self) -> None:
        merged = op.NotRestorable("merged", problem)
        asked, end = converse(SIGN_UP, NOBODY, HELD_ARCHIVED, merged, op.Gone())
        assert asked[2:] == ["unarchive V", "find u-1"]
        assert end == Reject("not_restorable", problem)
        asked, end = converse(SIGN_UP, NOBODY, HELD_ARCHIVED, merged, found("W"))
        assert end == Finish("W")

    def test_one_whose_external_id_was_given_away_meanwhile(self) -> None:
        replies = (NOBODY, HELD_ARCHIVED, op.Conflict("W", False), found("W"))
        asked, end = converse(SIGN_UP, *replies)
        assert asked[-1] == "find u-1"
        assert end == Finish("W")

    def test_create_only_leaves_it_in_peace(self) -> None:
        create_only = ContactUpsert(**X, create="create_only")
        assert converse(create_only, op.Gone(), NOBODY, HELD_ARCHIVED)[1] == Skip("archived", "V")


class TestNobodyNamed:
    def test_the_holder_is_found_by_external_id(self) -> None:
        asked, end = converse(SIGN_UP, NOBODY, HELD_BY_NOBODY, found())
        assert asked == ["search", "post user ext since", "find u-1"]
        assert end == Finish("V")

    def test_or_the_index_gets_its_window(self) -> None:
        end = converse(SIGN_UP, NOBODY, HELD_BY_NOBODY, op.Gone())[1]
        assert isinstance(end, Wait)

    def test_and_no_longer(self) -> None:
        entry = RegistryEntry(clashed_ms=START_MS - 600_000)
        end = converse(SIGN_UP, NOBODY, HELD_BY_NOBODY, op.Gone(), entry=entry)[1]
        assert end == Reject("conflict_without_id")

    def test_on_an_update_it_is_asked_once(self) -> None:
        replies = (HELD_BY_NOBODY, op.Gone(), NOBODY)
        asked, end = converse(SIGN_UP, *replies, entry=believed())
        assert asked == ["put L ext role since", "find u-1", "search"]
        assert end == Reject("conflict_without_id")


class TestConversion:
    def test_R25_whom_the_409_names_is_the_person_and_our_lead_is_merged_into_it(self) -> None:
        ours = believed(made_ms=START_MS)
        asked, end = converse(SIGN_UP, HELD, found(), found(), entry=ours)
        assert asked == ["put L ext role since", "get V", "merge L V"]
        assert end == Finish("V")

    def test_R25_a_strange_lead_is_only_reported(self) -> None:
        assert converse(SIGN_UP, HELD, found(), entry=believed())[0][-1] == "get V"

    def test_R26_what_is_not_stored_is_not_sent_twice(self) -> None:
        asked, end = converse(SIGN_UP, found("L", "lead", "uuid"), entry=believed())
        assert asked == ["put L ext role since"]
        assert end == Reject("external_id_not_stored")

    def test_R64_an_address_that_is_echoed_otherwise_is_left_at_that(self) -> None:
        user = believed("user", "U", external_id="u-1", email="old@example.test")
        stored = found("U", email="ann+1@example.test")
        asked, end = converse(ContactSync(**X), stored, entry=user)
        assert asked == ["put U email"]
        assert end == Finish("U")


class TestBringingBack:
    def test_a_lost_lead_that_was_deleted_is_made_anew_at_once(self) -> None:
        replies = (op.Gone(), NOBODY, op.NotRestorable("deleted", problem), found("N", "lead", "uuid"))
        asked, _ = converse(LeadCapture(**A, phone="+1"), *replies, entry=believed())
        assert asked[:4] == ["put L phone", "search", "unarchive L", "post lead phone"]

    def test_a_lost_user_that_was_deleted_is_a_dead_end(self) -> None:
        replies = (op.Gone(), NOBODY, op.NotRestorable("deleted", problem))
        entry = believed("user", "U")
        assert converse(NewsletterOptIn(**A), *replies, entry=entry)[1] == Reject("not_restorable", problem)

    def test_nobody_is_brought_back_beside_somebody_who_lives(self) -> None:
        hit = op.Candidate("U", "user", None, ANN, 1)
        replies = (op.Gone(), op.Listed((hit,), START_MS), found("U", external_id=None))
        asked, end = converse(NewsletterOptIn(**A), *replies, entry=believed())
        assert asked == ["put L flag=in", "search", "get U"]
        assert end == Finish("U")

    def test_a_blocked_person_cannot_be_made_either(self) -> None:
        replies = (NOBODY, op.NotRestorable("blocked", problem))
        assert converse(SIGN_UP, *replies)[1] == Reject("not_restorable", problem)

    def test_unarchiving_that_failed_three_times_is_not_tried_again(self) -> None:
        entry = replace(believed("user", "U"), unarchive_failures={"U": 3})
        end = converse(NewsletterOptIn(**A), op.Gone(), NOBODY, entry=entry)[1]
        assert isinstance(end, Reject)
        assert end.reason == "not_restorable"
