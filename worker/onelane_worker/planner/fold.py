"""Folding: what a run of waiting intents, taken together, wants of the contact (R90–R97).

Law (R90): the fold of i1…in ends like i1…in applied one by one. It holds because intents fold only with
intents of the same mode, the same identity and the same subscription types: then the last word per field and
per consent channel decides, and whatever Intercom has against one of them it has against the head as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from onelane.email_address import spellings
from onelane.intents import (
    ATTRIBUTE_PREFIX,
    CLEARABLE,
    ContactSync,
    ContactUpsert,
    DuplicateCheck,
    EmailChange,
    FieldMap,
    NewsletterOptIn,
    NewsletterOptOut,
    ProductSignUp,
    SettleCheck,
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
    contact_ids: tuple[str, ...] = ()
    """Contacts that were seen with the address (DuplicateCheck)."""
    contact_id: str | None = None
    """A contact that the producer points at (ProductSignUp)."""
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
    versions = {} if batch[0].intent.external_id is not None else memory.versions
    return _folded(batch, memory, versions, policy, now_ms)


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
    if desired.external_id is None:
        return desired
    if not any(_outdated(one.intent, by_source, policy, now_ms) for one in desired.members):
        return desired  # who did not fold before does not fold now
    again = _folded(batch, memory, by_source, policy, now_ms)
    return replace(desired, outdated_by=again.by) if isinstance(again, Superseded) else again


def _folded(
    batch: Sequence[Accepted],
    memory: ConsentMemory,
    versions: Mapping[str, Version],
    policy: Policy,
    now_ms: int,
) -> DesiredState | Superseded:
    head = _content(batch[0], memory, policy)
    newer = _outdated(batch[0].intent, versions, policy, now_ms) or _overruled(head)
    if newer is not None:
        return Superseded(head.accepted.id, newer)
    members, size_bytes = [head], head.accepted.size_bytes
    for accepted in batch[1 : policy.fold_max]:
        size_bytes += accepted.size_bytes
        if size_bytes > policy.fold_bytes or _outdated(accepted.intent, versions, policy, now_ms):
            break
        follower = _content(accepted, memory, policy)
        if not _folds(members, follower, policy, now_ms):
            break
        members.append(follower)
    rest = batch[len(members) :]
    return _desired_state(members, any(mode_of(one.intent, policy).creates for one in rest))


def _folds(members: list[_Content], follower: _Content, policy: Policy, now_ms: int) -> bool:
    head, mode = members[0], members[0].mode
    return (
        mode == follower.mode
        and head.subject == follower.subject
        and not (mode.create_only or mode.alone)
        and not follower.accepted.again  # what it leaves out is known when those before it have ended
        and (mode.creates is not None or _looks_with(head.accepted, follower.accepted, policy, now_ms))
        and not (mode.form == "fill" and _names_again(members, follower))
        and not follower.overruled
        and not any(_older(follower.accepted.intent, one.accepted.intent) for one in members)
    )


def _names_again(members: list[_Content], follower: _Content) -> bool:
    """A field that one form has filled in is no longer empty for the next one (R23)."""
    return any(not follower.fields.keys().isdisjoint(one.fields) for one in members)


def _looks_with(head: Accepted, follower: Accepted, policy: Policy, now_ms: int) -> bool:
    """An intent that may not create ends `not_found` by a search a settle window after its own acceptance
    (R31): one that still has to wait does not share the end of one that has waited."""
    waited = now_ms - policy.settle_window_ms
    return (head.accepted_ms <= waited) == (follower.accepted_ms <= waited)


def _desired_state(members: list[_Content], creator_waits: bool) -> DesiredState:
    fields: dict[str, Any] = {}
    words: dict[str, ConsentWord] = {}
    authors: dict[str, str] = {}
    said: dict[str, frozenset[str]] = {}
    for one in members:
        heard = {c: word for c, word in one.words.items() if c not in words or word.at_ms >= words[c].at_ms}
        fields |= one.fields
        words |= heard
        author = one.accepted.id
        authors |= dict.fromkeys([*one.fields, *map(_channel, heard)], author)
        said[author] = frozenset([*one.fields, *map(_channel, one.words)])
    head = members[0].accepted
    intent, address = head.intent, head.intent.address
    change = intent if isinstance(intent, EmailChange) else None
    stored, written = spellings(address), [one.accepted.intent.email for one in members]
    if change is not None:
        stored, written = stored + spellings(change.new_address), [change.new_email, *written]
    return DesiredState(
        members=tuple(one.accepted for one in members),
        mode=members[0].mode,
        email=address,
        spellings=tuple(dict.fromkeys([*stored, *written]))[:MAX_SPELLINGS],
        external_id=intent.external_id,
        new_email=change.new_address if change else None,
        made=intent.made if isinstance(intent, SettleCheck) else None,
        contact_ids=intent.contact_ids if isinstance(intent, DuplicateCheck) else (),
        contact_id=intent.contact_id if isinstance(intent, ProductSignUp) else None,
        fields=fields,
        insert_fields=_paths(intent.set_on_insert) if isinstance(intent, ContactUpsert) else {},
        signed_up_at=head.acted_ms // 1000 if isinstance(intent, ProductSignUp) else None,
        words=words,
        authors=authors,
        said=said,
        accepted_ms=max(one.accepted.accepted_ms for one in members),
        creator_waits=creator_waits,
    )


def _channel(channel: str) -> str:
    return f"consent:{channel}"


# ── what one intent says ──────────────────────────────────────────────────────────────────────────────────


class _Content(Struct, frozen=True):
    """An intent, taken apart once."""

    accepted: Accepted
    mode: Mode
    subject: tuple[object, ...]
    """Whom and what it is about; only intents of one subject fold."""
    fields: dict[str, Any]
    """Field path → value; None clears (R40–R44)."""
    words: dict[str, ConsentWord]
    """The explicit consent that counts, by channel."""
    overruled: dict[str, ConsentWord]
    """Channel → a newer word of the person than that of the intent."""


def _content(accepted: Accepted, memory: ConsentMemory, policy: Policy) -> _Content:
    intent, types = accepted.intent, _types(accepted.intent, policy)
    spoken, known = _spoken(accepted, types), memory.consent
    overruled = {c: known[c] for c, word in spoken.items() if c in known and word.at_ms < known[c].at_ms}
    return _Content(
        accepted,
        mode_of(intent, policy),
        (intent.external_id, intent.contact_id if isinstance(intent, ProductSignUp) else None, types),
        _fields(intent),
        {c: word for c, word in spoken.items() if c not in overruled},
        overruled,
    )


def _types(intent: AnyIntent, policy: Policy) -> tuple[str, ...]:
    """The subscription types that an intent is about: its own, else the newsletter's (R54)."""
    if not isinstance(intent, NewsletterOptIn | NewsletterOptOut):
        return ()
    return intent.subscription_types or policy.newsletter_subscription_types


def _spoken(accepted: Accepted, types: tuple[str, ...]) -> dict[str, ConsentWord]:
    """The explicit words of one intent, by channel. Only opt-in and opt-out have any (law 6)."""
    match accepted.intent:
        case NewsletterOptIn(lift_unsubscribe_all=True):
            channels, opted_in = (ALL_MAIL, *types), True
        case NewsletterOptIn():
            channels, opted_in = types, True
        case NewsletterOptOut():
            channels, opted_in = types or (ALL_MAIL,), False
        case _:
            return {}
    return dict.fromkeys(channels, ConsentWord(opted_in=opted_in, at_ms=accepted.acted_ms, by=accepted.id))


def _overruled(head: _Content) -> str | None:
    """The id of the newer word, if an old opt-in or opt-out has nothing left to say (R56)."""
    if not head.overruled or head.words or head.fields:
        return None
    return max(head.overruled.values(), key=lambda word: word.at_ms).by


def _fields(intent: AnyIntent) -> dict[str, Any]:
    if isinstance(intent, ContactUpsert):
        return _paths(intent.set) | dict.fromkeys(intent.unset)
    if isinstance(intent, ContactSync) and intent.unset:
        return _paths(intent) | dict.fromkeys(intent.unset)
    return _paths(intent)


def _paths(source: AnyIntent | FieldMap) -> dict[str, Any]:
    given = source.model_fields_set
    named = {name: getattr(source, name) for name in CLEARABLE if name in given}
    paths = {name: value for name, value in named.items() if value is not None}
    if "custom_attributes" in given:
        attributes: Mapping[str, Any] = source.custom_attributes  # type: ignore[union-attr]
        paths |= {ATTRIBUTE_PREFIX + name: value for name, value in attributes.items()}
    return paths


# ── versions (R96) ────────────────────────────────────────────────────────────────────────────────────────
#
# | a sync that names | is compared with others of the same | which are remembered with | guarded by       |
# |-------------------|-------------------------------------|---------------------------|------------------|
# | an external id    | external id and source              | the external id           | the lock of that |
# | none              | address and source                  | the lane                  | the lease        |


def _outdated(intent: AnyIntent, versions: Mapping[str, Version], policy: Policy, now_ms: int) -> str | None:
    """Who has applied a newer version of the same picture, if anybody has. `versions`: by source."""
    if not versions or not isinstance(intent, ContactSync) or intent.version is None:
        return None
    known = versions.get(intent.source or "")
    if known is None or now_ms - known.at_ms > policy.version_memory_ms:
        return None
    return known.by if intent.version < known.number else None


def _older(a: AnyIntent, b: AnyIntent) -> bool:
    """Is `a` an older version of the same picture than `b`? Both are about one person."""
    if not isinstance(a, ContactSync) or not isinstance(b, ContactSync):
        return False
    if a.version is None or b.version is None:
        return False
    return a.source == b.source and a.version < b.version


def applied_versions(
    by_source: Mapping[str, Version], desired: DesiredState, policy: Policy, now_ms: int
) -> dict[str, Version]:
    """What an external id has seen when this desired state holds, by source ("" for none). Old entries are
    dropped."""
    young = {s: v for s, v in by_source.items() if now_ms - v.at_ms <= policy.version_memory_ms}
    return young | _applied(desired, now_ms)


def _applied(desired: DesiredState, now_ms: int) -> dict[str, Version]:
    """The newest version of each source among the members; within a fold they never go back."""
    return {
        member.intent.source or "": Version(number=member.intent.version, by=member.id, at_ms=now_ms)
        for member in desired.members
        if isinstance(member.intent, ContactSync) and member.intent.version is not None
    }


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
        versions |= _applied(desired, now_ms)
    return replace(memory, consent=consent, versions=versions)
