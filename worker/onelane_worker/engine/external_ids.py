"""What is remembered with an external id, and what other lanes did to contacts that this lane knows.

A grant brings the external id's pointer (who its contact is) and the marks of contacts that were written or
moved by other lanes. A settle stores the pointer anew, and tells the lanes that contacts have left."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from onelane.workspace import Workspace
from onelane_worker.engine.codec import Pointer, pointer_of, pointer_text
from onelane_worker.lanes.types import Grant, Left, Lock, Target
from onelane_worker.planner import operations as op
from onelane_worker.planner.knowledge import Knowledge
from onelane_worker.planner.registry import Contact, RegistryEntry


def without_outdated(entry: RegistryEntry, marks: Grant | Target, workspace: Workspace) -> RegistryEntry:
    """The entry without facts that another lane's write has outdated; who has moved away is to be read
    first."""
    if not marks.outdated and not marks.moved:
        return entry
    return replace(entry, contacts=tuple(_checked(contact, marks, workspace) for contact in entry.contacts))


def _checked(contact: Contact, marks: Grant | Target, workspace: Workspace) -> Contact:
    digest = workspace.contact(contact.id)
    if marks.moved.get(digest, 0) > contact.resolved_ms:
        return replace(contact, facts=None, confirmed=False)
    if contact.facts is not None and contact.facts.as_of_ms <= marks.outdated.get(digest, 0):
        return replace(contact, facts=None)
    return contact


def pointed(know: Knowledge, lock: Lock, external_id: str, workspace: Workspace, now_ms: int) -> Knowledge:
    """What is known, with the contact that the external id points at."""
    pointer = pointer_of(lock.pointer)
    if pointer is None or pointer.id in know.tombstones:
        return know
    known = know.contacts.get(pointer.id)
    if known is not None:  # where it lives is what we know, unless another lane has moved it since
        moved = known.email is not None and pointer.lane not in (None, workspace.lane(known.email))
        return know.doubted(known.id) if moved else know
    lead = pointer.role == "lead"
    return know.with_contact(
        Contact(
            id=pointer.id,
            role=pointer.role,
            external_id=None if lead else external_id,
            email=know.email if pointer.lane == workspace.lane(know.email) else None,
            alias=external_id if lead else None,
            resolved_ms=now_ms,
        )
    )


def pointer_to(contact: Contact, lock: Lock, workspace: Workspace) -> str:
    """The pointer to store: who has the external id now, as far as we have written."""
    before = pointer_of(lock.pointer)
    lane = workspace.lane(contact.email) if contact.email else before.lane if before else None
    return pointer_text(Pointer(contact.id, contact.role, lane))


def left(
    know: Knowledge, contact: Contact | None, lock: Lock | None, workspace: Workspace
) -> tuple[Left, ...]:
    """The contacts that have left the lane of another address."""
    found: dict[tuple[str, str], Left] = {}
    for contact_id, address in know.log.left.items():
        home = know.contacts[contact_id].email if contact_id in know.contacts else None
        one = Left(workspace.contact(contact_id), workspace.lane(address), workspace.lane(home or know.email))
        found[one.contact, one.from_lane] = one
    before = pointer_of(lock.pointer) if lock else None
    if contact is not None and contact.email and before is not None and before.lane is not None:
        home = workspace.lane(contact.email)
        if before.id == contact.id and before.lane != home:
            one = Left(workspace.contact(contact.id), before.lane, home)
            found[one.contact, one.from_lane] = one
    return tuple(found.values())


def further(
    know: Knowledge, operation: op.WriteOperation, locks: Iterable[Lock], workspace: Workspace
) -> str | None:
    """A change of address also locks the external id that the contact has, whatever it names: its digest."""
    moved = know.contacts.get(getattr(operation, "contact_id", ""))
    if moved is None or not moved.external_id:
        return None
    digest = workspace.external_id(moved.external_id)
    return None if any(lock.digest == digest for lock in locks) else digest


def written_elsewhere(
    know: Knowledge, operation: op.WriteOperation, new_email: str | None
) -> Iterator[Contact]:
    """Contacts that the write concerns and that do not live at this lane's address."""
    for name in ("contact_id", "user_id"):
        contact = know.contacts.get(getattr(operation, name, ""))
        if contact is not None and (contact.email is None or contact.email not in (know.email, new_email)):
            yield contact
