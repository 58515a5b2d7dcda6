"""A result fits what was asked, and what is.

Who may be skipped, and why:

| kind               | reasons                                                                        |
|--------------------|--------------------------------------------------------------------------------|
| newsletter_opt_out | not_found, archived                                                            |
| contact_sync       | archived; not_found only without `create`                                      |
| contact_upsert     | update_only: not_found, archived · create_only: exists, archived · else never  |
| email_change       | not_found, archived                                                            |
| all others         | never: they make whom they do not find, and bring back whom others archived    |

So under the default REVIVE. What a result says of a contact is held against the true state only where that
proves the opposite: a contact of ours that nobody else has touched, and that never moved or was archived.
"""

from __future__ import annotations

from . import wishes
from .atlas import named_ids
from .evidence import Address, Evidence, is_live
from .history import Accepted, Json, normal
from .report import OUTCOME, Report

_NOBODY = frozenset({"not_found", "archived"})
_ARCHIVED = frozenset({"archived"})
_TAKEN = frozenset({"exists", "archived"})
_NEVER: frozenset[str] = frozenset()
_UPSERTS = {"update_only": _NOBODY, "create_only": _TAKEN}


def check_results(evidence: Evidence, report: Report) -> None:
    """Look at every outcome by itself."""
    for address in evidence.addresses.values():
        for one in address.intents:
            _of_its_kind(report, one)
            if one.result == "skipped":
                _skipped(evidence, report, address, one)
            elif one.result == "erased":
                _erased(evidence, report, address, one)
            elif one.kind == "email_change" and one.result in wishes.APPLIED:
                _moved(evidence, report, one)


def _of_its_kind(report: Report, one: Accepted) -> None:
    """Only an erasure erases, and it does nothing else. (A scrubbed dead letter is `rejected`.)"""
    erases = one.kind == "contact_erasure"
    if one.result is not None and one.result != "rejected" and erases != (one.result == "erased"):
        report.found(OUTCOME, one.address, f"{one}: no result of its kind", one.outcome)


# --- skipped ---


def _skipped(evidence: Evidence, report: Report, address: Address, one: Accepted) -> None:
    reason = (one.outcome or {}).get("reason")
    if reason not in _reasons(one):
        report.found(OUTCOME, one.address, f"{one}: may not be skipped for {reason}", one.outcome)
    elif reason == "not_found":
        _nobody(evidence, report, address, one, f"{one}: skipped not_found, but somebody was there")
    elif one.rank >= address.ended_by_erasure and not _names_who(evidence, one, reason):
        report.found(OUTCOME, one.address, f"{one}: skipped {reason}, but who is that?", one.outcome)


def _reasons(one: Accepted) -> frozenset[str]:
    match one.kind:
        case "newsletter_opt_out" | "email_change":
            return _NOBODY
        case "contact_sync":
            return _ARCHIVED if one.intent.get("create", True) else _NOBODY
        case "contact_upsert":
            return _UPSERTS.get(one.intent.get("create", ""), _NEVER)
    return _NEVER


def _names_who(evidence: Evidence, one: Accepted, reason: str) -> bool:
    """`exists` and `archived` name a contact; one that lives must have been away for a time."""
    contact_id = (one.outcome or {}).get("contact_id")
    contact = next((each for each in evidence.contacts if each["id"] == contact_id), None)
    if contact is None:
        return False
    return reason == "exists" or not is_live(contact) or _was_away(evidence, contact)


# --- erased ---


def _erased(evidence: Evidence, report: Report, address: Address, one: Accepted) -> None:
    if one.kind == "contact_erasure":
        _nobody(evidence, report, address, one, f"{one}: says erased, but somebody lives")


def _nobody(evidence: Evidence, report: Report, address: Address, one: Accepted, text: str) -> None:
    """No contact that must have been met may live."""
    for contact in address.live:
        if _is_the_person(one, contact) and _was_there(evidence, address, one, contact):
            made = evidence.atlas.created_by[contact["id"]]
            excuse = evidence.excuse(made)
            if excuse is None:
                report.found(OUTCOME, one.address, text, f"{contact['role']} {contact['id']}", made)
            else:
                report.set_apart(excuse, OUTCOME, one.address, text, made)


def _is_the_person(one: Accepted, contact: Json) -> bool:
    """Another external id is another account, which stays as it is."""
    if one.external_id is None or one.intent.get("everyone"):
        return True
    return contact["role"] == "lead" or contact["external_id"] in (None, one.external_id)


def _was_there(evidence: Evidence, address: Address, one: Accepted, contact: Json) -> bool:
    """Made before it was accepted, or by an earlier intent of the address; and always of this address, always
    alive, and left alone by all others."""
    contact_id, made = contact["id"], evidence.atlas.created_by.get(contact["id"])
    if made is None or evidence.is_foreign(made) or contact_id in evidence.declared.foreign_contacts:
        return False
    if evidence.atlas.places(contact_id) != {address.name} or _was_away(evidence, contact):
        return False
    if any(evidence.is_foreign(each) and contact_id in named_ids(each) for each in address.effective):
        return False
    earlier = (each for each in address.intents if each.rank < one.rank and each.result in wishes.APPLIED)
    told = any((each.outcome or {}).get("contact_id") == contact_id for each in earlier)
    return told or made.end <= one.at


def _was_away(evidence: Evidence, contact: Json) -> bool:
    """Did anybody archive it, or bring it back?"""
    return any(
        contact["id"] in named_ids(one) and one.words[-1] in ("archive", "unarchive")
        for one in evidence.requests
        if one.committed
    )


# --- moved ---


def _moved(evidence: Evidence, report: Report, one: Accepted) -> None:
    """Whom it names has the new address, or had it until somebody else moved it on."""
    contact_id, wanted = (one.outcome or {}).get("contact_id"), normal(one.intent["new_email"])
    contact = next((each for each in evidence.contacts if each["id"] == contact_id), None)
    if contact is None:
        return  # told by the rule on endings
    now = normal(contact["email"]) if contact.get("email") else None
    if wanted != now and wanted not in evidence.atlas.places(contact["id"]):
        report.found(OUTCOME, one.address, f"{one}: {contact_id} never was at {wanted}", one.outcome)
