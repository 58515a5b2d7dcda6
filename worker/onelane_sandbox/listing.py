"""Search and list: both look at the lagging index only, and total_count is stale with it."""

from __future__ import annotations

from onelane_sandbox.contact import Contact
from onelane_sandbox.messages import JsonObject, invalid
from onelane_sandbox.pages import page
from onelane_sandbox.query import Query, compile_query
from onelane_sandbox.workspace import Call, Workspace

SEARCH_PER_PAGE = 50
LIST_PER_PAGE = 10  # corrected in the published description from 50


def search_contacts(space: Workspace, call: Call) -> JsonObject:
    """POST /contacts/search. Pagination is in the body; in the query it is ignored (third-party report)."""
    sensitive = space.switches["email_search_case"] == "sensitive"
    query = compile_query(call.body.get("query"), space.attributes, email_case_sensitive=sensitive)
    pagination = call.body.get("pagination") or {}
    if not isinstance(pagination, dict):
        raise invalid("pagination must be an object", "pagination")
    space.index.advance(call.now)
    found = [one for one in _candidates(space, query) if query.accepts(one)]
    shown = page(found, pagination.get("per_page"), pagination.get("starting_after"), SEARCH_PER_PAGE)
    return _answer(space, call, found, shown)


def list_contacts(space: Workspace, call: Call) -> JsonObject:
    """GET /contacts, in order of creation (the real order is unverified)."""
    space.index.advance(call.now)
    found = space.index.everyone()
    asked = call.request.query
    shown = page(found, asked.get("per_page"), asked.get("starting_after"), LIST_PER_PAGE)
    return _answer(space, call, found, shown)


def _candidates(space: Workspace, query: Query) -> list[Contact]:
    look_ups = {
        "email": space.index.with_email,
        "external_id": space.index.with_external_id,
        "id": space.index.with_id,
    }
    for name, value in query.exact:
        return look_ups[name](value)
    return space.index.everyone()


def _answer(
    space: Workspace, call: Call, found: list[Contact], shown: tuple[list[Contact], JsonObject]
) -> JsonObject:
    contacts, pages = shown
    return {
        "type": "list",
        "data": [space.show(one, call.version) for one in contacts],
        "total_count": len(found),
        "pages": pages,
    }
