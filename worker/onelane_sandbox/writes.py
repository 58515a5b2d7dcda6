"""Create and update.

Leads are the reason this project exists: they are exempt from every uniqueness rule, and their external id
is a UUIDv4 that Intercom mints; one that is sent is dropped without a word, on create and on update alike,
unless the same update makes the lead a user. Evidence: recorded traffic.
"""

from __future__ import annotations

from typing import Any

from onelane_sandbox import identity
from onelane_sandbox.contact import Contact
from onelane_sandbox.messages import ApiError, JsonObject, missing
from onelane_sandbox.profile import read_external_id, read_fields, read_role
from onelane_sandbox.workspace import Call, Workspace


def create_contact(space: Workspace, call: Call) -> JsonObject:
    """POST /contacts: a strict create. 409 names the holder; a lead never conflicts.

    Needs one of email, external_id and role; a user needs email or external_id (official documentation). The
    code of that refusal is unverified.
    """
    if not any(call.body.get(name) for name in ("email", "external_id", "role")):
        raise missing("email, external_id or role")
    role = read_role(call.body, "user")
    fields = read_fields(space, call.body, {}, call.version)
    external_id = read_external_id(call.body)
    if role == "lead":
        external_id = space.dice.lead_external_id()
    else:
        if external_id is None and not fields.get("email"):
            raise missing("email or external_id")
        identity.check_create(space, external_id, fields.get("email"), call.now)
    return space.show(space.create(call.now, role, external_id, fields), call.version)


def update_contact(space: Workspace, call: Call) -> JsonObject:
    """PUT /contacts/{id}: partial; custom attributes merge by key; a lead becoming a user keeps its id."""
    contact = space.live(call.params[0])
    role = read_role(call.body, contact.role)
    if contact.role == "user" and role == "lead":
        raise ApiError(400, "client_error", "Contact with user role can't be converted to a lead")
    changes = read_fields(space, call.body, contact.custom_attributes, call.version)
    changes["role"] = role
    if role == "user":
        external_id = read_external_id(call.body)
        if external_id is not None:
            changes["external_id"] = external_id
        _check_takeover(space, contact, changes, call.now)
    shown = space.show(space.change(contact, call.now, **changes), call.version)
    if "email" in call.body and shown["email"] is None:
        shown["email"] = ""  # this answer only; search shows null. Evidence: recorded traffic
    return shown


def _check_takeover(space: Workspace, contact: Contact, changes: dict[str, Any], now: float) -> None:
    """Only identifiers that are new to a user can collide; for a lead becoming one, both are new."""
    converted = contact.role == "lead"
    external_id = changes.get("external_id")
    if external_id == contact.external_id and not converted:
        external_id = None
    email = changes.get("email", contact.email if converted else None)
    if not converted and (email or "").lower() == (contact.email or "").lower():
        email = None
    identity.check_update(space, contact, external_id, email, now)
