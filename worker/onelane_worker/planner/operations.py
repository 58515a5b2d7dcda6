"""What planner and Intercom client exchange: operations (one call as data) and replies (its answer).

An operation is one HTTP call as data; a reply is its answer sorted by what it means for us, not by status.
Both are plain values: the planner never sees HTTP, the client never sees an intent.

    operation   read:  Search FindByExternalId Read ListSubscriptions ListTypes Probe ListPage
                write: Create Update Unarchive Archive Merge Delete Attach Detach
    reply       facts:       Found Listed Subscriptions Types Done
                answers:     Gone NoResource Conflict NotRestorable Refused Forbidden
                not written: NotSent Throttled Stopped
                unsure:      Unknown
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Union

from msgspec import Struct

from onelane_worker.planner.registry import Facts

if TYPE_CHECKING:
    from typing_extensions import TypeIs  # in typing from Python 3.13

ConsentType = Literal["opt_in", "opt_out"]

# ── operations ────────────────────────────────────────────────────────────────────────────────────────────


class Search(Struct, frozen=True):
    """`POST /contacts/search`: a hint. Any of the addresses, or the external id if named."""

    emails: tuple[str, ...]
    external_id: str | None = None


class FindByExternalId(Struct, frozen=True):
    """`GET /contacts/find_by_external_id/{id}`: users only."""

    external_id: str


class Read(Struct, frozen=True):
    """`GET /contacts/{id}`: a fact."""

    contact_id: str


class ListSubscriptions(Struct, frozen=True):
    """`GET /contacts/{id}/subscriptions`: the explicit choices of a contact, all of them."""

    contact_id: str


class ListTypes(Struct, frozen=True):
    """`GET /subscription_types`: the consent type of every subscription type of the workspace."""


class Probe(Struct, frozen=True):
    """`GET /me`: does the token work at all?"""


class ListPage(Struct, frozen=True):
    """`GET /contacts`: one page of everybody, as the index shows them. Only repair asks this."""

    after: str | None = None
    """Where the page before it ended."""


class Create(Struct, frozen=True):
    """`POST /contacts`."""

    body: Mapping[str, Any]


class Update(Struct, frozen=True):
    """`PUT /contacts/{id}`: only what differs."""

    contact_id: str
    body: Mapping[str, Any]


class Unarchive(Struct, frozen=True):
    contact_id: str


class Archive(Struct, frozen=True):
    contact_id: str


class Merge(Struct, frozen=True):
    """`POST /contacts/merge`: a lead into a user; cannot be undone."""

    lead_id: str
    user_id: str


class Delete(Struct, frozen=True):
    contact_id: str


class Attach(Struct, frozen=True):
    """`POST /contacts/{id}/subscriptions`: make an explicit choice."""

    contact_id: str
    type_id: str
    consent_type: ConsentType


class Detach(Struct, frozen=True):
    """`DELETE /contacts/{id}/subscriptions/{type}`: take an explicit choice back."""

    contact_id: str
    type_id: str


ReadOperation = Union[Search, FindByExternalId, Read, ListSubscriptions, ListTypes, Probe, ListPage]
WriteOperation = Union[Create, Update, Unarchive, Archive, Merge, Delete, Attach, Detach]
Operation = Union[ReadOperation, WriteOperation]


def is_write(operation: Operation) -> TypeIs[WriteOperation]:
    """True if the call may change something at Intercom."""
    return isinstance(operation, (Create, Update, Unarchive, Archive, Merge, Delete, Attach, Detach))


# ── replies ───────────────────────────────────────────────────────────────────────────────────────────────


class Problem(Struct, frozen=True):
    """Why a call did not do what was asked; shown to people, so never with an address in it."""

    kind: str
    """One word of ours: refused, unauthorized, rate_limited, server_error, timeout, network, unreadable …"""
    http_status: int | None = None
    code: str | None = None
    """Intercom's own code, e.g. `parameter_invalid`."""
    message: str | None = None


class Found(Struct, frozen=True):
    """A 200 with a contact: facts (create, update, read, find, merge)."""

    facts: Facts


class Candidate(Struct, frozen=True):
    """A search hit: stale in every field but its id."""

    id: str
    role: Literal["lead", "user"]
    external_id: str | None
    email: str | None
    created_at: int | None


class Listed(Struct, frozen=True):
    """Search hits; `started_ms` is when the search was sent (Redis clock)."""

    candidates: tuple[Candidate, ...]
    started_ms: int
    next_page: str | None = None
    """Of a list: where to go on; None after its last page."""


class Subscriptions(Struct, frozen=True):
    """Ids of the subscription types that the contact has an explicit choice on."""

    attached: frozenset[str]


class Types(Struct, frozen=True):
    by_id: Mapping[str, ConsentType]


class Workspace(Struct, frozen=True):
    """A workspace of Intercom, as the answer of a probe names it."""

    id: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.name} ({self.id})" if self.name else self.id


class Done(Struct, frozen=True):
    """A 200 without facts: archive, unarchive, delete, attach, detach, probe."""

    external_id: str | None = None
    """The external id in the answer of unarchive and archive."""
    region: str | None = None
    """Where the workspace is kept, in the answer of a probe."""
    workspace: Workspace | None = None
    """Whose token it is, in the answer of a probe."""


class Gone(Struct, frozen=True):
    """404 or 410 on a contact: archived, deleted, merged away, or never there."""

    merged_into: str | None = None


class NoResource(Struct, frozen=True):
    """404 on something that is no contact (a subscription type)."""


class Conflict(Struct, frozen=True):
    """409: somebody holds these details; usually named."""

    contact_id: str | None
    archived: bool


class NotRestorable(Struct, frozen=True):
    """The contact cannot be brought back or made again."""

    why: Literal["merged", "deleted", "blocked"]
    problem: Problem


class Refused(Struct, frozen=True):
    """400 or 422: the request itself is wrong; asking again gives the same."""

    problem: Problem


class Forbidden(Struct, frozen=True):
    """403: to be probed; the token may be dead or only this feature missing."""

    problem: Problem


class NotSent(Struct, frozen=True):
    """Provably not executed: refused connection, DNS, TLS, pool, or our own lateness."""

    problem: Problem


class Throttled(Struct, frozen=True):
    """429: not executed; wait."""

    retry_in_s: float
    problem: Problem


class Stopped(Struct, frozen=True):
    """Nothing will work until a person acts: bad token, unknown API version, a redirect."""

    problem: Problem


class Unknown(Struct, frozen=True):
    """Sent, and what became of it is not known: a timeout, a reset, 408, 5xx, or an unreadable 200."""

    problem: Problem


Reply = Union[
    Found, Listed, Subscriptions, Types, Done,
    Gone, NoResource, Conflict, NotRestorable, Refused, Forbidden,
    NotSent, Throttled, Stopped, Unknown,
]  # fmt: skip
