"""Answers about one contact: who is gone, who stands in the way, who cannot be brought back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from onelane_worker.intercom.responses import to_reply
from onelane_worker.planner.operations import (
    Archive,
    Attach,
    Conflict,
    Create,
    Delete,
    Detach,
    Done,
    FindByExternalId,
    Gone,
    ListSubscriptions,
    ListTypes,
    Merge,
    NoResource,
    NotRestorable,
    NotSent,
    Operation,
    Probe,
    Read,
    Refused,
    Reply,
    Search,
    Unarchive,
    Update,
)

ID = "6a0f00000000000000000001"
OTHER = "6a0f00000000000000000002"

CREATE = Create({"role": "user", "email": "ann@example.test"})
UPDATE = Update(ID, {"name": "Ann"})
READ = Read(ID)
FIND = FindByExternalId("u-17")
SEARCH = Search(("ann@example.test",))
CHOICES = ListSubscriptions(ID)
TYPES = ListTypes()
PROBE = Probe()
ARCHIVE = Archive(ID)
UNARCHIVE = Unarchive(ID)
MERGE = Merge(ID, OTHER)
DELETE = Delete(ID)
ATTACH = Attach(ID, "12", "opt_in")
DETACH = Detach(ID, "12")

ON_A_CONTACT: Sequence[Operation] = (UPDATE, READ, FIND, CHOICES, ARCHIVE, UNARCHIVE, MERGE, DELETE)
WITHOUT_ONE: Sequence[Operation] = (CREATE, SEARCH, TYPES, PROBE)
EVERY: Sequence[Operation] = (*ON_A_CONTACT, *WITHOUT_ONE, ATTACH, DETACH)


def reply_to(
    operation: Operation, status: int, body: object = None, headers: dict[str, str] | None = None
) -> Reply:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return to_reply(operation, status, headers or {}, raw, started_ms=5_000, wall_s=1_800_000_000.0)


def errors(*faults: tuple[str | None, str]) -> dict[str, Any]:
    entries = [{"code": code, "message": message, "field": None} for code, message in faults]
    return {"type": "error.list", "request_id": "002hggmao1o8da2uhbag", "errors": entries}


# ── not restorable ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("User has been merged and is not restorable.", "merged"),
        ("User has been marked for permanent deletion and is not restorable.", "deleted"),
    ],
)
def test_unarchive_tells_why_it_cannot(text: str, why: str) -> None:
    reply = reply_to(UNARCHIVE, 400, errors(("bad_request", text)))
    assert isinstance(reply, NotRestorable)
    assert reply.why == why


@pytest.mark.parametrize("operation", EVERY)
@pytest.mark.parametrize("status", [400, 404, 409, 422, 500])
def test_the_code_not_restorable_counts_at_any_status(operation: Operation, status: int) -> None:
    reply = reply_to(operation, status, errors(("not_restorable", f"blocked id={ID}")))
    assert isinstance(reply, NotRestorable)
    assert reply.why == "blocked"


# ── 404 and 410 ───────────────────────────────────────────────────────────────────────────────────────────

MISSING = errors(("not_found", "User Not Found"))


@pytest.mark.parametrize("operation", ON_A_CONTACT)
@pytest.mark.parametrize("text", ["User Not Found", "Contact Not Found", "Resource Not Found", ""])
def test_404_on_a_contact_is_gone(operation: Operation, text: str) -> None:
    assert reply_to(operation, 404, errors(("not_found", text))) == Gone()


@pytest.mark.parametrize("operation", WITHOUT_ONE)
def test_404_where_nothing_was_named_is_not_executed(operation: Operation) -> None:
    reply = reply_to(operation, 404, MISSING)
    assert isinstance(reply, NotSent)
    assert (reply.problem.kind, reply.problem.http_status) == ("not_found", 404)


@pytest.mark.parametrize("code", ["admin_not_found", "team_not_found", "field_not_found"])
def test_404_of_something_in_the_body_is_refused(code: str) -> None:
    assert isinstance(reply_to(UPDATE, 404, errors((code, "The owner is no member"))), Refused)


def test_404_on_a_subscription_tells_by_its_text_what_is_missing() -> None:
    resource = errors(("not_found", "Resource Not Found"))
    assert reply_to(ATTACH, 404, resource) == NoResource()
    assert reply_to(DETACH, 404, resource) == Done()
    assert reply_to(ATTACH, 404, MISSING) == reply_to(DETACH, 404, MISSING) == Gone()
    assert isinstance(reply_to(ATTACH, 404, errors(("not_found", "Not Found"))), NotSent)


@pytest.mark.parametrize("operation", [*ON_A_CONTACT, ATTACH, DETACH])
def test_410_follows_the_link(operation: Operation) -> None:
    body = errors(("contact_merged", "Contact has been merged"))
    link = {"Link": f'</contacts/{OTHER}>; rel="canonical"'}
    assert reply_to(operation, 410, body, link) == Gone(OTHER)
    absolute = {"link": f'<https://api.intercom.io/contacts/{OTHER}>; rel="canonical"'}
    assert reply_to(operation, 410, body, absolute) == Gone(OTHER)
    assert reply_to(operation, 410, body) == Gone()
    assert reply_to(operation, 410, body, {"Link": "</contacts/../x>"}) == Gone()


# ── 409 ───────────────────────────────────────────────────────────────────────────────────────────────────

LIVE = f"A contact matching those details already exists with id={ID}"
ARCHIVED = f"An archived contact matching those details already exists with id={ID}"


@pytest.mark.parametrize("operation", [CREATE, UPDATE])
@pytest.mark.parametrize("code", ["conflict", "resource_conflict"])
def test_409_names_the_holder(operation: Operation, code: str) -> None:
    assert reply_to(operation, 409, errors((code, LIVE))) == Conflict(ID, archived=False)
    assert reply_to(operation, 409, errors((code, ARCHIVED))) == Conflict(ID, archived=True)


def test_409_looks_at_all_errors_but_only_at_these_codes() -> None:
    both = errors(("parameter_invalid", f"id={OTHER}"), ("conflict", "no id here"), ("conflict", ARCHIVED))
    assert reply_to(CREATE, 409, both) == Conflict(ID, archived=True)
    assert reply_to(CREATE, 409, errors(("job_closed", f"id={OTHER}"))) == Conflict(None, archived=False)


@pytest.mark.parametrize(
    "body",
    [
        errors(("conflict", "A contact matching those details already exists")),
        errors(("conflict", "exists with id=6A0F00000000000000000001")),
        errors(("conflict", f"exists with id={ID}0")),
        errors(("conflict", "exists with id=12345")),
        {"type": "error.list", "errors": [None, "conflict", {"code": "conflict", "message": ["id"]}]},
    ],
)
def test_409_without_an_id(body: object) -> None:
    assert reply_to(CREATE, 409, body) == Conflict(None, archived=False)


def test_409_without_an_id_may_still_say_archived() -> None:
    assert reply_to(CREATE, 409, errors(("conflict", "An archived contact"))) == Conflict(None, archived=True)
