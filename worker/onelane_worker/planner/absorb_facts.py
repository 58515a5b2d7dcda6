"""Answers that show a contact: 200 with its body, search hits, its choices on subscription types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from msgspec.structs import replace

from onelane.email_address import InvalidAddress, normalise_email
from onelane_worker.planner import operations as op
from onelane_worker.planner.diff import acknowledged
from onelane_worker.planner.knowledge import Knowledge
from onelane_worker.planner.registry import Contact, Facts, Journal, Tombstone, flatten

CLOCK_SKEW_MS = 5_000
"""How far Intercom's `created_at` may lie before our own time of sending and still mean this create."""


# ── writes ────────────────────────────────────────────────────────────────────────────────────────────────


def created(know: Knowledge, operation: op.Create, reply: op.Found, sent_ms: int) -> Knowledge:
    facts, before = reply.facts, know.contacts.get(reply.facts.id)
    know = replace(know, journal=None, log=replace(know.log, created=facts.id))
    know = know.with_attached(facts.id, frozenset())
    know, facts = _acknowledged(know, operation.body, facts, before)
    return _shown(know, before, facts, sent_ms, source="written", made_ms=sent_ms)


def updated(know: Knowledge, operation: op.Update, reply: op.Found, sent_ms: int) -> Knowledge:
    facts, before = reply.facts, know.contacts.get(reply.facts.id)
    know = _answered_by_another(know, operation.contact_id, facts.id, sent_ms)
    know, facts = _acknowledged(know, operation.body, facts, before)
    if before is not None:
        know = _changed(know, before, facts)
        if before.role == "lead" and _converts_without_id(operation.body):
            before = replace(before, minted=before.minted or facts.external_id)
    return _shown(know, before, facts, sent_ms, source="written", made_ms=_made_ms(before))


def merged(know: Knowledge, operation: op.Merge, reply: op.Found, sent_ms: int) -> Knowledge:
    """The merge may have changed any field of the user: what was sent before proves nothing any more."""
    lead, user, before = operation.lead_id, operation.user_id, know.contacts.get(reply.facts.id)
    sent = {contact_id: paths for contact_id, paths in know.sent.items() if contact_id != user}
    know = replace(know, sent=sent).with_attached(user, None).wrote(user)
    know = know.did(merged=(*know.log.merged, lead))
    know = know.with_tombstone(lead, Tombstone(why="merged", into=user, at_ms=sent_ms))
    return _shown(know, before, reply.facts, sent_ms, source="written", made_ms=_made_ms(before))


def _acknowledged(
    know: Knowledge, body: Mapping[str, Any], facts: Facts, before: Contact | None
) -> tuple[Knowledge, Facts]:
    sent = know.sent.get(facts.id, frozenset()).union(flatten(body))
    know = replace(know, sent={**know.sent, facts.id: sent}).wrote(facts.id)
    return know, acknowledged(body, facts, before.facts if before else None)


def _changed(know: Knowledge, before: Contact, facts: Facts) -> Knowledge:
    if before.role == "lead" and facts.role == "user":
        know = know.did(converted=facts.id)
    if before.email not in (None, know.email) and _normalised(facts.email) == know.email:
        know = know.did(left={**know.log.left, facts.id: before.email})
    return know


def _converts_without_id(body: Mapping[str, Any]) -> bool:
    """The contact keeps what Intercom minted for the lead. If others made it a user, its id is its own."""
    return body.get("role") == "user" and "external_id" not in body


# ── reads ─────────────────────────────────────────────────────────────────────────────────────────────────


def read(know: Knowledge, operation: op.Read, reply: op.Found, sent_ms: int) -> Knowledge:
    before = know.contacts.get(reply.facts.id)
    know = _answered_by_another(know, operation.contact_id, reply.facts.id, sent_ms)
    know, ours_ms = _adopted(know, reply.facts)
    made_ms = _made_ms(before) or ours_ms
    return _shown(know, before, reply.facts, sent_ms, source="read", made_ms=made_ms)


def found(know: Knowledge, operation: op.FindByExternalId, reply: op.Found, sent_ms: int) -> Knowledge:
    know = replace(know, asked=know.asked | {operation.external_id})
    know, ours_ms = _adopted(know, reply.facts)
    before = know.contacts.get(reply.facts.id)
    made_ms = _made_ms(before) or ours_ms
    return _shown(know, before, reply.facts, sent_ms, source="read", made_ms=made_ms)


def _adopted(know: Knowledge, facts: Facts) -> tuple[Knowledge, int | None]:
    """Does this contact tell what became of the unknown create (R71–R73)? If it is young enough, it is ours.
    Returns what is known then, and when we made the contact."""
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


# ── the contact that was shown ────────────────────────────────────────────────────────────────────────────


def _shown(
    know: Knowledge,
    before: Contact | None,
    facts: Facts,
    sent_ms: int,
    *,
    source: Literal["written", "read"],
    made_ms: int | None,
) -> Knowledge:
    """The contact as Intercom has just stated it. `before`: as it was known until now. `made_ms`: when we
    made it, if we did."""
    if facts.attached is not None:
        know = know.with_attached(facts.id, facts.attached)
    resolved = before is not None and before.confirmed and before.lost_ms is None
    alias = before.alias if before else None
    if facts.id == know.log.created:
        alias = alias or know.external_id
    minted = facts.external_id if facts.role == "lead" else before.minted if before else None
    contact = Contact(
        id=facts.id,
        role=facts.role,
        external_id=None if facts.external_id == minted else facts.external_id,
        minted=minted,
        email=_normalised(facts.email),
        alias=alias if facts.role == "lead" else None,
        created_at=facts.created_at,
        resolved_ms=before.resolved_ms if before and resolved else sent_ms,
        made_ms=made_ms,
        facts=replace(facts, as_of_ms=sent_ms, source=source),
    )
    return know.with_contact(contact)


def _made_ms(before: Contact | None) -> int | None:
    return before.made_ms if before else None


def _answered_by_another(know: Knowledge, asked: str, answered: str, sent_ms: int) -> Knowledge:
    """A contact answered under the id of one that it has swallowed."""
    if asked == answered:
        return know
    know = replace(know, named=know.named | {answered})
    return know.with_tombstone(asked, Tombstone(why="merged", into=answered, at_ms=sent_ms))


def _normalised(email: str | None) -> str | None:
    if not email:
        return None
    try:
        return normalise_email(email)
    except InvalidAddress:
        return email.strip().lower()


# ── search hits ───────────────────────────────────────────────────────────────────────────────────────────


def searched(know: Knowledge, operation: op.Search, reply: op.Listed, sent_ms: int) -> Knowledge:
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


# ── subscription types ────────────────────────────────────────────────────────────────────────────────────


def subscriptions(
    know: Knowledge, operation: op.ListSubscriptions, reply: op.Subscriptions, sent_ms: int
) -> Knowledge:
    return know.with_attached(operation.contact_id, reply.attached)


def types(know: Knowledge, operation: op.ListTypes, reply: op.Types, sent_ms: int) -> Knowledge:
    return replace(know, types=reply.by_id)


def attached(know: Knowledge, operation: op.Attach, reply: op.Done, sent_ms: int) -> Knowledge:
    contact_id = operation.contact_id
    choices = know.attached.get(contact_id, frozenset()) | {operation.type_id}
    return know.with_attached(contact_id, choices).wrote(contact_id)


def detached(
    know: Knowledge, operation: op.Detach, reply: op.Done | op.NoResource, sent_ms: int
) -> Knowledge:
    """A type that does not exist is not attached, either."""
    contact_id = operation.contact_id
    choices = know.attached.get(contact_id, frozenset()) - {operation.type_id}
    return know.with_attached(contact_id, choices).wrote(contact_id)
