"""How each answer of Intercom changes what a turn knows.

Laws this room keeps
 * A search hit becomes a contact that is not confirmed: no field of it is believed (law 4).
 * 404 or 410 on a contact leaves a mark (`Knowledge.gone_ms`): until the settle window has passed, a search
   miss does not prove that nobody is there.
 * Every answer teaches: after `absorb` the planner never asks the same question for the same reason again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from onelane.email_address import InvalidAddress, normalise_email
from onelane_worker.planner import operations as op
from onelane_worker.planner.diff import acknowledged
from onelane_worker.planner.knowledge import Clash, Knowledge
from onelane_worker.planner.registry import Contact, Facts, Journal, Tombstone, flatten

CLOCK_SKEW_MS = 5_000
"""How far Intercom's `created_at` may lie before our own time of sending and still mean this create."""


def absorb(know: Knowledge, operation: op.Operation, reply: op.Reply, sent_ms: int) -> Knowledge:
    """Knowledge after `reply` to `operation`, which was sent at `sent_ms` (Redis clock).

    Replies that teach nothing about the person (throttled, refused, not sent …) leave it as it was.
    """
    return _concluded(_digested(know, operation, reply, sent_ms))


def _digested(know: Knowledge, operation: op.Operation, reply: op.Reply, sent_ms: int) -> Knowledge:
    match reply:
        case op.Found(facts=facts):
            return _found(know, operation, facts, sent_ms)
        case op.Listed():
            return _listed(know, reply)
        case op.Subscriptions(attached=attached) if isinstance(operation, op.ListSubscriptions):
            return know.with_attached(operation.contact_id, attached)
        case op.Types(by_id=by_id):
            return replace(know, types=by_id)
        case op.Done():
            return _done(know, operation, reply, sent_ms)
        case op.NoResource() if isinstance(operation, op.Detach):
            return _done(know, operation, op.Done(), sent_ms)
        case op.Gone():
            return _gone(know, operation, reply, sent_ms)
        case op.Conflict():
            return _clashed(know, operation, reply, sent_ms)
        case op.NotRestorable():
            return _not_restorable(know, operation, reply, sent_ms)
        case op.Refused() if isinstance(operation, op.Merge):
            return replace(know, unmergeable=know.unmergeable | {operation.lead_id})
        case op.Unknown() if isinstance(operation, op.Unarchive):
            own_word = reply.problem.code is not None
            return _perhaps_revived(know, operation.contact_id, sent_ms, counts=own_word)
    return know


# ── 200 with a contact ────────────────────────────────────────────────────────────────────────────────────


def _found(know: Knowledge, operation: op.Operation, facts: Facts, sent_ms: int) -> Knowledge:
    before = know.contacts.get(facts.id)
    source = "written" if op.is_write(operation) else "read"
    facts = replace(facts, as_of_ms=sent_ms, source=source)
    know = _answered_by_another(know, operation, facts.id, sent_ms)
    match operation:
        case op.FindByExternalId(external_id=asked):
            know = replace(know, asked=know.asked | {asked})
        case op.Create(body=body) | op.Update(body=body):
            facts = acknowledged(body, facts, before.facts if before else None)
            sent = know.sent.get(facts.id, frozenset()) | set(flatten(body))
            know = replace(know, sent={**know.sent, facts.id: sent}).wrote(facts.id)
    made_ms = before.made_ms if before else None
    match operation:
        case op.Create():
            made_ms = sent_ms
            know = replace(know, journal=None).did(created=facts.id).with_attached(facts.id, frozenset())
        case op.Update(body=body):
            know = _changed(know, before, facts)
            if before is not None and before.role == "lead" and _converts_without_id(body):
                before = replace(before, minted=before.minted or facts.external_id)
        case op.Merge(lead_id=lead, user_id=user):
            know = _merged(know, lead, user, sent_ms)
        case op.Read() | op.FindByExternalId():
            know, ours_ms = _judged(know, facts)
            made_ms = made_ms or ours_ms
    if facts.attached is not None:
        know = know.with_attached(facts.id, facts.attached)
    return know.with_contact(_known(know, before, facts, made_ms, sent_ms))


def _converts_without_id(body: Mapping[str, Any]) -> bool:
    """The contact keeps what Intercom minted for the lead. If others made it a user, its id is its own."""
    return body.get("role") == "user" and "external_id" not in body


def _known(
    know: Knowledge, before: Contact | None, facts: Facts, made_ms: int | None, sent_ms: int
) -> Contact:
    resolved = before is not None and before.confirmed and before.lost_ms is None
    alias = before.alias if before else None
    if facts.id == know.log.created:
        alias = alias or know.external_id
    minted = facts.external_id if facts.role == "lead" else before.minted if before else None
    return Contact(
        id=facts.id,
        role=facts.role,
        external_id=None if facts.external_id == minted else facts.external_id,
        minted=minted,
        email=_normalised(facts.email),
        alias=alias if facts.role == "lead" else None,
        created_at=facts.created_at,
        resolved_ms=before.resolved_ms if before and resolved else sent_ms,
        made_ms=made_ms,
        facts=facts,
    )


def _answered_by_another(know: Knowledge, operation: op.Operation, answered: str, sent_ms: int) -> Knowledge:
    """A contact answered under the id of one that it has swallowed."""
    asked = getattr(operation, "contact_id", answered)
    if asked == answered:
        return know
    know = replace(know, named=know.named | {answered})
    return know.with_tombstone(asked, Tombstone(why="merged", into=answered, at_ms=sent_ms))


def _changed(know: Knowledge, before: Contact | None, facts: Facts) -> Knowledge:
    if before is None:
        return know
    if before.role == "lead" and facts.role == "user":
        know = know.did(converted=facts.id)
    if before.email not in (None, know.email) and _normalised(facts.email) == know.email:
        know = know.did(left={**know.log.left, facts.id: before.email})
    return know


def _merged(know: Knowledge, lead: str, user: str, sent_ms: int) -> Knowledge:
    """The merge may have changed any field of the user: what was sent before proves nothing any more."""
    sent = {contact_id: paths for contact_id, paths in know.sent.items() if contact_id != user}
    know = replace(know, sent=sent).with_attached(user, None).wrote(user)
    know = know.did(merged=(*know.log.merged, lead))
    return know.with_tombstone(lead, Tombstone(why="merged", into=user, at_ms=sent_ms))


def _judged(know: Knowledge, facts: Facts) -> tuple[Knowledge, int | None]:
    """Does this contact tell what became of the unknown create (R71–R73)? If it is young enough, it is ours.
    The contact, and when we made it."""
    pending = know.journal or know.doubt
    if pending is None or not _answers(know, pending, facts):
        return know, None
    young = facts.created_at is not None and facts.created_at * 1000 >= pending.sent_ms - CLOCK_SKEW_MS
    identified = facts.role == "user" and facts.external_id is not None and pending.external_id is None
    ours = young and facts.role == pending.role and not identified  # who has an id was not made without one
    know = replace(know, journal=None, doubt=None)
    know = know.did(adopted=True, created=facts.id if ours else know.log.created)
    return know, pending.sent_ms if ours else None


def _answers(know: Knowledge, pending: Journal, facts: Facts) -> bool:
    if pending.guarded:
        return facts.external_id == pending.external_id
    return _normalised(facts.email) == know.email


def _concluded(know: Knowledge) -> Knowledge:
    """R72: nobody in a whole settle window after the create could last commit, so it never did."""
    pending = know.journal
    if pending is None or pending.guarded or know.search_ms is None:
        return know
    unread = any(not contact.confirmed and contact.email == know.email for contact in know.contacts.values())
    if unread or know.search_ms < pending.open_until_ms + know.settle_window_ms:
        return know
    return replace(know, journal=None)


# ── search hits ───────────────────────────────────────────────────────────────────────────────────────────


def _listed(know: Knowledge, reply: op.Listed) -> Knowledge:
    for hit in reply.candidates:
        know = _sighted(know, hit, reply.started_ms)
    return replace(know, search_ms=reply.started_ms, looked_ms=reply.started_ms)


def _sighted(know: Knowledge, hit: op.Candidate, started_ms: int) -> Knowledge:
    contact, stone = know.contacts.get(hit.id), know.tombstones.get(hit.id)
    if contact is not None and contact.lost_ms is None:
        if (
            contact.email is None
        ):  # an external id's pointer: its address is only seen now, so it is read first
            know = know.update_contact(hit.id, email=_normalised(hit.email), confirmed=False)
        return know.update_contact(hit.id, resolved_ms=started_ms)
    if stone is not None and stone.why in ("merged", "deleted"):
        return know
    gone_ms = contact.lost_ms if contact is not None else stone.at_ms if stone is not None else None
    if gone_ms is not None:
        if started_ms - gone_ms < know.settle_window_ms:
            return know
        # Shown for longer than the index can lag: it may have been brought back, so it is read again.
        know = know.with_tombstone(hit.id, Tombstone(why="gone", at_ms=gone_ms))
    return know.with_contact(
        Contact(
            id=hit.id,
            role=hit.role,
            external_id=hit.external_id if hit.role == "user" else None,
            email=_normalised(hit.email),
            created_at=hit.created_at,
            resolved_ms=started_ms,
            confirmed=False,
        )
    )


# ── 404 and 410 ───────────────────────────────────────────────────────────────────────────────────────────


def _perhaps_revived(know: Knowledge, contact_id: str, sent_ms: int, *, counts: bool) -> Knowledge:
    """It may live again, and the index shows it late: until that has passed, who it is must not be forgotten,
    and nobody seen is no proof. `counts`: it is Intercom that fails at it, and not the way there."""
    if counts:
        failures = know.unarchive_failures.get(contact_id, 0) + 1
        know = replace(know, unarchive_failures={**know.unarchive_failures, contact_id: failures})
    return know.update_contact(contact_id, lost_ms=sent_ms) if contact_id in know.contacts else know


def _gone(know: Knowledge, operation: op.Operation, reply: op.Gone, sent_ms: int) -> Knowledge:
    match operation:
        case op.FindByExternalId(external_id=asked):
            return _not_found(replace(know, asked=know.asked | {asked}), asked, sent_ms)
        case op.Merge(lead_id=lead, user_id=user):
            return _unmerged(know, lead, user)
        case op.Archive(contact_id=contact_id):  # it was to go, and is gone
            return _put_back(know, contact_id, sent_ms)
        case op.Delete(contact_id=contact_id):
            return _gone_before(know, contact_id, reply.merged_into, sent_ms)
        case (
            op.Read(contact_id=contact_id)
            | op.Update(contact_id=contact_id)
            | op.Unarchive(contact_id=contact_id)
            | op.ListSubscriptions(contact_id=contact_id)
            | op.Attach(contact_id=contact_id)
            | op.Detach(contact_id=contact_id)
        ):
            know = replace(know, gone_count=know.gone_count + 1)
            if reply.merged_into is not None:
                return _survived(know, contact_id, reply.merged_into, sent_ms)
            contact = know.contacts.get(contact_id)
            was_there = contact is not None and (contact.confirmed or contact.is_ours)
            if contact is None or not was_there or contact.lost_ms is not None:
                at_ms = contact.lost_ms if contact and contact.lost_ms is not None else sent_ms
                return know.with_tombstone(contact_id, Tombstone(why="gone", at_ms=at_ms))
            return know.update_contact(contact_id, lost_ms=sent_ms, facts=None, confirmed=True)
    return know


def _not_found(know: Knowledge, external_id: str, sent_ms: int) -> Knowledge:
    """No user of that external id. Late enough, this also ends the doubt about a create of it."""
    pending = know.journal
    if pending is None or not pending.guarded or pending.external_id != external_id:
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


def _unmerged(know: Knowledge, lead: str, user: str) -> Knowledge:
    """One of the two is gone, and nothing says which: believe neither, and leave it at that for now."""
    if lead in know.contacts:
        know = know.update_contact(lead, facts=None, confirmed=False)
    if user in know.contacts:
        know = know.update_contact(user, facts=None)
    return replace(know, unmergeable=know.unmergeable | {lead})


# ── 409 ───────────────────────────────────────────────────────────────────────────────────────────────────


def _clashed(know: Knowledge, operation: op.Operation, reply: op.Conflict, sent_ms: int) -> Knowledge:
    match operation:
        case op.Create() | op.Update():
            return _held(know, Clash(operation, reply.contact_id, reply.archived), sent_ms)
        case op.Unarchive(contact_id=contact_id):
            return _replaced(know, contact_id, reply, sent_ms)
        case op.Merge(lead_id=lead):
            return replace(know, unmergeable=know.unmergeable | {lead})
    return know


def _held(know: Knowledge, clash: Clash, sent_ms: int) -> Knowledge:
    know = replace(know, clash=clash, journal=None, doubt=know.journal or know.doubt)
    holder = clash.contact_id
    if holder is None:
        return replace(know, missed_ms=know.missed_ms or sent_ms)
    contact = know.contacts.get(holder)
    if clash.archived:
        return know if contact is None else know.update_contact(holder, lost_ms=sent_ms, facts=None)
    know = replace(know, named=know.named | {holder})
    if contact is not None and contact.confirmed and contact.lost_ms is None:
        return know
    # Only users clash. If no external id was sent, the address did it, and that settles who it is (R24).
    by_address = isinstance(clash.operation, op.Create) and "external_id" not in clash.operation.body
    stranger = Contact(id=holder, role="user", email=know.email, resolved_ms=sent_ms)
    return know.with_contact(replace(stranger, confirmed=by_address))


def _replaced(know: Knowledge, contact_id: str, reply: op.Conflict, sent_ms: int) -> Knowledge:
    """An archived contact cannot come back: a live one has taken its external id. (Unverified.)"""
    contact = know.contacts.get(contact_id)
    problem = op.Problem("refused", 409, "conflict", "another contact has taken its external id")
    know = replace(know, unrestorable={**know.unrestorable, contact_id: problem})
    know = know.with_tombstone(contact_id, Tombstone(why="gone", at_ms=sent_ms))
    rival = reply.contact_id
    if rival is None or rival in know.contacts:
        return know
    external_id = contact.external_id if contact else None
    return know.with_contact(
        Contact(id=rival, role="user", external_id=external_id, resolved_ms=sent_ms, confirmed=False)
    )


# ── bringing back ─────────────────────────────────────────────────────────────────────────────────────────


def _not_restorable(
    know: Knowledge, operation: op.Operation, reply: op.NotRestorable, sent_ms: int
) -> Knowledge:
    match operation:
        case op.Create() | op.Update():
            return replace(know, dead_end=reply.problem, journal=None)
        case op.Merge(lead_id=lead):
            return replace(know, unmergeable=know.unmergeable | {lead})
        case op.Unarchive(contact_id=contact_id):
            return _cannot_come_back(know, contact_id, reply, sent_ms)
    return know


def _cannot_come_back(know: Knowledge, contact_id: str, reply: op.NotRestorable, sent_ms: int) -> Knowledge:
    contact = know.contacts.get(contact_id)
    know = replace(know, unrestorable={**know.unrestorable, contact_id: reply.problem})
    if reply.why == "merged":  # so somebody lives on, whom the index shows a window after we lost sight
        lost_ms = contact.lost_ms if contact else None
        return know.with_tombstone(contact_id, Tombstone(why="gone", at_ms=lost_ms or sent_ms))
    if contact is None or contact.role == "user" or reply.why == "blocked":
        return replace(know, dead_end=reply.problem)
    # A deleted lead's address is free at once, and its 404 is explained. Evidence: recorded traffic 2021.
    return know.with_tombstone(contact_id, Tombstone(why="deleted", at_ms=sent_ms))


def _done(know: Knowledge, operation: op.Operation, reply: op.Done, sent_ms: int) -> Knowledge:
    match operation:
        case op.Unarchive(contact_id=contact_id):
            return _revived(know, contact_id, reply.external_id, sent_ms)
        case op.Archive(contact_id=contact_id):
            return _put_back(know, contact_id, sent_ms)
        case op.Delete(contact_id=contact_id):
            return _deleted(know, contact_id, sent_ms)
        case op.Attach(contact_id=contact_id, type_id=type_id):
            attached = know.attached.get(contact_id, frozenset()) | {type_id}
            return know.with_attached(contact_id, attached).wrote(contact_id)
        case op.Detach(contact_id=contact_id, type_id=type_id):
            attached = know.attached.get(contact_id, frozenset()) - {type_id}
            return know.with_attached(contact_id, attached).wrote(contact_id)
    return know


def _revived(know: Knowledge, contact_id: str, external_id: str | None, sent_ms: int) -> Knowledge:
    """The contact is back. A stranger, named by a 409, is a user; without an external id in the answer it is
    read before it is taken for one that has none."""
    contact = know.contacts.get(contact_id)
    if contact is None:
        contact = Contact(id=contact_id, role="user", resolved_ms=sent_ms, confirmed=external_id is not None)
    changes: dict[str, Any] = {"facts": None, "lost_ms": None, "resolved_ms": sent_ms}
    if contact.role == "user" and external_id != contact.minted:
        changes["external_id"] = external_id or contact.external_id
    failures = {k: count for k, count in know.unarchive_failures.items() if k != contact_id}
    know = replace(know, clash=None, named=know.named | {contact_id}, unarchive_failures=failures)
    return know.with_contact(replace(contact, **changes)).wrote(contact_id).did(revived=contact_id)


def _put_back(know: Knowledge, contact_id: str, sent_ms: int) -> Knowledge:
    know = replace(know, put_back=contact_id).did(revived=None)
    return know.with_tombstone(contact_id, Tombstone(why="archived", at_ms=sent_ms))


def _deleted(know: Knowledge, contact_id: str, sent_ms: int) -> Knowledge:
    know = _unnamed(know, contact_id)
    return know.wrote(contact_id).with_tombstone(contact_id, Tombstone(why="deleted", at_ms=sent_ms))


def _gone_before(know: Knowledge, contact_id: str, heir: str | None, sent_ms: int) -> Knowledge:
    """A contact that was to be deleted is gone: deleted by somebody, or merged into a user who lives on."""
    contact = know.contacts.get(contact_id)
    lost_ms = contact.lost_ms if contact is not None else None
    know = _unnamed(know, contact_id)
    if heir is not None:
        return _survived(know, contact_id, heir, sent_ms)
    return know.with_tombstone(
        contact_id, Tombstone(why="gone", at_ms=sent_ms if lost_ms is None else lost_ms)
    )


def _unnamed(know: Knowledge, contact_id: str) -> Knowledge:
    """By what names else the person was known here: those are to be forgotten, too."""
    contact = know.contacts.get(contact_id)
    if contact is not None and contact.email not in (None, know.email):
        know = know.did(left={**know.log.left, contact_id: contact.email})
    if contact is not None:
        named = {name for name in (contact.external_id, contact.alias) if name is not None}
        know = know.did(identities=know.log.identities | named)
    return know


def _normalised(email: str | None) -> str | None:
    if not email:
        return None
    try:
        return normalise_email(email)
    except InvalidAddress:
        return email.strip().lower()
