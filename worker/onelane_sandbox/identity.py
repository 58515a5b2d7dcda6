"""Uniqueness: who stands in the way of a new user, and of a user taking over another identifier.

    new                existing                                result
    user, ext X        live user with ext X                    409 A contact …
    user, ext X        archived or deleted user with ext X     409 An archived contact …
    user, address E    live user with E                        409 A contact …, by switch email_conflict
    user, address E    archived or deleted user with E         409 An archived contact …, by the same switch
    user, address E    a contact with E that was merged away   409 An archived contact …, by the same switch
    user, address E    lead with E, in whatever state          allowed: leads are exempt
    lead               anything                                allowed: leads are exempt
    user               blocked user                            not_restorable, status by switch blocked_create

Evidence: recorded traffic (archived, deleted, leads); third-party issues (live, merged away); contradictory
for addresses of users with different external ids. A deleted user stands in the way only for delete_lock_s,
a deleted lead not at all. The message carries the id of the holder: the only pointer a client gets.
"""

from __future__ import annotations

from collections.abc import Iterable

from onelane_sandbox.contact import Contact
from onelane_sandbox.messages import ApiError
from onelane_sandbox.workspace import Workspace

_STATES = ("live", "archived", "deleted", "merged")  # which holder a conflict names first


def check_create(space: Workspace, external_id: str | None, email: str | None, now: float) -> None:
    """Raise ApiError if a user with these identifiers may not be created."""
    by_external_id = _holders(space, space.contacts.with_external_id(external_id), now)
    rule = space.switches["email_conflict"]
    by_email = [
        one
        for one in _holders(space, space.contacts.with_email(email), now)
        if _email_conflicts(rule, external_id, one)
    ]
    holder = _foremost(by_external_id) or _foremost(by_email)
    if holder is None:
        return
    if holder.blocked:
        message = "This user was blocked and cannot be recreated"
        raise space.error_by_switch("blocked_create", "not_restorable", message)
    raise conflict(holder)


def check_update(
    space: Workspace, contact: Contact, external_id: str | None, email: str | None, now: float
) -> None:
    """Raise ApiError if the user `contact` may not take over these identifiers (None: not taken over).

    A live user's external id is never given away. The rest is the switch put_email_conflict: recorded traffic
    let an update take another live user's address and an archived user's external id; the documentation says
    409.
    """
    by_external_id = _others(contact, _holders(space, space.contacts.with_external_id(external_id), now))
    by_email = _others(contact, _holders(space, space.contacts.with_email(email), now))
    if space.switches["put_email_conflict"] == "allow":
        by_external_id = [one for one in by_external_id if one.is_live]
        by_email = []
    holder = _foremost(by_external_id) or _foremost(by_email)
    if holder is not None:
        raise conflict(holder)


def check_unarchive(space: Workspace, contact: Contact, now: float) -> None:
    """Raise ApiError if a live user has taken the external id meanwhile. Unverified: ids stay unique."""
    if contact.role == "user":
        rivals = _others(contact, _holders(space, space.contacts.with_external_id(contact.external_id), now))
        rival = next((one for one in rivals if one.is_live), None)
        if rival is not None:
            raise conflict(rival)


def conflict(holder: Contact) -> ApiError:
    """The 409 that names the holder. Evidence: recorded traffic (both texts)."""
    kind = "A" if holder.is_live else "An archived"
    message = f"{kind} contact matching those details already exists with id={holder.id}"
    return ApiError(409, "conflict", message)


def _holders(space: Workspace, candidates: Iterable[Contact], now: float) -> list[Contact]:
    return [one for one in candidates if _holds(space, one, now)]


def _holds(space: Workspace, contact: Contact, now: float) -> bool:
    if contact.state == "merged":
        heir = space.contacts.get(contact.merged_into or "")
        return heir is None or not space.lock_is_over(heir, now)
    return contact.role == "user" and not space.lock_is_over(contact, now)


def _others(contact: Contact, holders: Iterable[Contact]) -> list[Contact]:
    # What was merged into this very contact is part of it, not a rival.
    return [one for one in holders if one.id != contact.id and one.merged_into != contact.id]


def _foremost(holders: list[Contact]) -> Contact | None:
    return min(holders, key=lambda one: (_STATES.index(one.state), one.number), default=None)


def _email_conflicts(rule: str, external_id: str | None, holder: Contact) -> bool:
    # A lead's minted external id is not an identity: only a user's counts.
    holder_has_own = holder.role == "user" and holder.external_id is not None
    if rule == "external_id_wins":
        return external_id is None or not holder_has_own
    if rule == "loose":
        return external_id is None and not holder_has_own
    return True
