"""Reading by id, and the ends of a contact's life: archive, delete, block, merge, and the way back."""

from __future__ import annotations

from typing import Any

from onelane_sandbox import identity
from onelane_sandbox.contact import Contact, contact_reference
from onelane_sandbox.messages import ApiError, JsonObject, missing, user_not_found
from onelane_sandbox.versions import MERGE_NEEDS_DUPLICATES, MERGED_IS_GONE
from onelane_sandbox.workspace import Call, Workspace

_MAX_HOPS = 3


def read_contact(space: Workspace, call: Call) -> JsonObject:
    """GET /contacts/{id}. Evidence: fresh in 62 of 62 recorded reads, so it reads the primary store."""
    return space.show(_readable(space, space.contacts.get(call.params[0]), call), call.version)


def find_by_external_id(space: Workspace, call: Call) -> JsonObject:
    """GET /contacts/find_by_external_id/{external_id}: users only (published spec).

    Its consistency is unverified: switch find_by_external_id.
    """
    if space.switches["find_by_external_id"] == "lagging":
        space.index.advance(call.now)
        candidates = space.index.with_external_id(call.params[0])
    else:
        candidates = space.contacts.with_external_id(call.params[0])
    found = next((one for one in candidates if one.is_live and one.role == "user"), None)
    merged = next((one for one in candidates if one.state == "merged"), None)
    return space.show(_readable(space, found or merged, call), call.version)


def archive_contact(space: Workspace, call: Call) -> JsonObject:
    """POST /contacts/{id}/archive: 200 also the second time. Evidence: recorded traffic."""
    contact = _existing(space, call, "live", "archived")
    if contact.is_live:
        space.change(contact, call.now, state="archived")
    return contact_reference(contact, archived=True)


def unarchive_contact(space: Workspace, call: Call) -> JsonObject:
    """POST /contacts/{id}/unarchive: everything is back under the same id.

    Deleted and merged contacts are not restorable (recorded traffic; third-party forum). For a blocked one
    the code is documented, that it meets unarchive is assumed.
    """
    contact = _existing(space, call, "live", "archived", "deleted", "merged")
    if contact.state == "merged":
        raise ApiError(400, "bad_request", "User has been merged and is not restorable.")
    if contact.state == "deleted":
        raise _not_restorable(space, contact, call.now)
    if contact.blocked:
        raise ApiError(400, "not_restorable", "This user was blocked and cannot be recreated")
    if not contact.is_live:
        identity.check_unarchive(space, contact, call.now)
        space.change(contact, call.now, state="live")
    return contact_reference(contact, archived=False)


def delete_contact(space: Workspace, call: Call) -> JsonObject:
    """DELETE /contacts/{id}: for good; a user's identifiers stay locked for a while (recorded traffic)."""
    contact = _existing(space, call, "live", "archived")
    space.change(contact, call.now, state="deleted", deleted_at=call.now)
    return contact_reference(contact, deleted=True)


def block_contact(space: Workspace, call: Call) -> JsonObject:
    """POST /contacts/{id}/block: the contact goes out of sight as if archived, and cannot come back.

    Documented is the code not_restorable for creating it again; that reads answer 404 is assumed.
    """
    contact = _existing(space, call, "live", "archived")
    space.change(contact, call.now, state="archived", blocked=True)
    return contact_reference(contact, blocked=True)


def merge_contacts(space: Workspace, call: Call) -> JsonObject:
    """POST /contacts/merge: a lead into a user, nothing else (published spec). Answers with the user.

    Which value wins is unverified: here the user's own do, the lead's fill the gaps, an opt-out of either
    stays.
    """
    for name in ("from", "into"):
        if not isinstance(call.body.get(name), str):
            raise missing(name)
    source, target = space.live(call.body["from"]), space.live(call.body["into"])
    if (source.role, target.role) != ("lead", "user"):
        message = "Only a lead can be merged, and only into a user"
        raise space.error_by_switch("merge_role_error", "invalid_merge", message)
    if call.version >= MERGE_NEEDS_DUPLICATES and call.body.get("skip_duplicate_validation") is not True:
        _require_duplicates(source, target)
    merged = space.change(target, call.now, **_united(source, target))
    space.change(source, call.now, state="merged", merged_into=target.id)
    return space.show(merged, call.version)


def _united(source: Contact, target: Contact) -> dict[str, Any]:
    gaps = ("email", "phone", "name", "avatar_url", "owner_id", "signed_up_at", "last_seen_at")
    changes = {gap: getattr(source, gap) for gap in gaps if getattr(target, gap) is None}
    own_attributes = {key: value for key, value in target.custom_attributes.items() if value is not None}
    return changes | {
        "custom_attributes": {**target.custom_attributes, **source.custom_attributes, **own_attributes},
        "tags": {**source.tags, **target.tags},
        "subscriptions": {**source.subscriptions, **target.subscriptions},
        "unsubscribed_from_emails": source.unsubscribed_from_emails or target.unsubscribed_from_emails,
    }


def _require_duplicates(source: Contact, target: Contact) -> None:
    same_email = bool(source.email) and (source.email or "").lower() == (target.email or "").lower()
    if not same_email and not (source.phone and source.phone == target.phone):
        message = "The contacts share neither an email nor a phone number"
        raise ApiError(400, "invalid_merge", message)


def _readable(space: Workspace, contact: Contact | None, call: Call) -> Contact:
    """`contact` if it is live, else 404; a merged one points to its heir from 2.16 on (published spec)."""
    if contact is None or not (contact.is_live or contact.state == "merged"):
        raise user_not_found()
    if contact.is_live:
        return contact
    if call.version < MERGED_IS_GONE:
        raise user_not_found()
    heir = contact
    for _ in range(_MAX_HOPS):
        heir = space.contacts.get(heir.merged_into or "") or heir
    link = {"Link": f'</contacts/{heir.id}>; rel="canonical"'}
    raise ApiError(410, "contact_merged", "This contact has been merged into another one", headers=link)


def _existing(space: Workspace, call: Call, *states: str) -> Contact:
    contact = space.contacts.get(call.params[0])
    if contact is None or contact.state not in states:
        raise user_not_found()
    return contact


def _not_restorable(space: Workspace, contact: Contact, now: float) -> ApiError:
    if space.lock_is_over(contact, now):
        return user_not_found()
    if space.switches["deleted_unarchive"] == "500":
        return ApiError(500, "server_error", "Server Error")
    message = "User has been marked for permanent deletion and is not restorable."
    return ApiError(400, "bad_request", message)
