"""One live contact per person.

A person is an address, and at one address every external id that an accepted intent names (another external
id is another account). So at one address may live: one user for each external id that was named, or one
contact. A lead beside a user, two leads, or two users with one external id are duplicates.
"""

from __future__ import annotations

from .evidence import Address, Evidence
from .history import Json
from .report import DUPLICATE, FIELD, MISSING, Report
from .wishes import makes_user


def check_persons(evidence: Evidence, report: Report) -> None:
    """Duplicates, people who should exist and do not, and users that are still leads."""
    for address in evidence.addresses.values():
        ours = [one for one in address.live if one["id"] not in evidence.declared.foreign_contacts]
        _duplicates(evidence, report, address, ours)
        if not address.entangled:
            _missing(evidence, report, address)
            _role(evidence, report, address)


def _duplicates(evidence: Evidence, report: Report, address: Address, ours: list[Json]) -> None:
    named = {one.external_id for one in address.intents if one.external_id is not None}
    accounts: dict[str | None, list[Json]] = {}
    for contact in ours:
        its = contact.get("external_id") if contact["role"] == "user" else None
        accounts.setdefault(its if its in named else None, []).append(contact)
    anonymous = len(accounts.pop(None, []))
    too_many = anonymous > 1 or (anonymous and accounts) or any(len(same) > 1 for same in accounts.values())
    if too_many:
        text = f"{len(ours)} live contacts for {max(1, len(named))} person(s)"
        report.found(DUPLICATE, address.name, text, *[_told(evidence, one) for one in ours])


def _told(evidence: Evidence, contact: Json) -> str:
    made = evidence.atlas.created_by.get(contact["id"])
    return (
        f"{contact['role']} {contact['id']} ext={contact['external_id']} made by {made or 'an unknown hand'}"
    )


def _missing(evidence: Evidence, report: Report, address: Address) -> None:
    applied = evidence.surely_applied(address)
    if applied and not address.live:
        report.found(MISSING, address.name, f"{len(applied)} intents were applied, to nobody", applied[-1])


def _role(evidence: Evidence, report: Report, address: Address) -> None:
    """Whoever became a user is one, under the external id that was named last."""
    named = {one.external_id for one in address.intents if one.external_id is not None}
    promoted = [one for one in evidence.surely_applied(address) if makes_user(one)]
    if not promoted or len(named) != 1 or len(address.live) != 1:
        return
    [contact], last = address.live, promoted[-1]
    if contact["role"] != "user" or contact["external_id"] not in named:
        text = f"should be the user {last.external_id}"
        shown = f"{contact['role']} {contact['id']} ext={contact['external_id']}"
        report.found(FIELD, address.name, text, last, shown)
