"""Histories in which the promise holds: the checker must stay silent."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from .history import Span, normal
from .story import Story


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
        assert not [name for name in names if name.split(".")[0] in ("worker", "producers")]
