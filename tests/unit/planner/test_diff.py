"""When is a write needed? R45–R48: only what is surely equal is skipped."""

from __future__ import annotations

from typing import Any

import pytest

from onelane_worker.planner.diff import acknowledged, difference, differs, same
from onelane_worker.planner.registry import Ack, Facts

NAME, PLAN = "name", "custom_attributes.plan"


def facts(known: bool = True, **fields: Any) -> Facts:
    plain = {k: v for k, v in fields.items() if k != "plan"}
    attributes = {PLAN: fields["plan"]} if "plan" in fields else {}
    return Facts(id="c1", role="user", fields=plain | attributes, attributes_known=known)


@pytest.mark.parametrize(
    ("path", "a", "b", "equal"),
    [
        (NAME, "Ann", "Ann", True),
        (NAME, "Ann", "ann", False),
        (NAME, None, "", True),
        ("phone", "", None, True),
        ("avatar", None, "", True),
        (PLAN, None, "", False),
        (PLAN, "", "", True),
        (PLAN, True, 1, False),
        (PLAN, True, True, True),
        (PLAN, False, 0, False),
        (PLAN, False, None, False),
        (PLAN, 1, 1.0, True),
        (PLAN, "1", 1, False),
        (PLAN, 0, None, False),
        ("owner_id", 7, 7, True),
        ("owner_id", 7, "7", False),
        ("signed_up_at", None, None, True),
        ("signed_up_at", 0, None, False),
    ],
)
def test_R47_types_and_nulls(path: str, a: Any, b: Any, equal: bool) -> None:
    assert same(path, a, b) is equal
    assert same(path, b, a) is equal


class TestDiffers:
    def test_R48_nothing_is_skipped_without_facts(self) -> None:
        assert differs(NAME, "Ann", None)

    def test_R47_a_plain_field_that_the_answer_left_out_is_unknown(self) -> None:
        assert differs(NAME, None, facts())
        assert not differs(NAME, None, facts(name=None))

    def test_R47_an_attribute_that_the_answer_left_out_is_null(self) -> None:
        assert not differs(PLAN, None, facts())
        assert differs(PLAN, "pro", facts())

    def test_R47_unless_the_answer_carried_no_attributes_at_all(self) -> None:
        assert differs(PLAN, None, facts(known=False))

    def test_difference_keeps_only_what_has_to_be_sent(self) -> None:
        held = facts(name="Ann", phone="+1", plan="pro")
        desired = {NAME: "Ann", "phone": "+2", PLAN: "pro", "custom_attributes.city": "Rome"}
        assert difference(desired, held) == {"phone": "+2", "custom_attributes.city": "Rome"}


class TestReformatted:
    """R45: a value that Intercom stored in its own form is not sent again and again."""

    held = acknowledged({"phone": "+1 (555) 1"}, facts(phone="+15551"), None)

    def test_the_value_we_sent_is_known_by_its_echo(self) -> None:
        assert self.held.acks == {"phone": Ack(sent="+1 (555) 1", echoed="+15551")}
        assert not differs("phone", "+1 (555) 1", self.held)

    def test_another_value_is_sent(self) -> None:
        assert differs("phone", "+1 (555) 2", self.held)

    def test_the_echo_itself_is_equal_as_well(self) -> None:
        assert not differs("phone", "+15551", self.held)

    def test_somebody_changed_it_behind_us(self) -> None:
        later = acknowledged({}, facts(phone="+49"), self.held)
        assert later.acks == {}
        assert differs("phone", "+1 (555) 1", later)

    def test_an_exact_echo_ends_the_story(self) -> None:
        assert acknowledged({"phone": "+15551"}, facts(phone="+15551"), self.held).acks == {}

    def test_it_survives_writes_of_other_fields(self) -> None:
        later = acknowledged({"name": "Ann"}, facts(phone="+15551", name="Ann"), self.held)
        assert later.acks == self.held.acks

    def test_attributes_alike(self) -> None:
        held = acknowledged({"custom_attributes": {"plan": "Pro "}}, facts(plan="Pro"), None)
        assert not differs(PLAN, "Pro ", held)
