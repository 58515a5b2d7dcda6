"""What we know of a person: facts, the recently written registry, and the longer memory of consent.

Laws
 * Facts come only from answers to writes and from reads by id; their age counts from when that request was
   *sent* and is never refreshed by being read (R1, R3).
 * A pointer (who) may outlive its facts (what): a crash or an unknown write leaves only the pointer (R2).
 * Nothing here has a clock: every time is given, in milliseconds of Redis' clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from msgspec import Struct, field
from msgspec.structs import replace

Role = Literal["lead", "user"]
Value = str | int | float | bool | None
ALL_MAIL = "all"
"""The consent channel of `unsubscribed_from_emails`; the other channels are subscription type ids."""


class Ack(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A value we sent and what Intercom echoed for it: it may reformat (phones, avatars)."""

    sent: Any
    echoed: Any


class Facts(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One contact as Intercom itself stated it."""

    id: str
    role: Role
    external_id: str | None = None
    email: str | None = None
    fields: dict[str, Any] = field(default_factory=dict)
    """name, phone, avatar (its URL), owner_id, signed_up_at, last_seen_at, unsubscribed_from_emails, and
    custom attributes as `custom_attributes.<name>`. A plain field that is absent was not in the answer."""
    attributes_known: bool = True
    """The answer carried custom attributes at all: a missing one is then null, not unknown."""
    attached: frozenset[str] | None = None
    """Subscription types with an explicit choice; None if the answer did not list them all."""
    created_at: int | None = None
    """Unix seconds, Intercom's clock."""
    updated_at: int | None = None
    as_of_ms: int = 0
    """When the request was sent, Redis clock; set by `absorb`."""
    source: Literal["written", "read"] = "read"
    acks: dict[str, Ack] = field(default_factory=dict)


class Contact(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A contact we can point at, with or without facts."""

    id: str
    role: Role
    external_id: str | None = None
    """A user's own; None also while it has the one that Intercom minted."""
    minted: str | None = None
    """What Intercom minted for it as a lead. A lead that becomes a user without an external id of its own
    keeps that, and still is a user without one."""
    email: str | None = None
    """Normalised address it was last seen with."""
    alias: str | None = None
    """External id that an intent named for this lead and Intercom dropped (R6)."""
    created_at: int | None = None
    """Unix seconds, Intercom's clock."""
    resolved_ms: int
    """When we made it or last found it; a lead's pointer ages from here (R3)."""
    made_ms: int | None = None
    """When Onelane itself created it; only such leads may be merged by default (R22)."""
    confirmed: bool = True
    """False for a contact that only the index has shown: read it by id before the first write (R16)."""
    lost_ms: int | None = None
    """Since when it answers 404: archived, or gone for good. Only unarchiving could tell which."""
    facts: Facts | None = None

    @property
    def is_ours(self) -> bool:
        """A lead that we made ourselves."""
        return self.role == "lead" and self.made_ms is not None

    @property
    def age_key(self) -> tuple[float, str]:
        """Order among equals: oldest first, then the smallest id (R17). An unknown age counts as young, so
        that a contact never loses its place when its age becomes known."""
        return (float("inf") if self.created_at is None else self.created_at, self.id)


class Tombstone(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An id the index may go on showing although it must not be used."""

    why: Literal["gone", "merged", "deleted", "archived", "moved"]
    """gone: 404 without a reason · merged: into a known contact · deleted, archived: by us, for good · moved:
    to another address, by us."""
    into: str | None = None
    at_ms: int
    """When the first answer said so."""


class AttemptLog(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was done for the head so far. Kept over a retry, so that the end of a desired state knows its
    beginning."""

    created: str | None = None
    converted: str | None = None
    revived: str | None = None
    adopted: bool = False
    """The contact was made by a create whose answer was lost."""
    written: frozenset[str] = frozenset()
    merged: tuple[str, ...] = ()
    calls: int = 0
    """Requests made to Intercom, in every attempt."""
    identities: frozenset[str] = frozenset()
    """External ids of the contacts that were deleted."""
    left: dict[str, str] = field(default_factory=dict)
    """Contact id → address that it had before it was moved to this lane's (R64)."""


NOTHING_DONE = AttemptLog()


class RegistryEntry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The recently written registry's record of one lane."""

    contacts: tuple[Contact, ...] = ()
    primary: str | None = None
    searched_ms: int | None = None
    """When the address itself was last searched; an opt-out must reach every contact of it (R53)."""
    tombstones: dict[str, Tombstone] = field(default_factory=dict)
    clashed_ms: int | None = None
    """First 409 of the head that named no contact: the index shows its holder within a settle window."""
    unarchive_failures: dict[str, int] = field(default_factory=dict)
    log: AttemptLog = NOTHING_DONE

    def without_facts(self) -> RegistryEntry:
        """The contacts as pointers: after a holder that did not settle cleanly."""
        return replace(self, contacts=tuple(replace(k, facts=None) for k in self.contacts))


class ConsentWord(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The last explicit word of the person on one consent channel."""

    opted_in: bool
    at_ms: int
    by: str
    """Intent id."""
    pending: bool = False
    """Not carried out yet: no contact was visible."""


class Version(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The newest picture of one source that was applied (R96)."""

    number: int
    by: str
    at_ms: int = 0


class Burials(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was written after which dead letter (R98); see `replay`."""

    count: int = 0
    letters: dict[str, int] = field(default_factory=dict)
    """Dead letter → number of its burial."""
    written: dict[str, int] = field(default_factory=dict)
    """Field path → burials before it was last written."""
    dropped: bool = False
    """There were too many dead letters to keep them all."""


NO_BURIALS = Burials()


class ConsentMemory(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What outlives the registry: consent (R56), versions of syncs without an external id (R96), burials
    (R98)."""

    consent: dict[str, ConsentWord] = field(default_factory=dict)
    versions: dict[str, Version] = field(default_factory=dict)
    burials: Burials = NO_BURIALS


class Journal(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A create that may be in flight with unknown result (R70)."""

    intents: tuple[str, ...]
    role: Role
    external_id: str | None = None
    body: dict[str, Any]
    sent_ms: int
    commit_until_ms: int | None = None
    """After this the create can no longer commit; set by the checkpoint."""
    looks: int = 0
    """How often the lane has waited for it: first until it can no longer commit, then between two looks."""

    @property
    def guarded(self) -> bool:
        """Intercom refuses a second user of one external id, so trying again does no harm (R71)."""
        return self.role == "user" and self.external_id is not None

    @property
    def open_until_ms(self) -> int:
        """Until when the create may still take effect."""
        return self.commit_until_ms or self.sent_ms


def flatten(body: Mapping[str, Any]) -> dict[str, Any]:
    """A request body as field paths: custom attributes become `custom_attributes.<name>`."""
    plain = {k: v for k, v in body.items() if k != "custom_attributes"}
    attributes = body.get("custom_attributes") or {}
    return plain | {f"custom_attributes.{k}": v for k, v in attributes.items()}


def unflatten(paths: Mapping[str, Any]) -> dict[str, Any]:
    """The inverse of `flatten`: field paths as a request body."""
    body: dict[str, Any] = {}
    for path, value in paths.items():
        head, dot, name = path.partition(".")
        if dot:
            body.setdefault(head, {})[name] = value
        else:
            body[path] = value
    return body
