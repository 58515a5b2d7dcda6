"""Answers by operation: what a 200 gives, and the errors that mean the same for every operation."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, get_args

import pytest

from onelane_worker.intercom.responses import to_reply
from onelane_worker.planner.operations import (
    Archive,
    Attach,
    Candidate,
    Create,
    Delete,
    Detach,
    Done,
    FindByExternalId,
    Forbidden,
    Found,
    Listed,
    ListPage,
    ListSubscriptions,
    ListTypes,
    Merge,
    Operation,
    Probe,
    Read,
    Refused,
    Reply,
    Search,
    Stopped,
    Subscriptions,
    Throttled,
    Types,
    Unarchive,
    Unknown,
    Update,
    Workspace,
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
PAGE = ListPage()
ARCHIVE = Archive(ID)
UNARCHIVE = Unarchive(ID)
MERGE = Merge(ID, OTHER)
DELETE = Delete(ID)
ATTACH = Attach(ID, "12", "opt_in")
DETACH = Detach(ID, "12")

FACTUAL: Sequence[Operation] = (CREATE, UPDATE, MERGE, READ, FIND)
ON_A_CONTACT: Sequence[Operation] = (UPDATE, READ, FIND, CHOICES, ARCHIVE, UNARCHIVE, MERGE, DELETE)
WITHOUT_ONE: Sequence[Operation] = (CREATE, SEARCH, TYPES, PROBE, PAGE)
EVERY: Sequence[Operation] = (*ON_A_CONTACT, *WITHOUT_ONE, ATTACH, DETACH)

CONTACT: dict[str, Any] = {"type": "contact", "id": ID, "role": "user", "external_id": "u-17"}


def test_the_tables_below_cover_every_operation() -> None:
    assert {type(operation) for operation in EVERY} == set(get_args(Operation))


def reply_to(
    operation: Operation, status: int, body: object = None, headers: dict[str, str] | None = None
) -> Reply:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return to_reply(operation, status, headers or {}, raw, started_ms=5_000, wall_s=1_800_000_000.0)


def errors(*faults: tuple[str | None, str]) -> dict[str, Any]:
    entries = [{"code": code, "message": message, "field": None} for code, message in faults]
    return {"type": "error.list", "request_id": "002hggmao1o8da2uhbag", "errors": entries}


# ── 200 ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("operation", FACTUAL)
def test_200_with_a_contact_is_facts(operation: Operation) -> None:
    reply = reply_to(operation, 200, CONTACT)
    assert isinstance(reply, Found)
    assert (reply.facts.id, reply.facts.as_of_ms) == (ID, 5_000)
    assert reply.facts.source == ("written" if operation in (CREATE, UPDATE, MERGE) else "read")


def test_200_of_a_search_is_candidates() -> None:
    lead = {"id": OTHER, "role": "lead", "email": "ann@example.test", "created_at": 7}
    reply = reply_to(SEARCH, 200, {"type": "list", "data": [CONTACT, lead], "total_count": 2})
    candidates = (
        Candidate(ID, "user", "u-17", None, None),
        Candidate(OTHER, "lead", None, "ann@example.test", 7),
    )
    assert reply == Listed(candidates, 5_000)


def test_200_of_a_list_is_candidates_and_where_to_go_on() -> None:
    pages = {"type": "pages", "page": 1, "next": {"page": 2, "starting_after": "c2"}}
    body = {"type": "list", "data": [CONTACT, {"id": OTHER, "role": "visitor"}], "pages": pages}
    known = (Candidate(ID, "user", "u-17", None, None),)
    assert reply_to(PAGE, 200, body) == Listed(known, 5_000, "c2")
    assert reply_to(PAGE, 200, {"type": "list", "data": [], "pages": {"next": None}}) == Listed((), 5_000)
    assert isinstance(reply_to(PAGE, 200, {"type": "list", "data": None}), Unknown)


@pytest.mark.parametrize(
    ("body", "region"), [({"app": {"region": "EU"}}, "EU"), ({"app": None}, None), ({}, None)]
)
def test_200_of_a_probe_may_tell_the_region(body: dict[str, Any], region: str | None) -> None:
    assert reply_to(PROBE, 200, {"type": "admin", **body}) == Done(region=region)


@pytest.mark.parametrize(
    ("app", "workspace"),
    [
        ({"id_code": "xyz789", "name": "ACME"}, Workspace("xyz789", "ACME")),
        ({"id_code": "xyz789", "name": None}, Workspace("xyz789")),
        ({"id_code": "", "name": "ACME"}, None),
        ({"name": "ACME"}, None),
    ],
)
def test_200_of_a_probe_may_tell_the_workspace(app: dict[str, Any], workspace: Workspace | None) -> None:
    assert reply_to(PROBE, 200, {"type": "admin", "app": app}) == Done(workspace=workspace)


def test_200_of_a_search_without_hits() -> None:
    assert reply_to(SEARCH, 200, {"type": "list", "data": [], "total_count": 0}) == Listed((), 5_000)


@pytest.mark.parametrize("operation", [ARCHIVE, UNARCHIVE, DELETE])
def test_200_of_a_state_change_names_the_external_id(operation: Operation) -> None:
    assert reply_to(operation, 200, {"type": "contact", "id": ID, "external_id": "u-17"}) == Done("u-17")
    assert reply_to(operation, 200, {"type": "contact", "id": ID, "external_id": None}) == Done(None)
    assert reply_to(operation, 200, {"object": "contact", "id": ID, "archived": True}) == Done(None)


@pytest.mark.parametrize("operation", [ATTACH, DETACH])
def test_200_with_the_subscription_is_done(operation: Operation) -> None:
    assert reply_to(operation, 200, {"type": "subscription", "id": "12"}) == Done()


def test_200_of_the_choices() -> None:
    body = {
        "type": "list",
        "data": [{"type": "subscription", "id": "12"}, {"type": "subscription", "id": 13}],
    }
    assert reply_to(CHOICES, 200, body) == Subscriptions(frozenset({"12", "13"}))
    assert reply_to(CHOICES, 200, {"type": "list", "data": []}) == Subscriptions(frozenset())


def test_200_of_the_types() -> None:
    known = [{"id": "12", "consent_type": "opt_in"}, {"id": "13", "consent_type": "opt_out"}]
    body = {"type": "list", "data": [*known, {"id": "14", "consent_type": "maybe"}, None]}
    assert reply_to(TYPES, 200, body) == Types({"12": "opt_in", "13": "opt_out"})


@pytest.mark.parametrize("operation", EVERY)
@pytest.mark.parametrize("body", [b"", b"<html>ok</html>", b"[]", b"null", b'"x"', b'{"id":', b"\xff\xfe"])
def test_200_unreadable_is_unknown(operation: Operation, body: bytes) -> None:
    reply = reply_to(operation, 200, body)
    assert isinstance(reply, Unknown)
    assert reply.problem.kind == "unreadable"


@pytest.mark.parametrize("operation", [*FACTUAL, ARCHIVE, UNARCHIVE, DELETE])
@pytest.mark.parametrize("contact", [{}, {"id": None}, {"id": ""}, {"id": [ID]}, errors(("conflict", "x"))])
def test_200_without_an_id_is_unknown(operation: Operation, contact: dict[str, Any]) -> None:
    assert isinstance(reply_to(operation, 200, {"role": "user", **contact}), Unknown)


def test_a_search_with_one_unreadable_hit_is_unknown() -> None:
    body = {"type": "list", "data": [CONTACT, {"role": "user"}]}
    assert isinstance(reply_to(SEARCH, 200, body), Unknown)


@pytest.mark.parametrize("hint", [{"total_count": 11}, {"has_more": True}])
def test_choices_that_are_not_all_there_are_unknown(hint: dict[str, Any]) -> None:
    assert isinstance(reply_to(CHOICES, 200, {"type": "list", "data": [{"id": "12"}], **hint}), Unknown)


# ── stop, wait, unsure: the same for every operation ──────────────────────────────────────────────────────


@pytest.mark.parametrize("operation", EVERY)
@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, "unauthorized"),
        (401, "anything"),
        (400, "token_revoked"),
        (404, "token_not_found"),
        (400, "intercom_version_invalid"),
        (406, "not_acceptable"),
        (415, "unsupported_media_type"),
    ],
)
def test_stop_the_line(operation: Operation, status: int, code: str) -> None:
    reply = reply_to(operation, status, errors((code, "Access Token Invalid")))
    assert isinstance(reply, Stopped)
    assert (reply.problem.http_status, reply.problem.code) == (status, code)


@pytest.mark.parametrize("operation", EVERY)
@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_a_redirect_stops_the_line(operation: Operation, status: int) -> None:
    assert isinstance(reply_to(operation, status, b"", {"Location": "https://elsewhere.test"}), Stopped)


@pytest.mark.parametrize("operation", EVERY)
@pytest.mark.parametrize("body", [errors(("api_plan_restricted", "No")), errors(("token_blocked", ""))])
def test_403_is_to_be_probed(operation: Operation, body: object) -> None:
    assert isinstance(reply_to(operation, 403, body), Forbidden)


@pytest.mark.parametrize("operation", EVERY)
def test_429_waits_for_the_reset(operation: Operation) -> None:
    headers = {"X-RateLimit-Reset": "1800000008"}
    body = errors(("rate_limit_exceeded", "Exceeded rate limit of 167 in 10_seconds"))
    reply = reply_to(operation, 429, body, headers)
    assert isinstance(reply, Throttled)
    assert reply.retry_in_s == 8
    assert reply.problem.kind == "rate_limited"


@pytest.mark.parametrize("code", ["rate_limit_exceeded", "too_many_requests", "retry_after"])
def test_a_busy_code_counts_like_a_429(code: str) -> None:
    assert isinstance(reply_to(CREATE, 400, errors((code, ""))), Throttled)


@pytest.mark.parametrize("operation", EVERY)
@pytest.mark.parametrize("status", [408, 500, 502, 503, 504, 520, 599, 101, 600, 999])
@pytest.mark.parametrize("body", [b"", b"<html>", errors(("service_unavailable", "Sorry"))])
def test_408_and_5xx_are_unknown(operation: Operation, status: int, body: object) -> None:
    reply = reply_to(operation, status, body)
    assert isinstance(reply, Unknown)
    assert reply.problem.http_status == status


def test_a_404_that_tells_of_a_server_error_is_unknown() -> None:
    assert isinstance(reply_to(CREATE, 404, errors(("server_error", ""))), Unknown)


@pytest.mark.parametrize("operation", EVERY)
@pytest.mark.parametrize("status", [400, 402, 405, 413, 422])
def test_other_4xx_are_refused(operation: Operation, status: int) -> None:
    assert isinstance(reply_to(operation, status, errors(("parameter_invalid", "name is too long"))), Refused)


def test_a_user_cannot_become_a_lead() -> None:
    text = "Contact with user role can't be converted to a lead"
    reply = reply_to(UPDATE, 400, errors(("client_error", text)))
    assert isinstance(reply, Refused)
    assert (reply.problem.code, reply.problem.message) == ("client_error", text)
