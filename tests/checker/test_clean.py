"""Histories in which the promise holds: the checker must stay silent."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from .history import Span, normal
from .story import BOB, Story, two_names


def seq(number: int) -> dict[str, int]:
    return {"seq": number}


def test_nothing_happened() -> None:
    assert Story().report().ok


def test_a_newcomer_a_change_and_a_no_op() -> None:
    story = Story()
    story.intent(result="created", name="Ann", custom_attributes=seq(1))
    story.intent(custom_attributes=seq(2))
    story.intent(result="unchanged", custom_attributes=seq(2))
    story.search()
    story.create(name="Ann", custom_attributes=seq(1))
    story.put(custom_attributes=seq(2))
    report = story.report()
    assert report.ok, str(report)
    assert report.counts["fields compared"] == 2
    assert report.counts["creates"] == 1


def test_a_fold_writes_only_the_last_value() -> None:
    story = Story()
    last = f"{1:032x}"
    first = story.intent(result="created", outcome={"applied_with": [last]}, custom_attributes=seq(1))
    story.intent(result="updated", outcome={"applied_with": [first]}, custom_attributes=seq(2), name="Ann")
    story.create(custom_attributes=seq(2), name="Ann")
    assert story.kinds() == []


def test_a_value_may_come_back_when_it_is_asked_for_again() -> None:
    story = Story()
    story.intent(result="created", name="A")
    story.intent(name="B")
    story.intent(name="A")
    story.create(name="A")
    story.put(name="B")
    story.put(name="A")
    assert story.kinds() == []


def test_the_same_write_may_be_made_twice() -> None:
    story = Story()
    story.intent(result="created", name="A")
    story.intent(name="B", result="updated")
    story.create(name="A")
    story.put(name="B", how={"status": None, "fault": "lose_response"})
    story.put(name="B")
    assert story.kinds() == []


def test_a_lead_becomes_a_user() -> None:
    story = Story()
    story.intent(result="created")
    story.intent("product_sign_up", "converted", external_id="u1", name="Ann")
    story.create()
    story.put(role="user", external_id="u1", name="Ann", signed_up_at=1002)
    assert story.kinds() == []


def test_two_accounts_at_one_address() -> None:
    story = Story()
    story.intent("product_sign_up", "created", external_id="u1", name="One")
    story.intent("product_sign_up", "created", external_id="u2", name="Two", outcome={"contact_id": "id2"})
    story.create(role="user", external_id="u1", name="One", signed_up_at=1001)
    story.create(role="user", external_id="u2", name="Two", signed_up_at=1002)
    assert story.kinds() == []


def test_insert_fields_may_appear_in_a_create_only() -> None:
    story = Story()
    story.intent("contact_upsert", "created", set={"name": "A"}, set_on_insert={"phone": "+1"})
    story.create(name="A", phone="+1")
    assert story.kinds() == []


def test_an_unset_field_is_empty() -> None:
    story = Story()
    story.intent(result="created", name="A", phone="+1")
    story.intent("contact_sync", unset=["phone", "custom_attributes.seq"])
    story.create(name="A", phone="+1")
    story.put(phone=None, custom_attributes={"seq": None})
    assert story.kinds() == []


def test_a_refused_intent_leaves_nothing_and_is_expected() -> None:
    story = Story()
    story.intent(result="created", name="A")
    poison = story.intent(result="rejected", custom_attributes={"nope": 1}, outcome={"reason": "refused"})
    story.create(name="A")
    story.request("PUT", "/contacts/id1", {"custom_attributes": {"nope": 1}}, status=400, committed=False)
    assert story.kinds(poison=frozenset({poison})) == []


def test_consent_follows_the_last_word_on_every_channel() -> None:
    story = Story()
    story.intent("newsletter_opt_in", "created", subscription_types=["101", "102"])
    story.intent("newsletter_opt_out", subscription_types=["101"])
    story.intent("newsletter_opt_out")
    story.create()
    story.subscribe("id1", "102", "opt_in")
    story.subscribe("id1", "101", "opt_out")
    story.put(unsubscribed_from_emails=True)
    assert story.kinds() == []


def test_an_old_word_that_comes_late_is_superseded() -> None:
    story = Story()
    by = story.intent("newsletter_opt_out", "created")
    late = "1970-01-01T00:00:01+00:00"
    story.intent("newsletter_opt_in", "superseded", outcome={"superseded_by": by}, occurred_at=late)
    story.create(unsubscribed_from_emails=True)
    assert story.kinds() == []


def test_a_remembered_opt_out_is_applied_by_somebody_elses_create() -> None:
    story = Story()
    story.intent("newsletter_opt_out", "skipped", outcome={"reason": "not_found"})
    story.intent(result="created", name="A")
    story.create(name="A")
    story.put(unsubscribed_from_emails=True)
    assert story.kinds() == []


def test_after_an_erasure_nothing_need_be_left() -> None:
    story = Story()
    story.intent(result="created", name="A")
    story.intent("contact_erasure", "erased")
    story.create(name="A")
    story.request("DELETE", "/contacts/id1")
    story.contacts[0]["deleted"] = True
    assert story.kinds() == []


def test_intents_accepted_at_the_same_moment_may_end_either_way() -> None:
    for last in ("A", "B"):
        story = Story()
        story.intent(result="created", name="A", rank=5)
        story.intent(name="B", rank=5)
        story.create(name="B" if last == "A" else "A")
        story.put(name=last)
        assert story.kinds() == []


def test_a_foreign_contact_is_nobodys_duplicate() -> None:
    story = Story()
    story.intent(result="created", name="A")
    story.create(name="A")
    theirs = story.create(role="user", external_id="browser", name="B")
    assert story.kinds(foreign_contacts=frozenset({theirs}), foreign_requests=frozenset({2})) == []


def test_a_superseded_version_is_passed_over() -> None:
    story = Story()
    newer = story.intent("contact_sync", "created", version=2, name="B", source="crm")
    story.intent(
        "contact_sync", "superseded", outcome={"superseded_by": newer}, version=1, name="A", source="crm"
    )
    story.create(role="user", name="B")
    assert story.kinds() == []


def test_a_version_may_be_superseded_by_another_address() -> None:
    story = Story()
    sync: dict[str, Any] = {"external_id": "u1", "source": "crm"}
    newer = story.intent("contact_sync", "created", version=5, name="A", **sync)
    story.create(role="user", external_id="u1", name="A")
    told = {"superseded_by": newer}
    story.intent("contact_sync", "superseded", email=BOB, outcome=told, version=4, name="B", **sync)
    assert story.kinds() == []


def test_superseded_by_one_that_was_superseded_itself() -> None:
    story = Story()
    for number, result in enumerate(("superseded", "superseded", "created")):
        outcome = {"superseded_by": f"{number + 1:032x}"} if result == "superseded" else {}
        story.intent(result=result, outcome=outcome, name=str(number))
    story.create(name="2")
    assert story.kinds() == []


def test_a_word_is_superseded_by_one_that_is_only_remembered() -> None:
    story = Story()
    by = story.intent("newsletter_opt_out", "skipped", outcome={"reason": "not_found"})
    late = "1970-01-01T00:00:01+00:00"
    story.intent("newsletter_opt_in", "superseded", outcome={"superseded_by": by}, occurred_at=late)
    assert story.kinds() == []


@pytest.mark.parametrize(
    "differs", [{"source": "erp"}, {"external_id": "u2"}, {"version": 5}, {"version": None}]
)
def test_only_versions_of_one_picture_are_compared(differs: dict[str, Any]) -> None:
    story = Story()
    sync: dict[str, Any] = {"external_id": "u1", "source": "crm", "name": "A"}
    story.intent("contact_sync", "created", version=5, **sync)
    story.intent("contact_sync", "unchanged", **{"version": 4, **sync, **differs})
    story.create(role="user", external_id="u1", name="A")
    assert story.kinds() == []


def test_an_erasure_forgets_versions() -> None:
    story = Story()
    story.intent("contact_sync", "created", version=5, name="A")
    story.create(role="user", name="A")
    story.intent("contact_erasure", "erased")
    story.request("DELETE", "/contacts/id1")
    story.contacts[0]["deleted"] = True
    story.intent("contact_sync", "created", version=4, name="B", outcome={"contact_id": "id2"})
    story.create(role="user", name="B")
    assert story.kinds() == []


def test_two_addresses_are_at_work_at_the_same_time() -> None:
    """Nobody can say here that version 5 had ended when version 4 was accepted."""
    story = Story()
    sync: dict[str, Any] = {"external_id": "u1", "source": "crm"}
    story.intent("contact_sync", "created", version=5, name="A", **sync)
    story.create(role="user", external_id="u1", name="A")
    story.intent("contact_sync", version=4, name="B", email=BOB, **sync)
    story.put(email=BOB, name="B")
    assert story.kinds() == []


NOBODY = {"reason": "not_found"}


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("newsletter_opt_out", {}),
        ("contact_sync", {"name": "A", "create": False}),
        ("contact_upsert", {"set": {"name": "A"}, "create": "update_only"}),
        ("email_change", {"new_email": BOB}),
    ],
)
def test_who_may_not_create_may_find_nobody(kind: str, fields: dict[str, Any]) -> None:
    story = Story()
    story.intent(kind, "skipped", outcome=NOBODY, **fields)
    story.intent(result="created", name="B")
    story.create(name="B")
    if kind == "newsletter_opt_out":
        story.put(unsubscribed_from_emails=True)
    assert story.kinds() == []


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("newsletter_opt_out", {}),
        ("contact_sync", {"name": "B"}),
        ("contact_upsert", {"set": {"name": "B"}, "create": "update_only"}),
        ("contact_upsert", {"set": {"name": "B"}, "create": "create_only"}),
        ("email_change", {"new_email": BOB}),
    ],
)
def test_whom_others_archived_stays_so(kind: str, fields: dict[str, Any]) -> None:
    story = Story()
    contact_id = story.create(name="A")
    theirs = frozenset({1, story.archive()})
    story.intent(kind, "skipped", outcome={"reason": "archived", "contact_id": contact_id}, **fields)
    assert story.kinds(foreign_requests=theirs) == []


def test_whom_an_update_met_archived_a_person_brings_back() -> None:
    story = two_names()
    theirs = frozenset({story.archive()})
    told = {"reason": "archived", "contact_id": "id1"}
    story.intent("contact_sync", "skipped", outcome=told, name="C")
    story.intent("contact_upsert", "skipped", outcome=NOBODY, set={"name": "C"}, create="update_only")
    story.unarchive()
    story.intent(name="D")
    story.put(name="D")
    assert story.kinds(foreign_requests=theirs) == []


def test_create_only_leaves_alone_whom_it_meets() -> None:
    story = two_names()
    told = {"reason": "exists", "contact_id": "id1"}
    story.intent("contact_upsert", "skipped", outcome=told, set={"name": "C"}, create="create_only")
    assert story.kinds() == []


def test_another_account_is_not_the_one_that_was_to_be_updated() -> None:
    story = Story()
    story.intent("product_sign_up", "created", external_id="u1", name="A")
    story.create(role="user", external_id="u1", name="A", signed_up_at=1001)
    update: dict[str, Any] = {"set": {"name": "B"}, "create": "update_only", "external_id": "u2"}
    story.intent("contact_upsert", "skipped", outcome=NOBODY, **update)
    assert story.kinds() == []


def test_whom_others_made_may_not_have_been_visible() -> None:
    story = Story()
    theirs = story.create(role="user", external_id="browser", name="B")
    story.intent("contact_upsert", "skipped", outcome=NOBODY, set={"name": "A"}, create="update_only")
    assert story.kinds(foreign_requests=frozenset({1})) == []
    assert story.kinds(foreign_contacts=frozenset({theirs})) == ["stray"]


def test_whoever_comes_after_an_erasure_may_live() -> None:
    story = Story()
    story.intent("contact_erasure", "erased")
    story.intent(result="created", name="A")
    story.create(name="A")
    assert story.kinds() == []


def test_a_dead_letter_that_was_scrubbed() -> None:
    story = Story()
    dead = story.intent(result="rejected", outcome={"reason": "erased"})
    story.intent("contact_erasure", "erased")
    assert story.kinds(poison=frozenset({dead})) == []


def test_a_change_of_address() -> None:
    story = two_names()
    story.intent("email_change", new_email="Bob@example.test")
    story.put(email=BOB)
    assert story.kinds() == []
    story.intent("email_change", email=BOB, new_email="cid@example.test")
    story.put(email="cid@example.test")
    assert story.kinds() == []


def test_a_change_of_address_that_was_merged_into_who_lives_there() -> None:
    story = Story()
    story.intent("product_sign_up", "created", email=BOB, external_id="u1")
    story.create(email=BOB, role="user", external_id="u1", signed_up_at=1001)
    story.intent(result="created", name="A", outcome={"contact_id": "id2"})
    story.create(name="A")
    story.intent("email_change", new_email=BOB, outcome={"contact_id": "id1"})
    story.request("POST", "/contacts/merge", {"from": "id2", "into": "id1"})
    story.contacts[1]["merged_into"] = "id1"
    assert story.kinds() == []


def test_a_frozen_workers_late_write_is_counted_apart() -> None:
    story = Story()
    story.intent(result="created", name="A")
    story.intent(name="B")
    story.create(name="A")
    story.put(name="B", how={"at": 2_000.0})
    story.put(name="A", how={"at": 2_000.1, "takes_s": 0.5})
    story.put(name="B", how={"at": 2_000.3})
    story.put(name="B", how={"at": 2_003.0})
    assert set(story.kinds()) == {"order", "overlap"}
    report = story.report(frozen=(Span(1_990.0, 2_000.05),))
    assert report.ok
    assert report.counts["apart: frozen worker"] == 2


def test_a_read_of_a_frozen_worker_does_no_harm() -> None:
    story = Story()
    story.intent(result="created", name="A")
    story.search(at=2_000.0, takes_s=1.5)
    story.create(name="A", how={"at": 2_001.2})
    assert story.kinds() == ["overlap"]
    assert story.kinds(frozen=(Span(1_999.0, 2_001.0),)) == []


def test_a_commit_after_the_tail_is_counted_apart() -> None:
    story = Story()
    story.intent(result="created", name="A")
    story.intent(name="B")
    story.create(name="A", how={"at": 2_000.0, "takes_s": 9.0, "status": None})
    story.put(name="B", how={"at": 2_005.0})
    story.put(name="B", how={"at": 2_010.0})
    assert set(story.kinds()) == {"order", "overlap"}
    report = story.report(commit_window_s=2.0)
    assert report.ok
    assert report.counts["apart: commit beyond the tail"] == 2


def test_what_a_rollback_of_redis_loses_is_counted_apart() -> None:
    story = Story()
    story.intent(result="created", name="A")
    story.intent(result=None, name="B")
    story.create(name="A")
    at = story.accepted[1].at
    assert story.kinds() == ["lost"]
    assert story.report(rollbacks=(Span(at - 0.5, at + 0.5),)).ok
    story.put(name="B")
    assert story.report(rollbacks=(Span(at - 0.5, at + 0.5),)).ok


def test_a_word_that_redis_lost_may_have_been_carried_out() -> None:
    for done in (True, False):
        story = Story()
        story.intent(result="created", name="A")
        story.intent("newsletter_opt_out", None)
        story.create(name="A")
        if done:
            story.put(unsubscribed_from_emails=True)
        at = story.accepted[1].at
        assert story.report(rollbacks=(Span(at - 0.5, at + 0.5),)).ok


def test_an_address_has_one_spelling() -> None:
    assert normal("  Ann@Exämple.TEST ") == "ann@xn--exmple-cua.test"
    assert normal("ann@straße.test") != normal("ann@strasse.test")
    story = Story()
    story.intent(result="created", email=" ANN@example.test", name="A")
    story.create(name="A")
    assert story.kinds() == []


@pytest.mark.parametrize("path", sorted(Path(__file__).parent.glob("*.py")), ids=lambda path: path.name)
def test_the_checker_imports_nothing_of_what_it_judges(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [node.module or ""]
        assert not [
            name for name in names if name.split(".")[0] in ("onelane", "onelane_worker", "onelane_sandbox")
        ]


def test_an_outcome_does_not_tell_whom_an_erasure_has_erased() -> None:
    story = Story()
    story.intent(result="updated", outcome={"contact_id": None})
    story.intent("contact_erasure", "erased")
    assert story.kinds() == []
