"""Folding: what a run of waiting intents, taken together, wants of the contact (R90–R97).

Law (R90): the fold of i1…in ends like i1…in applied one by one. It holds because intents fold only with
intents of the same mode, the same identity and the same subscription types: then the last word per field and
per consent channel decides, and whatever Intercom has against one of them it has against the head as well.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from onelane.email_address import spellings
from onelane.intents import (
    CLEARABLE,
    ContactSync,
    ContactUpsert,
    EmailChange,
    NewsletterOptIn,
    NewsletterOptOut,
    ProductSignUp,
)
from onelane_worker.planner.intent_rights import AnyIntent, Mode, mode_of
from onelane_worker.planner.policy import Policy
from onelane_worker.planner.registry import ALL_MAIL, ConsentMemory, ConsentWord, Version

MAX_SPELLINGS = 14
"""A search holds 15 filters (published spec); one is kept for the external id."""


class Accepted(Struct, frozen=True):
    """An intent with its place in time."""

    id: str
    intent: AnyIntent
    accepted_ms: int
    size_bytes: int = 0
    again: bool = False
    """A dead letter that came back (R98)."""

    @property
    def acted_ms(self) -> int:
        """When the person acted: `occurred_at`, else the acceptance. Never later than the acceptance: a
        producer's wrong clock must not outrank all words to come."""
        at = self.intent.occurred_at
        return self.accepted_ms if at is None else min(int(at.timestamp() * 1000), self.accepted_ms)


class DesiredState(Struct, frozen=True):
    """What the contact should become."""

    members: tuple[Accepted, ...]
    mode: Mode
    email: str
    """Normalised."""
    spellings: tuple[str, ...]
    """Addresses to search for: the normalised one, then the forms in which others may have stored it, then
    others as producers wrote them (R15); no more than one search can hold."""
    external_id: str | None
    new_email: str | None = None
    """The address that the person has from now on, normalised (EmailChange)."""
    made: str | None = None
    """The contact whose create owed this settle check."""
    contact_id: str | None = None
    """A contact that the producer points at (ProductSignUp)."""
    contact_ids: tuple[str, ...] = ()
    """Contacts that were seen with the address (DuplicateCheck)."""
    fields: Mapping[str, Any] = field(default_factory=dict)
    """Field path → value; None clears."""
    insert_fields: Mapping[str, Any] = field(default_factory=dict)
    """Written on an insert only: the inserter's set_on_insert (R42, R44)."""
    signed_up_at: int | None = None
    """For a create, a conversion, or a user that has none yet (R27)."""
    words: Mapping[str, ConsentWord] = field(default_factory=dict)
    """Explicit consent by channel."""
    authors: Mapping[str, str] = field(default_factory=dict)
    """Field path or `consent:<channel>` → id of the intent whose word it is."""
    said: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Intent id → everything it named, in the terms of `authors`."""
    accepted_ms: int = 0
    """Newest acceptance among the members: consent facts older than it prove nothing (R51), and neither does
    a search that started less than a settle window later (R31)."""
    creator_waits: bool = False
    """An intent that may create waits behind this desired state (R31)."""
    outdated_by: str | None = None
    """The intent whose newer version of the same picture has been applied meanwhile (R96)."""

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(member.id for member in self.members)


class Superseded(Struct, frozen=True):
    """The head is older than what its source, or the person, has already said."""

    id: str
    by: str


def fold(
    batch: Sequence[Accepted], memory: ConsentMemory, policy: Policy, now_ms: int
) -> DesiredState | Superseded:
    """Fold the head of the batch with as many followers as the law allows.

    `batch` is in accepted order and not empty; `memory` is the person's.
    """
    head = batch[0]
    stale = _outdated(head, memory, policy, now_ms) or _overruled(head, memory, policy)
    if stale is not None:
        return Superseded(head.id, stale)
    members = [head]
    size_bytes = head.size_bytes
    for follower in batch[1 : policy.fold_max]:
        size_bytes += follower.size_bytes
        if size_bytes > policy.fold_bytes or not _folds(members, follower, memory, policy, now_ms):
            break
        members.append(follower)
    rest = batch[len(members) :]
    return _desired_state(
        tuple(members), memory, policy, any(mode_of(a.intent, policy).creates for a in rest)
    )


def _folds(
    members: list[Accepted], follower: Accepted, memory: ConsentMemory, policy: Policy, now_ms: int
) -> bool:
    head = members[0]
    mode = mode_of(head.intent, policy)
    return (
        mode == mode_of(follower.intent, policy)
        and not (mode.create_only or mode.alone)
        and not follower.again  # what it leaves out is known when those before it have ended
        and _same_subject(head.intent, follower.intent, policy)
        and (mode.creates is not None or _looks_with(head, follower, policy, now_ms))
        and _outdated(follower, memory, policy, now_ms) is None
        and not (mode.form == "fill" and _names_again(members, follower))
        and not _dropped_words(follower, memory, policy)
        and not any(_older(follower.intent, member.intent) for member in members)
    )


def _same_subject(a: AnyIntent, b: AnyIntent, policy: Policy) -> bool:
    same_contact = getattr(a, "contact_id", None) == getattr(b, "contact_id", None)
    return a.external_id == b.external_id and same_contact and _types(a, policy) == _types(b, policy)


def _names_again(members: list[Accepted], follower: Accepted) -> bool:
    """A field that one form has filled in is no longer empty for the next one (R23)."""
    return any(not _named(follower.intent).keys().isdisjoint(_named(one.intent)) for one in members)


def _looks_with(head: Accepted, follower: Accepted, policy: Policy, now_ms: int) -> bool:
    """An intent that may not create ends `not_found` by a search a settle window after its own acceptance
    (R31): one that still has to wait does not share the end of one that has waited."""
    waited = now_ms - policy.settle_window_ms
    return (head.accepted_ms <= waited) == (follower.accepted_ms <= waited)


# ── versions (R96) ────────────────────────────────────────────────────────────────────────────────────────
#
# | a sync that names | is compared with others of the same | which are remembered with | guarded by    |
# |-------------------|-------------------------------------|---------------------------|---------------|
# | an external id    | external id and source              | the external id           | its leaf lock |
# | none              | address and source                  | the lane                  | the lease     |


def _version_key(external_id: str | None, source: str | None) -> str:
    return json.dumps([external_id, source])


def _older(a: AnyIntent, b: AnyIntent) -> bool:
    if not isinstance(a, ContactSync) or not isinstance(b, ContactSync):
        return False
    if a.version is None or b.version is None:
        return False
    return (a.external_id, a.source) == (b.external_id, b.source) and a.version < b.version


def _outdated(accepted: Accepted, memory: ConsentMemory, policy: Policy, now_ms: int) -> str | None:
    intent = accepted.intent
    if not isinstance(intent, ContactSync) or intent.version is None:
        return None
    known = memory.versions.get(_version_key(intent.external_id, intent.source))
    if known is None or now_ms - known.at_ms > policy.version_memory_ms:
        return None
    return known.by if intent.version < known.number else None


def refold(
    desired: DesiredState,
    batch: Sequence[Accepted],
    memory: ConsentMemory,
    by_source: Mapping[str, Version],
    policy: Policy,
    now_ms: int,
) -> DesiredState:
    """The desired state as it is when the versions that its external id has seen are known, too.

    If its head is older than one of them it only says so: a create of it may still have to be cleared up.
    """
    if desired.external_id is None or not by_source:
        return desired
    known = {_version_key(desired.external_id, source or None): each for source, each in by_source.items()}
    joined = replace(memory, versions={**memory.versions, **known})
    again = fold(batch, joined, policy, now_ms)
    return replace(desired, outdated_by=again.by) if isinstance(again, Superseded) else again


def applied_versions(
    by_source: Mapping[str, Version], desired: DesiredState, policy: Policy, now_ms: int
) -> dict[str, Version]:
    """What an external id has seen when this desired state holds, by source ("" for none). Old entries are
    dropped."""
    young = {s: v for s, v in by_source.items() if now_ms - v.at_ms <= policy.version_memory_ms}
    return young | {source or "": version for source, version in _applied(desired, now_ms).items()}


def _applied(desired: DesiredState, now_ms: int) -> dict[str | None, Version]:
    """The newest version of each source among the members; within a fold they never go back."""
    return {
        member.intent.source: Version(number=member.intent.version, by=member.id, at_ms=now_ms)
        for member in desired.members
        if isinstance(member.intent, ContactSync) and member.intent.version is not None
    }


# ── consent (R50–R56) ─────────────────────────────────────────────────────────────────────────────────────


def _types(intent: AnyIntent, policy: Policy) -> tuple[str, ...]:
    """The subscription types that an intent is about: its own, else the newsletter's (R54)."""
    if not isinstance(intent, NewsletterOptIn | NewsletterOptOut):
        return ()
    return intent.subscription_types or policy.newsletter_subscription_types


def _spoken(accepted: Accepted, policy: Policy) -> dict[str, ConsentWord]:
    """The explicit words of one intent, by channel. Only opt-in and opt-out have any (law 6)."""
    intent, types = accepted.intent, _types(accepted.intent, policy)
    match intent:
        case NewsletterOptIn(lift_unsubscribe_all=True):
            channels = (ALL_MAIL, *types)
        case NewsletterOptIn():
            channels = types
        case NewsletterOptOut():
            channels = types or (ALL_MAIL,)
        case _:
            return {}
    opted_in = isinstance(intent, NewsletterOptIn)
    return dict.fromkeys(channels, ConsentWord(opted_in=opted_in, at_ms=accepted.acted_ms, by=accepted.id))


def _dropped_words(accepted: Accepted, memory: ConsentMemory, policy: Policy) -> dict[str, ConsentWord]:
    """Words that a newer one of the person overrules, with that newer word."""
    known = memory.consent
    spoken = _spoken(accepted, policy)
    return {c: known[c] for c, word in spoken.items() if c in known and word.at_ms < known[c].at_ms}


def _overruled(head: Accepted, memory: ConsentMemory, policy: Policy) -> str | None:
    """The id of the newer word, if an old opt-in or opt-out has nothing left to say."""
    dropped = _dropped_words(head, memory, policy)
    if not dropped or len(dropped) < len(_spoken(head, policy)) or _named(head.intent):
        return None
    return max(dropped.values(), key=lambda word: word.at_ms).by


# ── fields (R40–R44, R91) ─────────────────────────────────────────────────────────────────────────────────


def _named(intent: AnyIntent) -> dict[str, Any]:
    """The fields that an intent names, by path; None clears."""
    source: Any = intent.set if isinstance(intent, ContactUpsert) else intent
    named = _paths(source)
    return named | dict.fromkeys(getattr(intent, "unset", ()))


def _paths(source: Any) -> dict[str, Any]:
    plain = {name: getattr(source, name, None) for name in CLEARABLE}
    attributes = getattr(source, "custom_attributes", {})
    named = {name: value for name, value in plain.items() if value is not None}
    return named | {f"custom_attributes.{name}": value for name, value in attributes.items()}


def _desired_state(
    members: tuple[Accepted, ...], memory: ConsentMemory, policy: Policy, creator_waits: bool
) -> DesiredState:
    head = members[0]
    fields: dict[str, Any] = {}
    words: dict[str, ConsentWord] = {}
    authors: dict[str, str] = {}
    said: dict[str, frozenset[str]] = {}
    for member in members:
        named = _named(member.intent)
        fields |= named
        dropped = _dropped_words(member, memory, policy)
        spoken = {c: w for c, w in _spoken(member, policy).items() if c not in dropped}
        heard = {c: w for c, w in spoken.items() if c not in words or w.at_ms >= words[c].at_ms}
        words |= heard
        authors |= dict.fromkeys([*named, *map(_channel, heard)], member.id)
        said[member.id] = frozenset([*named, *map(_channel, spoken)])
    address = head.intent.address
    addresses = [address, *_new_address(head.intent)]
    stored = [form for one in addresses for form in spellings(one)]
    written = [*_new_written(head.intent), *(member.intent.email for member in members)]
    return DesiredState(
        members=members,
        mode=mode_of(head.intent, policy),
        email=address,
        spellings=tuple(dict.fromkeys([*stored, *written]))[:MAX_SPELLINGS],
        external_id=head.intent.external_id,
        new_email=next(iter(_new_address(head.intent)), None),
        made=getattr(head.intent, "made", None),
        contact_id=getattr(head.intent, "contact_id", None),
        contact_ids=getattr(head.intent, "contact_ids", ()),
        fields=fields,
        insert_fields=_paths(head.intent.set_on_insert) if isinstance(head.intent, ContactUpsert) else {},
        signed_up_at=_signed_up_at(head),
        words=words,
        authors=authors,
        said=said,
        accepted_ms=max(member.accepted_ms for member in members),
        creator_waits=creator_waits,
    )


def _new_address(intent: AnyIntent) -> tuple[str, ...]:
    """The address to come, normalised."""
    return (intent.new_address,) if isinstance(intent, EmailChange) else ()


def _new_written(intent: AnyIntent) -> tuple[str, ...]:
    """The address to come, as the producer wrote it."""
    return (intent.new_email,) if isinstance(intent, EmailChange) else ()


def _channel(channel: str) -> str:
    return f"consent:{channel}"


def _signed_up_at(head: Accepted) -> int | None:
    return head.acted_ms // 1000 if isinstance(head.intent, ProductSignUp) else None


def remembered(
    memory: ConsentMemory, desired: DesiredState, carried_out: bool, policy: Policy, now_ms: int
) -> ConsentMemory:
    """The memory after this desired state: its words, kept as pending if nobody was there to carry them out
    on, and the versions of its members, unless they go with an external id. Old entries are dropped."""
    consent = {c: w for c, w in memory.consent.items() if now_ms - w.at_ms <= policy.consent_memory_ms}
    if carried_out:
        consent = {c: replace(w, pending=False) for c, w in consent.items()}
    consent |= {c: replace(w, pending=not carried_out) for c, w in desired.words.items()}
    versions = {k: v for k, v in memory.versions.items() if now_ms - v.at_ms <= policy.version_memory_ms}
    if carried_out and desired.external_id is None:
        versions |= {_version_key(None, source): v for source, v in _applied(desired, now_ms).items()}
    return replace(memory, consent=consent, versions=versions)
