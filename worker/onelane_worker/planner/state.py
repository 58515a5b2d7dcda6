"""`Knowledge`: all that one turn knows of a person, as a value. It is the planner's only memory.

What lies above the line in the class comes from the registry and goes back to it (`knowledge.recall`,
`knowledge.record`); what lies below is learnt in this turn (`absorb.learn`) and forgotten with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import Struct, field
from msgspec.structs import replace

from onelane_worker.planner import operations as op
from onelane_worker.planner.registry import AttemptLog, Contact, Journal, Tombstone


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
    """For this long the index may show what is no more, and hide what is."""
    epoch_ms: int | None = None
    """When Redis last may have lost a moment: until a window later no miss proves anything."""
    contacts: Mapping[str, Contact] = field(default_factory=dict)
    primary: str | None = None
    """Whom the last desired ended with."""
    tombstones: Mapping[str, Tombstone] = field(default_factory=dict)
    looked_ms: int | None = None
    """When the address was last searched, in this turn or an earlier one."""
    missed_ms: int | None = None
    """First 409 of the head that named nobody."""
    unarchive_failures: Mapping[str, int] = field(default_factory=dict)
    journal: Journal | None = None
    log: AttemptLog = field(default_factory=AttemptLog)

    # ── learnt in this turn ──
    search_ms: int | None = None
    """When this turn's search was sent; nothing is searched twice in a turn."""
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
    """Whom we had brought back, and archived again: somebody else."""
    dead_end: op.Problem | None = None
    """The person cannot be brought back or made again."""
    unrestorable: Mapping[str, op.Problem] = field(default_factory=dict)
    attached: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Explicit subscription choices, by contact."""
    sent: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Field paths that were acknowledged, by contact: they are not sent again."""
    unmergeable: frozenset[str] = frozenset()

    @property
    def gone_ms(self) -> int | None:
        """Since when a search miss is no proof: the last time that a contact was found gone and nobody could
        say where to. The Messenger may just have merged it into a user whom the index does not show yet."""
        lost = [known.lost_ms for known in self.contacts.values() if known.lost_ms is not None]
        gone = [stone.at_ms for stone in self.tombstones.values() if stone.why == "gone"]
        epoch = [] if self.epoch_ms is None else [self.epoch_ms]
        return max(lost + gone + epoch, default=None)

    def is_heir(self, contact_id: str) -> bool:
        """Has a contact of this person been merged into that one?"""
        return any(stone.into == contact_id for stone in self.tombstones.values())

    def with_contact(self, known: Contact) -> Knowledge:
        """This contact is there: whatever a tombstone says, it lives."""
        tombstones = {
            k: stone for k, stone in self.tombstones.items() if k != known.id or not known.confirmed
        }
        return replace(self, contacts={**self.contacts, known.id: known}, tombstones=tombstones)

    def update_contact(self, contact_id: str, **changes: Any) -> Knowledge:
        """The same contact with other attributes."""
        return self.with_contact(replace(self.contacts[contact_id], **changes))

    def doubted(self, contact_id: str) -> Knowledge:
        """Somebody else may have changed who this is (another lane wrote to it): read it before a write."""
        return self.update_contact(contact_id, confirmed=False, facts=None)

    def bury(self, contact_id: str, stone: Tombstone) -> Knowledge:
        """The contact is out of play. The first sighting of an unexplained end counts, not the last."""
        before = self.tombstones.get(contact_id)
        if before is not None and before.why == stone.why:
            stone = replace(stone, at_ms=before.at_ms)
        contacts = {k: known for k, known in self.contacts.items() if k != contact_id}
        return replace(self, contacts=contacts, tombstones={**self.tombstones, contact_id: stone})

    def did(self, **log: Any) -> Knowledge:
        """Something was done for the head."""
        return replace(self, log=replace(self.log, **log))

    def called(self) -> Knowledge:
        """Intercom was asked for something."""
        return self.did(calls=self.log.calls + 1)

    def wrote(self, contact_id: str) -> Knowledge:
        """A write to this contact was acknowledged."""
        return self.did(written=self.log.written | {contact_id})

    def with_attached(self, contact_id: str, attached: frozenset[str] | None) -> Knowledge:
        """The explicit choices of this contact; None: not known any more."""
        others = {k: v for k, v in self.attached.items() if k != contact_id}
        return replace(self, attached=others if attached is None else {**others, contact_id: attached})
