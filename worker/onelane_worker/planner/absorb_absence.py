"""Answers without a contact: it is gone, merged away, held by somebody else, or back from the archive."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from onelane_worker.planner import operations as op
from onelane_worker.planner.knowledge import Clash, Knowledge
from onelane_worker.planner.registry import Contact, Tombstone

OnContact = op.Read | op.Update | op.Unarchive | op.ListSubscriptions | op.Attach | op.Detach

# ── 404 and 410 ───────────────────────────────────────────────────────────────────────────────────────────


def lost(know: Knowledge, operation: OnContact, reply: op.Gone, sent_ms: int) -> Knowledge:
    contact_id = operation.contact_id
    know = replace(know, gone_count=know.gone_count + 1)
    if reply.merged_into is not None:
        return _survived(know, contact_id, reply.merged_into, sent_ms)
    contact = know.contacts.get(contact_id)
    was_there = contact is not None and (contact.confirmed or contact.is_ours)
    if contact is None or not was_there or contact.lost_ms is not None:
        lost_ms = contact.lost_ms if contact else None
        return know.with_tombstone(
            contact_id, Tombstone(why="gone", at_ms=sent_ms if lost_ms is None else lost_ms)
        )
    return know.update_contact(contact_id, lost_ms=sent_ms, facts=None, confirmed=True)


def not_found(know: Knowledge, operation: op.FindByExternalId, reply: op.Gone, sent_ms: int) -> Knowledge:
    """No user of that external id. Late enough, this also ends the doubt about a create of it."""
    know = replace(know, asked=know.asked | {operation.external_id})
    pending = know.journal
    if pending is None or not pending.guarded or pending.external_id != operation.external_id:
        return know
    late = sent_ms >= pending.open_until_ms + know.settle_window_ms
    return replace(know, journal=None) if late else know


def _survived(know: Knowledge, contact_id: str, heir: str, sent_ms: int) -> Knowledge:
    """API 2.16 and later name who lives on. Evidence: published spec."""
    know = know.with_tombstone(contact_id, Tombstone(why="merged", into=heir, at_ms=sent_ms))
    if heir in know.contacts or heir in know.tombstones:
        return know
    know = replace(know, named=know.named | {heir})
    return know.with_contact(Contact(id=heir, role="user", resolved_ms=sent_ms, confirmed=False))


# ── merging ───────────────────────────────────────────────────────────────────────────────────────────────


def unmerged(know: Knowledge, operation: op.Merge, reply: op.Gone, sent_ms: int) -> Knowledge:
    """One of the two is gone, and nothing says which: believe neither, and leave it at that for now."""
    if operation.lead_id in know.contacts:
        know = know.update_contact(operation.lead_id, facts=None, confirmed=False)
    if operation.user_id in know.contacts:
        know = know.update_contact(operation.user_id, facts=None)
    return unmergeable(know, operation, reply, sent_ms)


def unmergeable(know: Knowledge, operation: op.Merge, reply: op.Reply, sent_ms: int) -> Knowledge:
    """These two cannot be merged: it is not asked again, and the lead is reported."""
    return replace(know, unmergeable=know.unmergeable | {operation.lead_id})


# ── 409 ───────────────────────────────────────────────────────────────────────────────────────────────────


def held(know: Knowledge, operation: op.Create | op.Update, reply: op.Conflict, sent_ms: int) -> Knowledge:
    """Somebody holds the details that were sent. Nothing was made; an earlier create of unknown result may
    have made the holder."""
    clash, holder = Clash(operation, reply.contact_id, reply.archived), reply.contact_id
    know = replace(know, clash=clash, journal=None, doubt=know.journal or know.doubt)
    if holder is None:
        return replace(know, missed_ms=know.missed_ms or sent_ms)
    contact = know.contacts.get(holder)
    if clash.archived:
        return know if contact is None else know.update_contact(holder, lost_ms=sent_ms, facts=None)
    know = replace(know, named=know.named | {holder})
    if contact is not None and contact.confirmed and contact.lost_ms is None:
        return know
    # Only users clash. If no external id was sent, the address did it, and that settles who it is (R24).
    by_address = isinstance(operation, op.Create) and "external_id" not in operation.body
    return know.with_contact(
        Contact(id=holder, role="user", email=know.email, resolved_ms=sent_ms, confirmed=by_address)
    )


def replaced(know: Knowledge, operation: op.Unarchive, reply: op.Conflict, sent_ms: int) -> Knowledge:
    """An archived contact cannot come back: a live one has taken its external id. (Unverified.)"""
    contact_id, rival = operation.contact_id, reply.contact_id
    contact = know.contacts.get(contact_id)
    problem = op.Problem("refused", 409, "conflict", "another contact has taken its external id")
    know = replace(know, unrestorable={**know.unrestorable, contact_id: problem})
    know = know.with_tombstone(contact_id, Tombstone(why="gone", at_ms=sent_ms))
    if rival is None or rival in know.contacts:
        return know
    external_id = contact.external_id if contact else None
    return know.with_contact(
        Contact(id=rival, role="user", external_id=external_id, resolved_ms=sent_ms, confirmed=False)
    )


# ── bringing back ─────────────────────────────────────────────────────────────────────────────────────────


def dead_end(
    know: Knowledge, operation: op.Create | op.Update, reply: op.NotRestorable, sent_ms: int
) -> Knowledge:
    return replace(know, dead_end=reply.problem, journal=None)


def revived(know: Knowledge, operation: op.Unarchive, reply: op.Done, sent_ms: int) -> Knowledge:
    """The contact is back. A stranger, named by a 409, is a user; without an external id in the answer it is
    read before it is taken for one that has none."""
    contact_id, external_id = operation.contact_id, reply.external_id
    contact = know.contacts.get(contact_id)
    if contact is None:
        contact = Contact(id=contact_id, role="user", resolved_ms=sent_ms, confirmed=external_id is not None)
    changes: dict[str, Any] = {"facts": None, "lost_ms": None, "resolved_ms": sent_ms}
    if contact.role == "user" and external_id != contact.minted:
        changes["external_id"] = external_id or contact.external_id
    failures = {k: count for k, count in know.unarchive_failures.items() if k != contact_id}
    know = replace(know, clash=None, named=know.named | {contact_id}, unarchive_failures=failures)
    return know.with_contact(replace(contact, **changes)).wrote(contact_id).did(revived=contact_id)


def perhaps_revived(know: Knowledge, operation: op.Unarchive, reply: op.Unknown, sent_ms: int) -> Knowledge:
    """It may live again, and the index shows it late: until that has passed, who it is must not be forgotten,
    and nobody seen is no proof. Only a failure of Intercom's own counts, not one on the way there."""
    contact_id = operation.contact_id
    if reply.problem.code is not None:
        failures = know.unarchive_failures.get(contact_id, 0) + 1
        know = replace(know, unarchive_failures={**know.unarchive_failures, contact_id: failures})
    return know.update_contact(contact_id, lost_ms=sent_ms) if contact_id in know.contacts else know


def not_revived(know: Knowledge, operation: op.Unarchive, reply: op.NotRestorable, sent_ms: int) -> Knowledge:
    contact_id = operation.contact_id
    contact = know.contacts.get(contact_id)
    know = replace(know, unrestorable={**know.unrestorable, contact_id: reply.problem})
    if reply.why == "merged":  # so somebody lives on, whom the index shows a window after we lost sight
        lost_ms = contact.lost_ms if contact else None
        return know.with_tombstone(contact_id, Tombstone(why="gone", at_ms=lost_ms or sent_ms))
    if contact is None or contact.role == "user" or reply.why == "blocked":
        return replace(know, dead_end=reply.problem)
    # A deleted lead's address is free at once, and its 404 is explained. Evidence: recorded traffic 2021.
    return know.with_tombstone(contact_id, Tombstone(why="deleted", at_ms=sent_ms))


# ── taking away ───────────────────────────────────────────────────────────────────────────────────────────


def put_back(know: Knowledge, operation: op.Archive, reply: op.Done | op.Gone, sent_ms: int) -> Knowledge:
    """Whom we had brought back is in the archive again, or gone."""
    know = replace(know, put_back=operation.contact_id).did(revived=None)
    return know.with_tombstone(operation.contact_id, Tombstone(why="archived", at_ms=sent_ms))


def deleted(know: Knowledge, operation: op.Delete, reply: op.Done, sent_ms: int) -> Knowledge:
    know = _names_noted(know, operation.contact_id).wrote(operation.contact_id)
    return know.with_tombstone(operation.contact_id, Tombstone(why="deleted", at_ms=sent_ms))


def gone_before(know: Knowledge, operation: op.Delete, reply: op.Gone, sent_ms: int) -> Knowledge:
    """A contact that was to be deleted is gone: deleted by somebody, or merged into a user who lives on."""
    contact = know.contacts.get(operation.contact_id)
    lost_ms = contact.lost_ms if contact else None
    know = _names_noted(know, operation.contact_id)
    if reply.merged_into is not None:
        return _survived(know, operation.contact_id, reply.merged_into, sent_ms)
    at_ms = sent_ms if lost_ms is None else lost_ms
    return know.with_tombstone(operation.contact_id, Tombstone(why="gone", at_ms=at_ms))


def _names_noted(know: Knowledge, contact_id: str) -> Knowledge:
    """The external ids and addresses by which the contact was known: an erasure forgets those, too."""
    contact = know.contacts.get(contact_id)
    if contact is None:
        return know
    if contact.email not in (None, know.email):
        know = know.did(left={**know.log.left, contact_id: contact.email})
    named = {name for name in (contact.external_id, contact.alias) if name is not None}
    return know.did(identities=know.log.identities | named)
