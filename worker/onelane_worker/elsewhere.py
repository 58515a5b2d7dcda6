"""Contacts that live at one address and are written to from another (decision 17).

A form or an opt-in that names an external id writes to its user, wherever that user lives, and does not move
it. The lane of the user's own address knows nothing of it: it holds other intents, perhaps none with an
external id, and may be at work at that very moment. So the write is noted with the contact *before* it
leaves, and every lane asks that note before it believes a fact. What a lane knows of somebody who lives
elsewhere it never believes a second time: the lane at home writes without a note.
"""

from __future__ import annotations

from onelane_worker.planner import operations as op
from onelane_worker.planner.registry import Contact
from onelane_worker.planner.state import Knowledge
from onelane_worker.lanes.store import LaneStore
from onelane_worker.lease import Lease


class Elsewhere:
    """The notes of one turn."""

    def __init__(self, store: LaneStore, lease: Lease) -> None:
        self._store = store
        self._lease = lease
        self._told: set[str] = set()
        """Contacts of which this wish has told that its lane knows them."""

    def checked(self, know: Knowledge) -> Knowledge:
        """What is recalled, without the facts that a write from elsewhere may have outdated."""
        self._told.clear()
        believed = {known.id: known.facts for known in know.contacts.values() if known.facts is not None}
        outdated = self._store.outdated(tuple(believed), self._lease.grant.lane) if believed else {}
        for contact_id, facts in believed.items():
            if facts.as_of_ms <= outdated.get(contact_id, 0):
                know = know.update_contact(contact_id, facts=None)
        return know

    def tell(self, know: Knowledge) -> None:
        """This lane is about to remember these contacts: an erasure must find it."""
        for known in know.contacts.values():
            if known.email != know.email and known.id not in self._told:
                self._store.note_contact(known.id, self._lease.grant.lane)
                self._told.add(known.id)

    def note(self, know: Knowledge, operation: op.Operation, new_email: str | None) -> None:
        """A write is about to leave. `new_email`: an address whose lane is held, too."""
        ours = (know.email, new_email)
        for known in _written(know, operation):
            if known.email is None or known.email not in ours:
                self._store.note_contact(known.id, self._lease.grant.lane, writes=True)


def _written(know: Knowledge, operation: op.Operation) -> list[Contact]:
    ids = (getattr(operation, name, "") for name in ("contact_id", "user_id"))
    return [know.contacts[contact_id] for contact_id in ids if contact_id in know.contacts]
