"""From an HTTP answer to a reply: what it means for us, whatever its status is called.

A 2xx is read by `_good`; anything else goes through `_RULES`, in order, and the first rule that answers wins.
When nothing certain can be said the reply is Unknown, never a guess: an Unknown costs time, a wrong "not
written" costs a duplicate. Nothing here raises.

Only Intercom can refuse an intent. An error without its envelope, or a 2xx of another shape, comes from a
proxy or firewall in between, or from Intercom's own front. That is an outage whatever its status, and it is
not known what became of the request. Two mean the same from whoever sends them: a redirect; 429 to a read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from onelane_worker.intercom.contact_body import candidate_of, facts_of, ids_of, text
from onelane_worker.intercom.errors import Fault, faults_of, parse, problem, retry_in_s
from onelane_worker.planner import operations as op

_CONFLICT_CODES = frozenset({"conflict", "resource_conflict"})
_BUSY_CODES = frozenset({"rate_limit_exceeded", "too_many_requests", "retry_after"})
_DOUBTFUL_CODES = frozenset({"server_error", "request_timeout", "service_unavailable"})
_STOP_CODES = frozenset({"unauthorized", "missing_authorization", "intercom_version_invalid"})
_STOP_STATUSES = frozenset({401, 406, 415})
_OTHER_THINGS = frozenset({"admin_not_found", "team_not_found", "field_not_found"})
"""404 codes that speak of something named in the body, not of the contact in the path (documentation)."""

_FOREIGN = "no error of Intercom's own: a proxy or firewall in between has answered"

_ID = re.compile(r"id=([0-9a-f]{24})(?![0-9a-f])")
_LINKED = re.compile(r"</?(?:[^<>]*/)?contacts/([0-9a-f]{24})/?>")


@dataclass(frozen=True, slots=True)
class _Failure:
    """An answer that is no 2xx. `faults` is empty if it does not carry Intercom's envelope."""

    operation: op.Operation
    status: int
    headers: Mapping[str, str]
    faults: tuple[Fault, ...]
    wall_s: float | None

    def problem(self, kind: str) -> op.Problem:
        return problem(kind, self.status, self.faults)

    def has_code(self, codes: frozenset[str]) -> bool:
        return any(fault.code in codes for fault in self.faults)

    def says(self, pattern: str) -> bool:
        return any(re.search(pattern, fault.message, re.IGNORECASE) for fault in self.faults)


def to_reply(
    operation: op.Operation,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    started_ms: int,
    wall_s: float | None = None,
) -> op.Reply:
    """Sort one answer.

    `started_ms`: when the request was sent, Redis clock. `wall_s`: unix time here, used only for a 429
    whose answer has no Date header.
    """
    if 200 <= status < 300:
        reply = _good(operation, parse(body), started_ms)
        return reply or op.Unknown(problem("unreadable", status))
    lowered = {name.lower(): value for name, value in headers.items()}
    failure = _Failure(operation, status, lowered, faults_of(body), wall_s)
    replies = (rule(failure) for rule in _RULES)
    return next(reply for reply in replies if reply is not None)


# ── 2xx: always 200 by the published spec; None if the body is not what was asked for ─────────────────────


def _good(operation: op.Operation, body: Any, started_ms: int) -> op.Reply | None:
    match operation:
        case op.Create() | op.Update() | op.Merge() | op.Read() | op.FindByExternalId():
            source: Literal["written", "read"] = "written" if op.is_write(operation) else "read"
            facts = facts_of(body, as_of_ms=started_ms, source=source)
            return None if facts is None else op.Found(facts)
        case op.Search():
            return _listed(body, started_ms)
        case op.ListPage():
            return _page(body, started_ms)
        case op.ListSubscriptions():
            attached = ids_of(body) if _is(body, "list") else None
            return None if attached is None else op.Subscriptions(attached)
        case op.ListTypes():
            return _types(body)
        case op.Unarchive() | op.Archive() | op.Delete():
            return _done(body)
        case op.Attach() | op.Detach():
            return op.Done() if _is(body, "subscription") else None
        case op.Probe():
            return _probed(body)


def _is(body: Any, kind: str, named_by: str = "type") -> bool:
    """Intercom names the type of every object that it answers with (published 2.15 spec)."""
    return isinstance(body, dict) and body.get(named_by) == kind


def _done(body: Any) -> op.Reply | None:
    """The type stood in `object` up to API 2.3 (recorded traffic 2021)."""
    if not (_is(body, "contact") or _is(body, "contact", "object")) or text(body.get("id")) is None:
        return None
    return op.Done(text(body.get("external_id")))


def _probed(body: Any) -> op.Reply | None:
    if not _is(body, "admin"):
        return None
    app = body.get("app")
    if not isinstance(app, dict):
        return op.Done()
    id_ = text(app.get("id_code"))
    workspace = op.Workspace(id_, text(app.get("name")) or "") if id_ else None
    return op.Done(region=text(app.get("region")), workspace=workspace)


def _listed(body: Any, started_ms: int) -> op.Reply | None:
    """One unreadable hit spoils the list: leaving it out could make a second contact of the same person."""
    page = _page(body, started_ms)
    return page if page is not None and len(page.candidates) == len(body["data"]) else None


def _page(body: Any, started_ms: int) -> op.Listed | None:
    hits = body.get("data") if _is(body, "list") else None
    if not isinstance(hits, list):
        return None
    candidates = tuple(c for c in map(candidate_of, hits) if c is not None)
    pages = body.get("pages")
    following = pages.get("next") if isinstance(pages, dict) else None
    after = text(following.get("starting_after")) if isinstance(following, dict) else None
    return op.Listed(candidates, started_ms, after)


def _types(body: Any) -> op.Reply | None:
    entries = body.get("data") if _is(body, "list") else None
    if not isinstance(entries, list):
        return None
    by_id: dict[str, Any] = {}
    for entry in entries:
        type_id = text(entry.get("id")) if isinstance(entry, dict) else None
        if type_id is not None and entry.get("consent_type") in ("opt_in", "opt_out"):
            by_id[type_id] = entry["consent_type"]
    return op.Types(by_id)


# ── anything else, in order ───────────────────────────────────────────────────────────────────────────────


def _blocked(failure: _Failure) -> op.Reply | None:
    """The code counts at any status (documentation, unverified for contacts)."""
    if not failure.has_code(frozenset({"not_restorable"})):
        return None
    return op.NotRestorable("blocked", failure.problem("not_restorable"))


def _doubtful(failure: _Failure) -> op.Reply | None:
    """408 and 5xx: it may have been done (no call carries an idempotency key)."""
    if failure.status == 408 or failure.has_code(frozenset({"request_timeout"})):
        return op.Unknown(failure.problem("timeout"))
    if failure.status >= 500 or failure.status < 300 or failure.has_code(_DOUBTFUL_CODES):
        return op.Unknown(failure.problem("server_error"))
    return None


def _throttled(failure: _Failure) -> op.Reply | None:
    if failure.status != 429 and not failure.has_code(_BUSY_CODES):
        return None
    if not failure.faults and op.is_write(failure.operation):
        return None
    return op.Throttled(retry_in_s(failure.headers, failure.wall_s), failure.problem("rate_limited"))


def _forbidden(failure: _Failure) -> op.Reply | None:
    """Also for token codes: only a probe tells a dead token from a plan that lacks one feature."""
    return op.Forbidden(failure.problem("forbidden")) if failure.status == 403 else None


def _redirected(failure: _Failure) -> op.Reply | None:
    return op.Stopped(failure.problem("redirected")) if failure.status < 400 else None


def _foreign(failure: _Failure) -> op.Reply | None:
    """It cannot be told whether the request went on from there, and the answer to it was replaced."""
    if failure.faults:
        return None
    return op.Unknown(problem("not_from_intercom", failure.status, message=_FOREIGN))


def _stopped(failure: _Failure) -> op.Reply | None:
    token = any((fault.code or "").startswith("token_") for fault in failure.faults)
    if failure.status == 401 or token or failure.has_code(_STOP_CODES - {"intercom_version_invalid"}):
        return op.Stopped(failure.problem("unauthorized"))
    if failure.status in _STOP_STATUSES or failure.has_code(_STOP_CODES):
        return op.Stopped(failure.problem("unsupported"))
    return None


def _conflict(failure: _Failure) -> op.Reply | None:
    """The holder's id stands in the text only, for the codes `conflict` and `resource_conflict` (recorded
    traffic 2021, public issues); an id in another code's text would be an id of something else."""
    if failure.status != 409:
        return None
    named = [fault for fault in failure.faults if fault.code in _CONFLICT_CODES]
    for fault in named:
        if found := _ID.search(fault.message):
            return op.Conflict(found[1], _archived(fault))
    return op.Conflict(None, any(map(_archived, named)))


def _archived(fault: Fault) -> bool:
    return re.search("archived", fault.message, re.IGNORECASE) is not None


def _not_restorable(failure: _Failure) -> op.Reply | None:
    """Both texts: recorded traffic 2021 (deleted), public forum (merged)."""
    if failure.status != 400 or not isinstance(failure.operation, op.Unarchive):
        return None
    if not failure.says("not restorable"):
        return None
    why: Literal["merged", "deleted"] = "merged" if failure.says("merged") else "deleted"
    return op.NotRestorable(why, failure.problem("not_restorable"))


def _missing(failure: _Failure) -> op.Reply | None:
    """404 and 410."""
    if failure.status not in (404, 410):
        return None
    if failure.has_code(_OTHER_THINGS):
        return op.Refused(failure.problem("refused"))
    match failure.operation:
        case op.Create() | op.Search() | op.ListTypes() | op.Probe() | op.ListPage():
            return op.NotSent(failure.problem("not_found"))
        case op.Attach() | op.Detach() if failure.status == 404:
            return _missing_subscription(failure)
        case _:
            return op.Gone(_merged_into(failure))


def _missing_subscription(failure: _Failure) -> op.Reply:
    """Two things can be missing and only the text tells which (published 2.15 spec, examples)."""
    if failure.says("user not found|contact not found"):
        return op.Gone()
    if not failure.says("resource not found"):
        return op.NotSent(failure.problem("not_found"))
    return op.Done() if isinstance(failure.operation, op.Detach) else op.NoResource()


def _merged_into(failure: _Failure) -> str | None:
    """2.16 and later: 410 with `Link: </contacts/{id}>; rel="canonical"` (published spec)."""
    found = _LINKED.search(failure.headers.get("link", "")) if failure.status == 410 else None
    return found[1] if found else None


def _refused(failure: _Failure) -> op.Reply:
    return op.Refused(failure.problem("refused"))


_RULES: tuple[Callable[[_Failure], op.Reply | None], ...] = (
    _blocked,
    _doubtful,
    _throttled,
    _redirected,
    _foreign,
    _forbidden,
    _stopped,
    _conflict,
    _not_restorable,
    _missing,
    _refused,
)
