"""Broken histories: each must be caught, as what it is. A judge who cannot convict is worth nothing."""

from __future__ import annotations

import pytest

from .report import KINDS
from .story import Story, two_names

# ── endings ───────────────────────────────────────────────────────────────────────────────────────────────


def test_an_intent_that_never_ended_is_lost() -> None:
    story = two_names()
    story.intent(result=None, phone="+1")
    assert story.kinds() == ["lost"]


def test_an_unexpected_dead_letter() -> None:
    story = two_names()
    story.intent(result="rejected", phone="+1", outcome={"reason": "upstream_error"})
    assert story.kinds() == ["dead_letter"]


def test_poison_that_was_swallowed() -> None:
    story = two_names()
    swallowed = story.intent(result="skipped", custom_attributes={"nope": 1})
    assert story.kinds(poison=frozenset({swallowed})) == ["dead_letter"]


@pytest.mark.parametrize(
    "outcome",
    [{"result": "done", "contact_id": "id1"}, {"contact_id": "id9"}, {"contact_id": None}],
    ids=["unknown result", "unknown contact", "no contact"],
)
def test_an_outcome_that_cannot_be(outcome: dict[str, object]) -> None:
    story = two_names()
    story.intent(result="unchanged", name="B", outcome=outcome)
    assert story.kinds() == ["outcome"]


def test_superseded_by_nobody() -> None:
    story = two_names()
    story.intent(result="superseded", name="B", outcome={"superseded_by": "f" * 32})
    assert story.kinds() == ["outcome"]


def test_superseded_though_one_field_was_named_by_it_alone() -> None:
    story = two_names()
    last = f"{3:032x}"
    story.intent(result="superseded", name="C", phone="+1", outcome={"superseded_by": last})
    story.intent(name="D")
    story.put(name="D")
    assert story.kinds() == ["outcome"]


def test_superseded_by_the_past() -> None:
    story = two_names()
    story.intent(result="superseded", name="C", outcome={"superseded_by": f"{1:032x}"})
    assert story.kinds() == ["outcome"]


def test_superseded_opt_in_that_nobody_overruled() -> None:
    story = two_names()
    story.intent("newsletter_opt_in", "superseded", outcome={"superseded_by": f"{1:032x}"})
    assert story.kinds() == ["outcome"]


def test_an_update_that_was_never_written() -> None:
    story = two_names()
    story.intent(name="C")
    story.intent(name="D")
    story.put(name="D")
    assert story.kinds() == ["outcome"]


# ── order ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_older_value_after_a_newer_one() -> None:
    story = two_names()
    story.put(name="A")
    story.put(name="B")
    assert story.kinds() == ["order"]


def test_order_is_that_of_taking_effect_not_of_arrival() -> None:
    story = Story()
    story.intent(result="created", phone="+1")
    story.intent(name="A")
    story.intent(name="B")
    story.create(phone="+1")
    story.put(name="A", how={"at": 2_000.0, "takes_s": 2.0, "status": None})
    story.put(name="B", how={"at": 2_001.0})
    assert "order" in story.kinds()


def test_a_step_back_among_markers() -> None:
    story = Story()
    for number in (1, 2, 3):
        story.intent(result="created" if number == 1 else "updated", custom_attributes={"seq": number})
    story.create(custom_attributes={"seq": 1})
    for number in (3, 2, 3):
        story.put(custom_attributes={"seq": number})
    report = story.report()
    assert [one.kind for one in report.violations] == ["order"]
    assert len(report.violations[0].evidence) == 2


def test_consent_that_steps_back() -> None:
    story = Story()
    story.intent("newsletter_opt_in", "created")
    story.intent("newsletter_opt_out")
    story.create()
    for refused in (True, False, True):
        story.put(unsubscribed_from_emails=refused)
    assert story.kinds() == ["order"]


def test_a_value_from_nowhere() -> None:
    story = two_names()
    story.put(phone="+666")
    assert story.kinds() == ["stray"]


def test_an_insert_value_is_not_written_twice_over_a_later_one() -> None:
    story = Story()
    story.intent("contact_upsert", "created", set_on_insert={"name": "first"})
    story.intent(name="B")
    story.create(name="first")
    story.put(name="B")
    story.put(name="first")
    assert set(story.kinds()) == {"order", "field"}


# ── overlap ───────────────────────────────────────────────────────────────────────────────────────────────


def test_two_writes_at_once() -> None:
    story = two_names()
    story.put(name="B", how={"at": 2_000.0, "takes_s": 1.0})
    story.put(name="B", how={"at": 2_000.5})
    assert story.kinds() == ["overlap"]


def test_a_search_beside_a_write() -> None:
    story = two_names()
    story.put(name="B", how={"at": 2_000.0, "takes_s": 1.0})
    story.search(at=2_000.5)
    assert story.kinds() == ["overlap"]


def test_a_search_beside_a_write_is_no_better_for_getting_no_answer() -> None:
    story = two_names()
    story.put(name="B", how={"at": 2_000.0, "takes_s": 1.0})
    story.search(at=2_000.5, status=None)
    assert story.kinds() == ["overlap"]


def test_a_read_by_id_beside_a_create() -> None:
    story = Story()
    story.intent(result="created", name="A")
    story.create(name="A", how={"at": 2_000.0, "takes_s": 1.0})
    story.request("GET", "/contacts/id1", at=2_000.9)
    assert story.kinds() == ["overlap"]


def test_a_look_up_by_external_id_beside_a_write() -> None:
    story = Story()
    story.intent("contact_sync", "created", external_id="a/b", name="A")
    story.create(role="user", external_id="a/b", name="A", how={"at": 2_000.0, "takes_s": 1.0})
    story.request("GET", "/contacts/find_by_external_id/a%2Fb", at=2_000.5)
    assert story.kinds() == ["overlap"]


def test_a_look_for_the_user_of_an_unknown_create_is_counted_apart() -> None:
    story = Story()
    story.intent("contact_sync", "created", external_id="u1", name="A")
    unknown = {"at": 2_000.0, "takes_s": 2.0, "status": None}
    story.create(role="user", external_id="u1", name="A", how=unknown)
    story.request("GET", "/contacts/find_by_external_id/u1", at=2_001.0)
    report = story.report()
    assert report.ok
    assert report.counts["apart: look for an unknown create"] == 1
    story.search(at=2_001.5)
    assert story.kinds() == ["overlap"]


def test_a_write_whose_client_has_gone_is_in_flight_until_it_commits() -> None:
    story = two_names()
    story.put(name="B", how={"at": 2_000.0, "takes_s": 3.0, "status": None})
    story.put(name="B", how={"at": 2_002.0})
    assert story.kinds() == ["overlap"]


def test_a_write_that_never_ended_is_in_flight_for_ever() -> None:
    story = two_names()
    story.put(name="B", how={"at": 2_000.0, "takes_s": None, "status": None})
    story.put(name="B", how={"at": 9_000.0})
    assert story.kinds() == ["overlap"]


def test_an_abandoned_read_does_no_harm() -> None:
    story = two_names()
    story.search(at=2_000.0, takes_s=3.0, status=None)
    story.put(name="B", how={"at": 2_002.0})
    report = story.report()
    assert report.ok
    assert report.counts["apart: abandoned read"] == 1


def test_two_addresses_may_be_at_work_together() -> None:
    story = two_names()
    story.intent(result="created", email="bob@example.test", outcome={"contact_id": "id2"})
    story.create(email="bob@example.test", how={"at": 2_000.0, "takes_s": 1.0})
    story.put(name="B", how={"at": 2_000.5})
    assert story.kinds() == []


# ── the report ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_violation_shows_its_evidence() -> None:
    story = two_names()
    story.put(name="A")
    text = str(story.report())
    assert "BROKEN" in text
    assert "#3 PUT /contacts/id1" in text
    assert story.report().as_json()["ok"] is False


def test_every_kind_of_violation_is_named() -> None:
    story = two_names()
    story.put(name="A")
    assert {one.kind for one in story.report().violations} <= set(KINDS)
