"""Broken histories: each must be caught, as what it is. A judge who cannot convict is worth nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from .history import Span
from .report import KINDS
from .story import BOB, Story, two_names

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
    story = Story()
    told: dict[str, Any] = {"outcome": {"reason": "not_found"}, "custom_attributes": {"nope": 1}}
    swallowed = story.intent("contact_sync", "skipped", create=False, **told)
    assert story.kinds(poison=frozenset({swallowed})) == ["dead_letter"]


@pytest.mark.parametrize(
    "outcome",
    [{"result": "done", "contact_id": "id1"}, {"contact_id": "id9"}, {"contact_id": None}],
    ids=["unknown result", "unknown contact", "no contact"],
)
def test_an_outcome_that_cannot_be(outcome: dict[str, Any]) -> None:
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


def test_superseded_by_a_dead_letter() -> None:
    story = Story()
    sync: dict[str, Any] = {"external_id": "u1", "source": "crm"}
    story.intent("contact_sync", "created", version=1, name="A", **sync)
    story.create(role="user", external_id="u1", name="A")
    dead = f"{2:032x}"
    story.intent("contact_sync", "superseded", outcome={"superseded_by": dead}, version=2, name="B", **sync)
    story.intent("contact_sync", "rejected", outcome={"reason": "refused"}, version=3, name="C", **sync)
    assert story.kinds(poison=frozenset({dead})) == ["outcome"]


def test_superseded_in_a_circle() -> None:
    story = two_names()
    for other in (3, 2):
        story.intent(result="superseded", name="C", outcome={"superseded_by": f"{other:032x}"})
    story.intent(name="D")
    story.put(name="D")
    assert story.kinds() == ["outcome", "outcome"]


@pytest.mark.parametrize("differs", [{"source": "erp"}, {"external_id": "u2"}, {"version": 6}])
def test_superseded_at_another_address_by_what_is_no_newer_picture(differs: dict[str, Any]) -> None:
    story = Story()
    sync: dict[str, Any] = {"external_id": "u1", "source": "crm"}
    newer = story.intent("contact_sync", "created", version=5, name="A", **sync)
    story.create(role="user", external_id="u1", name="A")
    older: dict[str, Any] = {**sync, "version": 4, "name": "B", "email": BOB, **differs}
    story.intent("contact_sync", "superseded", outcome={"superseded_by": newer}, **older)
    assert story.kinds() == ["outcome"]


# ── results ───────────────────────────────────────────────────────────────────────────────────────────────

UPSERT: dict[str, Any] = {"set": {"name": "B"}}


@pytest.mark.parametrize(
    ("kind", "fields", "reason"),
    [
        ("lead_capture", {"name": "A"}, "not_found"),
        ("lead_capture", {"name": "A"}, "archived"),
        ("newsletter_opt_in", {}, "not_found"),
        ("product_sign_up", {"external_id": "u1"}, None),
        ("product_sign_up", {"external_id": "u1"}, "exists"),
        ("newsletter_opt_out", {}, "exists"),
        ("newsletter_opt_out", {}, None),
        ("contact_sync", {"name": "A"}, "not_found"),
        ("contact_sync", {"name": "A", "create": True}, "not_found"),
        ("contact_upsert", UPSERT, "not_found"),
        ("contact_upsert", {**UPSERT, "create": "create_or_update"}, "exists"),
        ("contact_upsert", {**UPSERT, "create": "create_only"}, "not_found"),
        ("contact_upsert", {**UPSERT, "create": "update_only"}, "exists"),
        ("email_change", {"new_email": BOB}, "exists"),
    ],
)
def test_skipped_for_no_reason_of_its_kind(kind: str, fields: dict[str, Any], reason: str | None) -> None:
    story = Story()
    story.intent(kind, "skipped", outcome={"reason": reason}, **fields)
    assert story.kinds() == ["outcome"]


@pytest.mark.parametrize(
    ("kind", "result", "fields"),
    [
        ("lead_capture", "erased", {"name": "B"}),
        ("contact_erasure", "updated", {}),
        ("contact_erasure", "skipped", {}),
    ],
)
def test_an_ending_of_another_kind(kind: str, result: str, fields: dict[str, Any]) -> None:
    story = two_names()
    story.intent(kind, result, **fields)
    assert "outcome" in story.kinds()


@pytest.mark.parametrize("reason", ["exists", "archived"])
def test_skipped_because_of_nobody(reason: str) -> None:
    story = Story()
    story.intent("contact_upsert", "skipped", create="create_only", outcome={"reason": reason}, **UPSERT)
    assert story.kinds() == ["outcome"]


# ── versions ──────────────────────────────────────────────────────────────────────────────────────────────


def test_an_older_version_over_a_newer_one() -> None:
    story = Story()
    story.intent("contact_sync", "created", version=5, source="crm", name="A")
    story.create(role="user", name="A")
    story.intent("contact_sync", version=4, source="crm", name="B")
    story.put(name="B")
    assert story.kinds() == ["outcome"]


def over_two_addresses() -> Story:
    """Version 5 by ann's address, and a good while later version 4 by bob's."""
    story = Story()
    sync: dict[str, Any] = {"external_id": "u1", "source": "crm"}
    story.intent("contact_sync", "created", version=5, name="A", **sync)
    story.create(role="user", external_id="u1", name="A")
    story.now += 100
    story.intent("contact_sync", version=4, name="B", email=BOB, **sync)
    story.put(email=BOB, name="B")
    return story


def test_an_older_version_by_another_address() -> None:
    assert over_two_addresses().kinds() == ["outcome"]


def test_an_older_version_by_another_address_as_soon_as_the_newer_has_ended() -> None:
    story = over_two_addresses()
    newer, older = story.accepted
    story.accepted = [replace(newer, at=older.at - 1, ended=older.at - 0.1), older]
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


def test_a_moment_that_redis_lost_is_no_excuse_for_two_writes_at_once() -> None:
    story = two_names()
    story.put(name="B", how={"at": 2_000.0, "takes_s": 1.0})
    story.put(name="B", how={"at": 2_000.5})
    assert story.kinds(rollbacks=(Span(1_999.0, 2_000.1),)) == ["overlap"]


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
