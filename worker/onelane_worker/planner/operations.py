"""The language between planner and gateway: operations (what to ask Intercom) and replies (what it said).

An operation is one HTTP call as data; a reply is its answer sorted by what it means for us, not by status.
Both are plain values: the planner never sees HTTP, the gateway never sees an intent.

    operation   read:  Search FindByExternalId Read ListSubscriptions ListTypes Probe ListPage
                write: Create Update Unarchive Archive Merge Delete Attach Detach
    reply       facts:       Found Listed Subscriptions Types Done
                answers:     Gone NoResource Conflict NotRestorable Refused Forbidden
                not written: NotSent Throttled Stopped
                unsure:      Unknown
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Union

from onelane_worker.planner.registry import Facts

ConsentType = Literal["opt_in", "opt_out"]

# ── operations ────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Search:
    """`POST /contacts/search`: a hint. Any of the addresses, or the external id if named."""

    emails: tuple[str, ...]
    external_id: str | None = None


@dataclass(frozen=True, slots=True)
class FindByExternalId:
    """`GET /contacts/find_by_external_id/{id}`: users only."""

    external_id: str


@dataclass(frozen=True, slots=True)
class Read:
    """`GET /contacts/{id}`: a fact."""

    contact_id: str


@dataclass(frozen=True, slots=True)
class ListSubscriptions:
    """`GET /contacts/{id}/subscriptions`: the explicit choices of a contact, all of them."""

    contact_id: str


@dataclass(frozen=True, slots=True)
class ListTypes:
    """`GET /subscription_types`: the consent type of every subscription type of the workspace."""


@dataclass(frozen=True, slots=True)
class Probe:
    """`GET /me`: does the token work at all?"""


@dataclass(frozen=True, slots=True)
class ListPage:
    """`GET /contacts`: one page of everybody, as the index shows them. Only repair asks this."""

    after: str | None = None
    """Where the page before it ended."""


@dataclass(frozen=True, slots=True)
class Create:
    """`POST /contacts`."""

    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Update:
    """`PUT /contacts/{id}`: only what differs."""

    contact_id: str
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Unarchive:
    contact_id: str


@dataclass(frozen=True, slots=True)
class Archive:
    contact_id: str


@dataclass(frozen=True, slots=True)
class Merge:
    """`POST /contacts/merge`: a lead into a user; cannot be undone."""

    lead_id: str
    user_id: str


@dataclass(frozen=True, slots=True)
class Delete:
    contact_id: str


@dataclass(frozen=True, slots=True)
class Attach:
    """`POST /contacts/{id}/subscriptions`: make an explicit choice."""

    contact_id: str
    type_id: str
    consent_type: ConsentType


@dataclass(frozen=True, slots=True)
class Detach:
    """`DELETE /contacts/{id}/subscriptions/{type}`: take an explicit choice back."""

    contact_id: str
    type_id: str


ReadOperation = Union[Search, FindByExternalId, Read, ListSubscriptions, ListTypes, Probe, ListPage]
WriteOperation = Union[Create, Update, Unarchive, Archive, Merge, Delete, Attach, Detach]
Operation = Union[ReadOperation, WriteOperation]


def is_write(operation: Operation) -> bool:
    """True if the call may change something at Intercom."""
    return isinstance(operation, (Create, Update, Unarchive, Archive, Merge, Delete, Attach, Detach))


# ── replies ───────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a call did not do what was asked; shown to people, so never with an address in it."""

    kind: str
    """One word of ours: refused, unauthorized, rate_limited, server_error, timeout, network, unreadable …"""
    http_status: int | None = None
    code: str | None = None
    """Intercom's own code, e.g. `parameter_invalid`."""
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """A 200 with a contact: facts (create, update, read, find, merge)."""

    facts: Facts


@dataclass(frozen=True, slots=True)
class Candidate:
    """A search hit: stale in every field but its id."""

    id: str
    role: Literal["lead", "user"]
    external_id: str | None
    email: str | None
    created_at: int | None


@dataclass(frozen=True, slots=True)
class Listed:
    """Search hits; `started_ms` is when the search was sent (Redis clock)."""

    candidates: tuple[Candidate, ...]
    started_ms: int
    next_page: str | None = None
    """Of a list: where to go on; None after its last page."""


@dataclass(frozen=True, slots=True)
class Subscriptions:
    """Ids of the subscription types that the contact has an explicit choice on."""

    attached: frozenset[str]


@dataclass(frozen=True, slots=True)
class Types:
    by_id: Mapping[str, ConsentType]


@dataclass(frozen=True, slots=True)
class Workspace:
    """A workspace of Intercom, as the answer of a probe names it."""

    id: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.id})" if self.name else self.id


@dataclass(frozen=True, slots=True)
class Done:
    """A 200 without facts: archive, unarchive, delete, attach, detach, probe."""

    external_id: str | None = None
    """The external id in the answer of unarchive and archive."""
    region: str | None = None
    """Where the workspace is kept, in the answer of a probe."""
    workspace: Workspace | None = None
    """Whose token it is, in the answer of a probe."""


@dataclass(frozen=True, slots=True)
class Gone:
    """404 or 410 on a contact: archived, deleted, merged away, or never there."""

    merged_into: str | None = None


@dataclass(frozen=True, slots=True)
class NoResource:
    """404 on something that is no contact (a subscription type)."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """409: somebody holds these details; usually named."""

    contact_id: str | None
    archived: bool


@dataclass(frozen=True, slots=True)
class NotRestorable:
    """The contact cannot be brought back or made again."""

    why: Literal["merged", "deleted", "blocked"]
    problem: Problem


@dataclass(frozen=True, slots=True)
class Refused:
    """400 or 422: the request itself is wrong; asking again gives the same."""

    problem: Problem


@dataclass(frozen=True, slots=True)
class Forbidden:
    """403: to be probed; the token may be dead or only this feature missing."""

    problem: Problem


@dataclass(frozen=True, slots=True)
class NotSent:
    """Provably not executed: refused connection, DNS, TLS, pool, or our own lateness."""

    problem: Problem


@dataclass(frozen=True, slots=True)
class Throttled:
    """429: not executed; wait."""

    retry_in_s: float
    problem: Problem


@dataclass(frozen=True, slots=True)
class Stopped:
    """Nothing will work until a person acts: bad token, unknown API version, a redirect."""

    problem: Problem


@dataclass(frozen=True, slots=True)
class Unknown:
    """Sent, and what became of it is not known: a timeout, a reset, 408, 5xx, or an unreadable 200."""

    problem: Problem


Reply = Union[
    Found, Listed, Subscriptions, Types, Done,
    Gone, NoResource, Conflict, NotRestorable, Refused, Forbidden,
    NotSent, Throttled, Stopped, Unknown,
]  # fmt: skip
