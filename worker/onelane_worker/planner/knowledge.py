"""`Knowledge`: all that one attempt knows of a person, and its way from the registry and back.

`recall` makes it from the registry entry, `absorb` adds what each reply says, `record` makes the next entry.
The planner has no other memory. An entry says for longer *who* than *what*, and about a lead only for a while
even that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from onelane_worker.planner import operations as op
from onelane_worker.planner.policy import Policy
from onelane_worker.planner.registry import (
    NOTHING_DONE,
    AttemptLog,
    Contact,
    Journal,
    RegistryEntry,
    Tombstone,
)


class Clash(Struct, frozen=True):
    """A 409 on a write: somebody holds these details."""

    operation: op.Create | op.Update
    contact_id: str | None
    archived: bool


class Knowledge(Struct, frozen=True):
    """Everything the planner may look at besides the desired state."""

    email: str
    """The lane's address."""
    external_id: str | None = None
    """The external id that the desired state names."""
    settle_window_ms: int = 600_000
    """For this long the index may show contacts that are gone, and hide contacts that exist."""
    epoch_ms: int | None = None
    """When Redis last may have lost writes: until a settle window later a search miss proves nothing."""
    contacts: Mapping[str, Contact] = field(default_factory=dict)
    primary: str | None = None
    """The contact that the last desired state ended with."""
    tombstones: Mapping[str, Tombstone] = field(default_factory=dict)
    looked_ms: int | None = None
    """When the address was last searched, in this attempt or an earlier one."""
    missed_ms: int | None = None
    """First 409 of the head that named no contact."""
    unarchive_failures: Mapping[str, int] = field(default_factory=dict)
    journal: Journal | None = None
    log: AttemptLog = NOTHING_DONE

    # ── learnt in this attempt, and not stored ──
    search_ms: int | None = None
    """When this attempt's search was sent; an attempt searches once."""
    asked: frozenset[str] = frozenset()
    """External ids that were asked for."""
    named: frozenset[str] = frozenset()
    """Contacts that Intercom itself pointed at: by a 409, a 410, or a successful unarchive."""
    types: Mapping[str, op.ConsentType] | None = None
    gone_count: int = 0
    clash: Clash | None = None
    doubt: Journal | None = None
    """The unknown create that the clash was an answer to: the holder may be ours (R71)."""
    put_back: str | None = None
    """A contact that was unarchived, turned out to be another account, and was archived again."""
    dead_end: op.Problem | None = None
    """The contact cannot be restored or created again."""
    unrestorable: Mapping[str, op.Problem] = field(default_factory=dict)
    attached: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Explicit subscription choices, by contact."""
    sent: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Field paths that were acknowledged, by contact: they are not sent again."""
    unmergeable: frozenset[str] = frozenset()

    @property
    def gone_ms(self) -> int | None:
        """Since when a search miss is no proof: the last time that a contact was found gone without a reason.
        The Messenger may just have merged it into a user that the index does not show yet."""
        lost = [contact.lost_ms for contact in self.contacts.values() if contact.lost_ms is not None]
        gone = [stone.at_ms for stone in self.tombstones.values() if stone.why == "gone"]
        epoch = [] if self.epoch_ms is None else [self.epoch_ms]
        return max(lost + gone + epoch, default=None)

    def is_heir(self, contact_id: str) -> bool:
        """Has a contact of this person been merged into that one?"""
        return any(stone.into == contact_id for stone in self.tombstones.values())

    def with_contact(self, contact: Contact) -> Knowledge:
        """This contact exists. If an answer has confirmed it, its tombstone goes."""
        tombstones = {
            k: stone for k, stone in self.tombstones.items() if k != contact.id or not contact.confirmed
        }
        return replace(self, contacts={**self.contacts, contact.id: contact}, tombstones=tombstones)

    def update_contact(self, contact_id: str, **changes: Any) -> Knowledge:
        """The same contact with other attributes."""
        return self.with_contact(replace(self.contacts[contact_id], **changes))

    def doubted(self, contact_id: str) -> Knowledge:
        """Another lane may have changed this contact: it is read before the next write."""
        return self.update_contact(contact_id, confirmed=False, facts=None)

    def with_tombstone(self, contact_id: str, stone: Tombstone) -> Knowledge:
        """The contact is not used any more. Of several answers of one reason the first sets the time."""
        before = self.tombstones.get(contact_id)
        if before is not None and before.why == stone.why:
            stone = replace(stone, at_ms=before.at_ms)
        contacts = {k: contact for k, contact in self.contacts.items() if k != contact_id}
        return replace(self, contacts=contacts, tombstones={**self.tombstones, contact_id: stone})

    def did(self, **log: Any) -> Knowledge:
        """With these changes of the attempt log."""
        return replace(self, log=replace(self.log, **log))

    def called(self) -> Knowledge:
        """One more call was made."""
        return self.did(calls=self.log.calls + 1)

    def wrote(self, contact_id: str) -> Knowledge:
        """A write to this contact was acknowledged."""
        return self.did(written=self.log.written | {contact_id})

    def with_attached(self, contact_id: str, attached: frozenset[str] | None) -> Knowledge:
        """The explicit choices of this contact; None: not known any more."""
        others = {k: v for k, v in self.attached.items() if k != contact_id}
        return replace(self, attached=others if attached is None else {**others, contact_id: attached})


def recall(
    email: str,
    external_id: str | None,
    entry: RegistryEntry,
    journal: Journal | None,
    policy: Policy,
    now_ms: int,
    epoch_ms: int | None = None,
) -> Knowledge:
    """What an attempt may use of the registry entry.

    `epoch_ms`: when Redis last may have lost writes; None: never.
    """
    life_ms = policy.registry_ttl_ms
    stale = {contact.id for contact in entry.contacts if _is_stale(contact, email, life_ms, now_ms)}
    complete = not stale and _young(entry.searched_ms, life_ms, now_ms)
    kept = [_doubted(k) if k.id in stale else k for k in entry.contacts if k.id not in stale or k.is_ours]
    return Knowledge(
        email=email,
        external_id=external_id,
        settle_window_ms=policy.settle_window_ms,
        epoch_ms=epoch_ms,
        contacts={
            contact.id: _with_young_facts(_at_home(contact, email), max(now_ms - life_ms, epoch_ms or 0))
            for contact in kept
        },
        primary=entry.primary,
        tombstones=_young_stones(entry.tombstones, life_ms, now_ms),
        looked_ms=entry.searched_ms if complete else None,
        missed_ms=entry.clashed_ms,
        unarchive_failures=entry.unarchive_failures,
        journal=journal,
        log=entry.log,
    )


def ended(know: Knowledge) -> Knowledge:
    """The head has ended: what was kept for it alone must not reach the next one."""
    return replace(know, missed_ms=None, log=NOTHING_DONE)


def record(know: Knowledge, primary: str | None, policy: Policy, now_ms: int) -> RegistryEntry:
    """The entry to store. `primary`: the contact that the desired state ended with, if it ended with one."""
    if primary is not None:
        know = ended(_without_lost(know))
    primary = primary or know.primary
    return RegistryEntry(
        contacts=tuple(
            _at_home(contact, know.email)
            for contact in sorted(know.contacts.values(), key=lambda contact: contact.age_key)
        ),
        primary=primary if primary in know.contacts else None,
        searched_ms=know.looked_ms,
        tombstones=_young_stones(know.tombstones, policy.registry_ttl_ms, now_ms),
        clashed_ms=know.missed_ms,
        unarchive_failures=dict(know.unarchive_failures),
        log=know.log,
    )


def elsewhere(entry: RegistryEntry, email: str) -> tuple[str, ...]:
    """The contacts of an entry that live at another address than `email`."""
    return tuple(contact.id for contact in entry.contacts if contact.email != email)


def _is_stale(contact: Contact, email: str, life_ms: int, now_ms: int) -> bool:
    """R3: a lead's pointer ages from its resolution, so that a busy lane searches again now and then and
    finds a user made by others. So do pointers to contacts of other addresses, and to those that are lost."""
    if contact.lost_ms is not None:
        return now_ms - contact.lost_ms > life_ms
    ages = contact.role == "lead" or contact.email != email
    return ages and now_ms - contact.resolved_ms > life_ms


def _doubted(contact: Contact) -> Contact:
    """A lead of ours is kept and looked up again: it may have to be merged into a user (R22)."""
    return replace(contact, confirmed=False, facts=None, lost_ms=None)


def _at_home(contact: Contact, email: str) -> Contact:
    """A contact of another address is written from that lane: here it is a pointer without facts."""
    return contact if contact.email == email else replace(contact, facts=None)


def _with_young_facts(contact: Contact, oldest_ms: int) -> Contact:
    """R2: facts are for skipping writes only while they are young, and none outlives its epoch."""
    if contact.facts is None or contact.facts.as_of_ms >= oldest_ms:
        return contact
    return replace(contact, facts=None)


def _young(at_ms: int | None, life_ms: int, now_ms: int) -> bool:
    return at_ms is not None and now_ms - at_ms <= life_ms


def _young_stones(stones: Mapping[str, Tombstone], life_ms: int, now_ms: int) -> dict[str, Tombstone]:
    return {contact_id: stone for contact_id, stone in stones.items() if now_ms - stone.at_ms <= life_ms}


def _without_lost(know: Knowledge) -> Knowledge:
    """The desired state holds for another contact: those that answered 404 are not unarchived any more."""
    for contact in tuple(know.contacts.values()):
        if contact.lost_ms is not None:
            know = know.with_tombstone(contact.id, Tombstone(why="gone", at_ms=contact.lost_ms))
    return know
