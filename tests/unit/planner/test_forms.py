"""R23: what a form may do to the fields of a user, by the setting and by its own `trusted`."""

from __future__ import annotations

from typing import Any

import pytest

from onelane.intents import ContactSync, LeadCapture, NewsletterOptIn
from onelane_worker.planner.intent_rights import mode_of
from onelane_worker.planner.policy import Policy

from .play import ANN, World

A = {"email": ANN}
X = {"email": ANN, "external_id": "u-1"}
FILL = Policy(form_fields_on_user="fill")

RIGHTS = """
overwrite | None  | overwrite
overwrite | True  | overwrite
overwrite | False | fill
fill      | None  | fill
fill      | True  | overwrite
fill      | False | fill
keep      | None  | keep
keep      | True  | overwrite
keep      | False | keep
"""


@pytest.mark.parametrize(
    "line", [[cell.strip() for cell in line.split("|")] for line in RIGHTS.strip().splitlines()]
)
@pytest.mark.parametrize("make", [LeadCapture, NewsletterOptIn])
def test_what_a_form_may_do_to_a_users_fields(line: list[str], make: Any) -> None:
    setting, trusted, right = line
    said = {"None": None, "True": True, "False": False}[trusted]
    assert mode_of(make(**A, trusted=said), Policy(form_fields_on_user=setting)).form == right  # type: ignore[arg-type]


def forget_what_it_holds(world: World) -> None:
    """Who the user is stays known; a refused write leaves no facts."""
    world.do(ContactSync(**X, name="Ann"))
    world.name_new("U")
    assert world.do(ContactSync(**X, custom_attributes={"no such": 1})).result == "rejected"
    world.calls()


class TestFill:
    """Only a field that is known to be empty is written; what is not known is read once."""

    @pytest.mark.parametrize(
        ("role", "held", "form", "calls"),
        [
            ("user", {}, {"name": "Eve"}, "put C name"),
            ("user", {"name": "Ann"}, {"name": "Eve"}, None),
            ("user", {"name": ""}, {"name": "Eve"}, "put C name"),
            ("user", {"name": "Ann"}, {"name": "Eve", "phone": "+1"}, "put C phone"),
            ("user", {"custom_attributes": {"plan": "pro"}}, {"custom_attributes": {"plan": "x"}}, None),
            (
                "user",
                {"custom_attributes": {"plan": "pro"}},
                {"custom_attributes": {"city": "x"}},
                "put C attrs",
            ),
            ("user", {"custom_attributes": {"plan": ""}}, {"custom_attributes": {"plan": "x"}}, None),
            ("lead", {"name": "Ann"}, {"name": "Eve"}, "put C name"),
        ],
    )
    @pytest.mark.parametrize("by", ["setting", "intent"])
    def test_a_field_that_holds_something_is_left_alone(
        self, role: str, held: dict[str, Any], form: dict[str, Any], calls: str | None, by: str
    ) -> None:
        world = World(FILL if by == "setting" else None)
        world.seed("C", role=role, **held)
        world.do(LeadCapture(**A, **form, trusted=False if by == "intent" else None))
        assert world.calls() == ["search", "get C", *([calls] if calls else [])]

    def test_an_anonymous_form_renames_nobody_and_changes_no_phone(self) -> None:
        world = World(FILL)
        world.seed("U", role="user", external_id="u-1", name="Ann", phone="+1")
        outcome = world.do(LeadCapture(**A, name="Eve", phone="+666", custom_attributes={"plan": "x"}))
        user = world.only()
        assert (user["name"], user["phone"], user["custom_attributes"]["plan"]) == ("Ann", "+1", "x")
        assert outcome.result == "updated"

    def test_what_is_known_costs_no_read(self) -> None:
        world = World(FILL)
        world.do(ContactSync(**X, name="Ann"))
        world.name_new("U")
        world.calls()
        assert world.do(LeadCapture(**A, name="Eve")).result == "unchanged"
        assert world.calls() == []
        world.do(LeadCapture(**A, phone="+1"))
        assert world.calls() == ["put U phone"]

    def test_a_contact_whose_fields_are_not_known_is_read_once(self) -> None:
        world = World(FILL)
        forget_what_it_holds(world)
        world.do(LeadCapture(**A, name="Eve", phone="+1"))
        assert world.calls() == ["get U", "put U phone"]
        world.do(LeadCapture(**A, name="Eve", phone="+2"))
        assert world.calls() == []

    def test_a_form_without_fields_reads_nothing(self) -> None:
        world = World(FILL)
        forget_what_it_holds(world)
        world.do(NewsletterOptIn(**A))
        assert world.calls() == ["put U flag=in"]

    def test_consent_of_an_untrusted_opt_in_is_carried_out(self) -> None:
        world = World()
        world.seed("U", role="user", name="Ann", unsubscribed_from_emails=True)
        world.do(NewsletterOptIn(**A, name="Eve", trusted=False))
        assert world.calls() == ["search", "get U", "put U flag=in"]

    def test_a_lost_answer_does_not_make_it_fill_twice(self) -> None:
        world = World(FILL)
        world.seed("U", role="user", external_id="u-1")
        fates = iter([None, None, "lost"])
        world.fate = lambda operation: next(fates, None)
        world.do(LeadCapture(**A, name="Eve"))
        assert world.calls() == ["search", "get U", "put U name", "get U"]
        assert world.only()["name"] == "Eve"


class TestFolding:
    """Each field's writer decides: forms whose trust differs, or that fill in one field, go one by one."""

    def test_the_first_to_fill_a_field_in_stands(self) -> None:
        world = World(FILL)
        world.seed("U", role="user")
        world.do(LeadCapture(**A, name="Eve"), LeadCapture(**A, name="Mallory", phone="+1"))
        assert (world.only()["name"], world.only()["phone"]) == ("Eve", "+1")

    def test_forms_that_fill_in_other_fields_travel_together(self) -> None:
        world = World(FILL)
        world.seed("U", role="user")
        world.do(LeadCapture(**A, name="Eve"), NewsletterOptIn(**A, phone="+1"))
        assert world.calls() == ["search", "get U", "put U name phone"]

    @pytest.mark.parametrize(
        ("trust", "name"),
        [
            ((True, False), "first"),
            ((False, True), "second"),
            ((False, False), "Ann"),
            ((True, True), "second"),
            ((True, None), "first"),
            ((None, True), "second"),
        ],
    )
    def test_forms_of_different_trust(self, trust: tuple[bool | None, bool | None], name: str) -> None:
        world = World(FILL)
        world.seed("U", role="user", name="Ann")
        world.do(
            LeadCapture(**A, name="first", trusted=trust[0]),
            LeadCapture(**A, name="second", trusted=trust[1]),
        )
        assert world.only()["name"] == name

    def test_on_a_lead_the_last_one_wins_whatever_its_trust(self) -> None:
        world = World(FILL)
        world.seed("L", role="lead", name="Ann")
        world.do(LeadCapture(**A, name="first", trusted=True), LeadCapture(**A, name="second", trusted=False))
        assert world.only()["name"] == "second"
