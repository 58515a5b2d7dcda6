"""From an operation to the HTTP request that asks for it. Evidence unless noted: published 2.15 spec."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, assert_never
from urllib.parse import quote

from onelane_worker.planner import operations as op

PAGE_SIZE = 50
"""Search hits per page: the documented default; nobody has 50 contacts with one address."""

LIST_SIZE = 150
"""Contacts per page of a list: the documented most."""


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP call as data; `path` is already percent-encoded and relative to the API's base URL."""

    method: Literal["GET", "POST", "PUT", "DELETE"]
    path: str
    json: Mapping[str, Any] | None = None


def to_request(operation: op.Operation) -> Request:
    """The request of an operation.

    Raises ValueError for an empty id: `/contacts/` would address the whole collection.
    """
    match operation:
        case op.Search():
            return Request("POST", "/contacts/search", _query(operation))
        case op.FindByExternalId(external_id):
            return Request("GET", f"/contacts/find_by_external_id/{_segment(external_id)}")
        case op.Read(contact_id):
            return Request("GET", _contact(contact_id))
        case op.ListSubscriptions(contact_id):
            return Request("GET", f"{_contact(contact_id)}/subscriptions")
        case op.ListTypes():
            return Request("GET", "/subscription_types")
        case op.Probe():
            return Request("GET", "/me")
        case op.ListPage(after):
            cursor = f"&starting_after={quote(after, safe='')}" if after else ""
            return Request("GET", f"/contacts?per_page={LIST_SIZE}{cursor}")
        case _:
            return _write(operation)


def _write(operation: op.WriteOperation) -> Request:
    match operation:
        case op.Create(body):
            return Request("POST", "/contacts", body)
        case op.Update(contact_id, body):
            return Request("PUT", _contact(contact_id), body)
        case op.Unarchive(contact_id):
            return Request("POST", f"{_contact(contact_id)}/unarchive")
        case op.Archive(contact_id):
            return Request("POST", f"{_contact(contact_id)}/archive")
        case op.Merge(lead_id, user_id):
            return Request("POST", "/contacts/merge", {"from": lead_id, "into": user_id})
        case op.Delete(contact_id):
            return Request("DELETE", _contact(contact_id))
        case op.Attach(contact_id, type_id, consent_type):
            choice = {"id": type_id, "consent_type": consent_type}
            return Request("POST", f"{_contact(contact_id)}/subscriptions", choice)
        case op.Detach(contact_id, type_id):
            return Request("DELETE", f"{_contact(contact_id)}/subscriptions/{_segment(type_id)}")
        case _:
            assert_never(operation)


def _query(search: op.Search) -> dict[str, Any]:
    """R15: one filter is sent flat, several as an OR."""
    filters = [_equals("email", address) for address in search.emails]
    if search.external_id is not None:
        filters.append(_equals("external_id", search.external_id))
    if not filters:
        raise ValueError("a search needs something to look for")
    query = filters[0] if len(filters) == 1 else {"operator": "OR", "value": filters}
    return {"query": query, "pagination": {"per_page": PAGE_SIZE}}


def _equals(field: str, value: str) -> dict[str, Any]:
    return {"field": field, "operator": "=", "value": value}


def _contact(contact_id: str) -> str:
    return f"/contacts/{_segment(contact_id)}"


def _segment(text: str) -> str:
    """`text` as one path segment: no character of it can end the segment or climb out of it."""
    if not text:
        raise ValueError("an id is empty")
    if text in (".", ".."):
        return text.replace(".", "%2E")
    return quote(text, safe="")
