"""Which request goes where: the table of the API."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote

from onelane_sandbox import attachments, lifecycle, listing, workplace, writes
from onelane_sandbox.messages import ApiError, JsonObject, Request
from onelane_sandbox.versions import FIRST, HAS_FIND_AND_BLOCK, ApiVersion
from onelane_sandbox.workspace import Call, Workspace

Handler = Callable[[Workspace, Call], JsonObject]


@dataclass(frozen=True, slots=True)
class Route:
    """One endpoint. `*` in the pattern is a variable part; `reads` marks those that change nothing."""

    method: str
    pattern: tuple[str, ...]
    handler: Handler
    reads: bool
    since: ApiVersion = FIRST

    def params(self, method: str, parts: tuple[str, ...]) -> tuple[str, ...] | None:
        """The variable parts if this route is meant, else None."""
        if method != self.method or len(parts) != len(self.pattern):
            return None
        if any(wanted not in ("*", part) for wanted, part in zip(self.pattern, parts, strict=True)):
            return None
        return tuple(part for wanted, part in zip(self.pattern, parts, strict=True) if wanted == "*")


def _route(line: str, handler: Handler, *, since: ApiVersion = FIRST, reads: bool | None = None) -> Route:
    method, path = line.split()
    is_read = method == "GET" if reads is None else reads
    return Route(method, tuple(path.strip("/").split("/")), handler, is_read, since)


ROUTES = (
    _route("POST   /contacts", writes.create_contact),
    _route("GET    /contacts", listing.list_contacts),
    _route("POST   /contacts/search", listing.search_contacts, reads=True),
    _route("POST   /contacts/merge", lifecycle.merge_contacts),
    _route("GET    /contacts/find_by_external_id/*", lifecycle.find_by_external_id, since=HAS_FIND_AND_BLOCK),
    _route("GET    /contacts/*", lifecycle.read_contact),
    _route("PUT    /contacts/*", writes.update_contact),
    _route("DELETE /contacts/*", lifecycle.delete_contact),
    _route("POST   /contacts/*/archive", lifecycle.archive_contact),
    _route("POST   /contacts/*/unarchive", lifecycle.unarchive_contact),
    _route("POST   /contacts/*/block", lifecycle.block_contact, since=HAS_FIND_AND_BLOCK),
    _route("GET    /contacts/*/subscriptions", attachments.list_subscriptions),
    _route("POST   /contacts/*/subscriptions", attachments.attach_subscription),
    _route("DELETE /contacts/*/subscriptions/*", attachments.detach_subscription),
    _route("GET    /contacts/*/tags", attachments.list_contact_tags),
    _route("POST   /contacts/*/tags", attachments.attach_tag),
    _route("DELETE /contacts/*/tags/*", attachments.detach_tag),
    _route("GET    /tags", workplace.list_tags),
    _route("POST   /tags", workplace.create_tag),
    _route("GET    /tags/*", workplace.read_tag),
    _route("GET    /subscription_types", workplace.list_subscription_types),
    _route("GET    /data_attributes", workplace.list_attributes),
    _route("POST   /data_attributes", workplace.create_attribute),
    _route("PUT    /data_attributes/*", workplace.update_attribute),
    _route("GET    /me", workplace.me),
)


def find_route(request: Request) -> tuple[Route, tuple[str, ...]]:
    """The route of a request and the decoded variable parts of its path.

    Raises ApiError 404, also for a method that the path does not have (official documentation).
    """
    parts = tuple(unquote(part) for part in request.path.strip("/").split("/"))
    method = request.method.upper()
    for route in ROUTES:
        params = route.params(method, parts)
        if params is not None:
            return route, params
    raise ApiError(404, "not_found", "The requested resource could not be found")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def read_body(request: Request) -> JsonObject:
    """The JSON object of the body, {} if there is none; ApiError 400 for anything else."""
    if not request.body.strip():
        return {}
    try:
        body = json.loads(request.body, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise ApiError(400, "bad_request", "The body is not valid JSON") from None
    if not isinstance(body, dict):
        raise ApiError(400, "bad_request", "The body must be a JSON object")
    return body
