"""Every accepted intent ended, with an outcome that fits; dead letters only where they were expected."""

from __future__ import annotations

from . import wishes
from .evidence import Address, Evidence
from .history import Accepted
from .report import DEAD_LETTER, LOST, OUTCOME, Report


def check_endings(evidence: Evidence, report: Report) -> None:
    """Lost intents, dead letters, and outcomes that contradict the history."""
    known_contacts = {contact["id"] for contact in evidence.contacts}
    for address in evidence.addresses.values():
        for one in address.intents:
            if one.outcome is None:
                _lost(evidence, report, one)
                continue
            _dead_letter(evidence, report, one)
            _well_formed(report, address, one, known_contacts)
            if one.result == "superseded":
                _superseded(evidence, report, address, one)


def _lost(evidence: Evidence, report: Report, one: Accepted) -> None:
    if evidence.rolled_back(one):
        report.set_apart("rollback of Redis", LOST, one.address, f"{one} never ended")
    else:
        report.found(LOST, one.address, f"{one} never ended")


def _dead_letter(evidence: Evidence, report: Report, one: Accepted) -> None:
    dead, expected = one.result == "rejected", one.id in evidence.declared.poison
    if dead and not expected:
        report.found(DEAD_LETTER, one.address, f"{one} was rejected", one.outcome)
    if expected and not dead:
        report.found(DEAD_LETTER, one.address, f"{one} should have been rejected", one.outcome)


def _well_formed(report: Report, address: Address, one: Accepted, known_contacts: set[str]) -> None:
    outcome = one.outcome or {}
    if one.result not in wishes.RESULTS:
        report.found(OUTCOME, one.address, f"{one}: no such result", outcome)
    contact_id = outcome.get("contact_id")
    if contact_id is not None and contact_id not in known_contacts:
        report.found(OUTCOME, one.address, f"{one}: its contact does not exist", outcome)
    forgotten = one.rank < address.ended_by_erasure  # whom it was about is not kept
    if one.result in wishes.APPLIED and contact_id is None and not forgotten:
        report.found(OUTCOME, one.address, f"{one}: applied to nobody", outcome)


def _superseded(evidence: Evidence, report: Report, address: Address, one: Accepted) -> None:
    """It may only be passed over if all it said was said again, later or by somebody who knew better: in the
    same lane, or wherever else its source spoke of the same external id. And that must have been done."""
    by = evidence.by_id.get((one.outcome or {}).get("superseded_by") or "")
    if by is None or not (by.address == one.address or _outdated(one, by)):
        report.found(OUTCOME, one.address, f"{one}: superseded by nobody who could", one.outcome)
        return
    if not (_outdated(one, by) or _said_again(evidence, address, one)):
        report.found(OUTCOME, one.address, f"{one}: superseded, but not all it said was overruled", by)
    _took_effect(evidence, report, one, by)


def _took_effect(evidence: Evidence, report: Report, one: Accepted, by: Accepted) -> None:
    """Whoever it made way for was applied, or made way in turn. A word counts as soon as it is remembered,
    though nobody was there to be written to."""
    last = _end_of_chain(evidence, by)
    remembered = last.result == "skipped" and bool(wishes.spoken(last, evidence.declared.newsletter_types))
    if last.result in wishes.APPLIED or remembered:
        return
    text = f"{one}: superseded by what never took effect"
    if evidence.rolled_back(last):
        report.set_apart("rollback of Redis", OUTCOME, one.address, text, last)
    else:
        report.found(OUTCOME, one.address, text, last)


def _end_of_chain(evidence: Evidence, by: Accepted) -> Accepted:
    """Whom it leads to; where it goes in circles or nowhere, one that was superseded itself."""
    seen = {by.id}
    while by.result == "superseded":
        following = evidence.by_id.get((by.outcome or {}).get("superseded_by") or "")
        if following is None or following.id in seen:
            break
        by = following
        seen.add(by.id)
    return by


def _outdated(one: Accepted, by: Accepted) -> bool:
    mine, its = one.intent.get("version"), by.intent.get("version")
    return mine is not None and its is not None and mine < its and wishes.same_picture(one, by)


def _said_again(evidence: Evidence, address: Address, one: Accepted) -> bool:
    types = evidence.declared.newsletter_types
    others = [other for other in address.intents if other.id != one.id and other.result != "rejected"]
    later = {path for other in others if other.rank >= one.rank for path in wishes.asked(other)}
    newer = {
        channel
        for other in others
        if (other.acted, other.rank) >= (one.acted, one.rank)
        for channel in wishes.spoken(other, types)
    }
    fields, words = wishes.asked(one).keys(), wishes.spoken(one, types).keys()
    return bool(fields or words) and fields <= later and words <= newer
