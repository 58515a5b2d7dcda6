"""The leaf lock: who serves an intent with an external id holds that id too, whatever the lane.

Two addresses may claim one external id at the same time. The lock belongs to the lane (its next holder takes
it over at once), is tried and never waited for, and is given back before the lane. It outlives a lost write's
last chance to commit, so that another lane cannot overtake it. With the id lies what its lanes must know of
each other: who its contact is, and which versions were applied to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from onelane.identity import lane_id
from onelane_worker.planner import operations as op
from onelane_worker.planner.registry import Contact, Version
from onelane_worker.planner.knowledge import Knowledge
from onelane_worker.lanes.model import KEEP, Fenced, Part
from onelane_worker.lanes.store import LaneStore
from onelane_worker.lease import Lease
from onelane_worker.payloads import Pointer, pointer_of, versions_json, versions_of, without_contact


@dataclass(frozen=True, slots=True)
class LeafBusy:
    """Another lane is at work on the external id."""

    left_s: float
    """How long its lock may last, at most."""


class Leaf:
    """At most one external id at a time, for one turn."""

    def __init__(self, store: LaneStore, lease: Lease) -> None:
        self._store = store
        self._lease = lease
        self._held: str | None = None
        self._home: str | None = None
        """The lane of the address under which the registry knows the external id's contact."""
        self.versions: Mapping[str, Version] = {}
        """What has been applied to the external id that is held, by source (R96)."""

    def take(self, external_id: str, know: Knowledge) -> Knowledge | LeafBusy:
        """Lock it, and learn whom the registry knows by it."""
        leaf = self._store.take_leaf(external_id, self._lease.grant)
        if not leaf.owned:
            return LeafBusy(max(0.0, ((leaf.busy_until_ms or 0) - self._lease.now_ms()) / 1000))
        self._held, self._home = external_id, None
        self.versions = versions_of(leaf.versions)
        pointer = pointer_of(leaf.pointer)
        if pointer is None:
            return know
        self._home = pointer.lane
        return _pointed(know, pointer, external_id, self._lease.now_ms())

    def of_moved(self, know: Knowledge, operation: op.Operation) -> LeafBusy | None:
        """A change of address also holds the external id that the contact has, whatever it names."""
        moved = know.contacts.get(getattr(operation, "contact_id", ""))
        if self._held is not None or not op.is_write(operation) or moved is None or not moved.external_id:
            return None
        taken = self.take(moved.external_id, know)
        return taken if isinstance(taken, LeafBusy) else None

    def hold(self) -> None:
        """Renew the lock before a write. Raises `Fenced` if it was lost: then nothing may be written."""
        if self._held is not None and not self._store.take_leaf(self._held, self._lease.grant).owned:
            raise Fenced("the external id's lock was lost")

    def note(self, versions: Mapping[str, Version], life_ms: int) -> bool:
        """Remember what was applied, before the lock is given back. False: it was lost, and another lane may
        have applied something older meanwhile."""
        if self._held is None or versions == self.versions:
            return True
        stored = versions_json(versions) if versions else None
        return self._store.note_leaf(self._held, self._lease.grant, stored, life_ms)

    def give(self, contact: Contact | None = None) -> None:
        """Release the lock; `contact` is who holds the external id now, as far as we have written."""
        if self._held is None:
            return
        pointer: Part = KEEP
        if contact is not None:
            lane = lane_id(contact.email) if contact.email else self._home
            pointer = Pointer(id=contact.id, role=contact.role, lane=lane).model_dump_json()
            if self._home not in (None, lane):
                forget(self._store, self._home, contact.id)
        self._store.give_leaf(self._held, self._lease.grant, pointer)
        self._held = None


def forget(store: LaneStore, lane: str, contact_id: str) -> None:
    """The contact has another address now: the lane of the old one must not write to it any more (R64).

    If that lane is being served at this very moment, its holder may still store what it believes.
    """
    store.revise_belief(lane, lambda belief: without_contact(belief, contact_id))


def _pointed(know: Knowledge, pointer: Pointer, external_id: str, now_ms: int) -> Knowledge:
    if pointer.id in know.tombstones:
        return know
    known = know.contacts.get(pointer.id)
    if known is not None:  # where it lives is what we believe, unless another lane has moved it since
        moved = known.email is not None and pointer.lane not in (None, lane_id(known.email))
        return know.doubted(known.id) if moved else know
    lead = pointer.role == "lead"
    ours = pointer.lane == lane_id(know.email)
    return know.with_contact(
        Contact(
            id=pointer.id,
            role=pointer.role,
            external_id=None if lead else external_id,
            email=know.email if ours else None,
            alias=external_id if lead else None,
            resolved_ms=now_ms,
        )
    )
