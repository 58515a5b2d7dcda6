"""What one contact should look like for a desired state, as request bodies (§3–§6 of the tables)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from onelane_worker.planner.diff import difference, is_empty
from onelane_worker.planner.fold import DesiredState
from onelane_worker.planner.knowledge import Knowledge
from onelane_worker.planner.match import Choice
from onelane_worker.planner.policy import Policy
from onelane_worker.planner.registry import (
    ALL_MAIL,
    ConsentMemory,
    ConsentWord,
    Contact,
    Facts,
    Role,
    unflatten,
)

FLAG = "unsubscribed_from_emails"


# ── a new contact ─────────────────────────────────────────────────────────────────────────────────────────


def create_body(desired: DesiredState, role: Role, memory: ConsentMemory) -> dict[str, Any]:
    """The body of `POST /contacts`.

    An external id is sent for users only: for a lead Intercom drops it silently. The consent flag is sent
    only to keep mail away: its default is "may be mailed". Evidence: recorded traffic 2021, published spec.
    """
    values = {**desired.insert_fields, **desired.fields}
    if desired.signed_up_at is not None:
        values.setdefault("signed_up_at", desired.signed_up_at)
    body: dict[str, Any] = {"role": role, "email": desired.email}
    if role == "user" and desired.external_id is not None:
        body["external_id"] = desired.external_id
    word = {**_remembered_opt_outs(desired, memory), **desired.words}.get(ALL_MAIL)
    if word is not None and not word.opted_in:
        body[FLAG] = True
    return body | unflatten({path: value for path, value in values.items() if value is not None})


# ── a contact that is there ───────────────────────────────────────────────────────────────────────────────


def converts(desired: DesiredState, target: Contact, choice: Choice) -> bool:
    """Is this lead to become a user: by its intent, or because another account has the address (R20)?"""
    if target.role != "lead":
        return False
    return desired.mode.becomes_user or (desired.mode.claims_identity and choice.other_account)


def identity_changes(
    desired: DesiredState, target: Contact, choice: Choice, policy: Policy
) -> dict[str, Any]:
    """Role, external id and address, as far as they have to change.

    An external id goes to a lead only together with the role: otherwise Intercom ignores it (recorded
    traffic 2021). An address that differs only in its spelling is left alone (R62).
    """
    changes: dict[str, Any] = {}
    claims = desired.mode.claims_identity
    if converts(desired, target, choice):
        changes["role"] = "user"
        if desired.external_id is not None:
            changes["external_id"] = desired.external_id
    elif claims and target.role == "user" and target.external_id != desired.external_id:
        if target.external_id is None or policy.other_external_id == "adopt":
            changes["external_id"] = desired.external_id
    if claims and target.email != desired.email:
        changes["email"] = desired.email
    return changes


def desired_fields(
    desired: DesiredState,
    know: Knowledge,
    target: Contact,
    choice: Choice,
    memory: ConsentMemory,
    policy: Policy,
) -> dict[str, Any]:
    """Field path → value that the contact should hold after the desired state; consent flag included."""
    fields = _named_fields(desired, target, choice) if target in choice.targets else {}
    if target.id == know.log.created:  # an unset field was left out of the create, and so is null (R41)
        fields = {path: value for path, value in fields.items() if value is not None or _shows(target, path)}
    word = due_words(desired, know, target, choice, memory).get(ALL_MAIL)
    if word is not None:
        fields[FLAG] = not word.opted_in
    return fields


def _named_fields(desired: DesiredState, target: Contact, choice: Choice) -> dict[str, Any]:
    fields = _permitted_fields(desired, target)
    if desired.signed_up_at is not None and _never_signed_up(desired, target, choice):
        fields.setdefault("signed_up_at", desired.signed_up_at)
    return fields


def _permitted_fields(desired: DesiredState, target: Contact) -> dict[str, Any]:
    """R23: a form may not be an authority on what a user's fields hold."""
    match desired.mode.form if target.role == "user" else None:
        case "keep":
            return {}
        case "fill":
            return {path: value for path, value in desired.fields.items() if is_empty(path, target.facts)}
    return dict(desired.fields)


def must_read(desired: DesiredState, target: Contact) -> bool:
    """R23: which fields are empty is not known, so nothing may be filled in yet."""
    return (
        desired.mode.form == "fill"
        and target.role == "user"
        and target.facts is None
        and bool(desired.fields)
    )


def _never_signed_up(desired: DesiredState, target: Contact, choice: Choice) -> bool:
    """R27: on a conversion always, on a user only if the time is known to be missing."""
    if converts(desired, target, choice):
        return True
    return target.facts is not None and target.facts.fields.get("signed_up_at", "unknown") is None


def _shows(target: Contact, path: str) -> bool:
    return target.facts is not None and path in target.facts.fields


def needed(desired: Mapping[str, Any], facts: Facts | None, accepted_ms: int) -> dict[str, Any]:
    """What has to be sent. A consent fact older than the intent proves nothing: people click unsubscribe
    links behind our back (R51)."""
    changes = difference(desired, facts)
    if FLAG in desired and (facts is None or facts.as_of_ms < accepted_ms):
        changes[FLAG] = desired[FLAG]
    return changes


# ── consent ───────────────────────────────────────────────────────────────────────────────────────────────


def due_words(
    desired: DesiredState, know: Knowledge, target: Contact, choice: Choice, memory: ConsentMemory
) -> dict[str, ConsentWord]:
    """Consent to carry out on this contact: the desired state's own words, and an opt-out remembered from
    before, when the contact is new, back, or converted, or was not visible when the person decided (R56)."""
    log = know.log
    fresh = target.id in (log.created, log.revived, log.converted) or converts(desired, target, choice)
    old = {c: w for c, w in _remembered_opt_outs(desired, memory).items() if fresh or w.pending}
    return old | dict(desired.words) if target in choice.targets else old


def pending_opt_outs(desired: DesiredState, memory: ConsentMemory) -> bool:
    """An opt-out was not carried out on any contact yet: it is meant for all of the address (R53)."""
    return any(word.pending for word in _remembered_opt_outs(desired, memory).values())


def _remembered_opt_outs(desired: DesiredState, memory: ConsentMemory) -> dict[str, ConsentWord]:
    return {c: w for c, w in memory.consent.items() if not w.opted_in and c not in desired.words}
