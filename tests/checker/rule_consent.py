"""Consent is exactly as the person's last explicit word on that channel says; without a word it is untouched.

"Last" is by when the person acted, then by acceptance. A word also counts if its intent was skipped (nobody
was there yet: it is remembered) or superseded; only a dead letter's word does not. One that Redis lost with a
moment may count.
"""

from __future__ import annotations

from . import wishes
from .evidence import Address, Evidence
from .history import Accepted, Json
from .report import CONSENT, Report

Said = tuple[tuple[float, int], bool, Accepted]


def check_consent(evidence: Evidence, report: Report) -> None:
    """Compare every channel with the last word."""
    for address in evidence.addresses.values():
        contacts = [one for one in address.live if one["id"] not in evidence.declared.foreign_contacts]
        if not contacts or address.entangled or _others_touched_it(evidence, address):
            continue
        said = _said(evidence, address)
        for channel in {wishes.ALL_MAIL, *evidence.declared.type_kinds, *said}:
            _check_channel(evidence, report, address, contacts, channel, said.get(channel, []))


def _others_touched_it(evidence: Evidence, address: Address) -> bool:
    return any(
        evidence.is_foreign(one)
        and ("subscriptions" in one.words or "unsubscribed_from_emails" in (one.body or {}))
        for one in address.effective
    )


def _said(evidence: Evidence, address: Address) -> dict[str, list[Said]]:
    """Channel → what was said on it, in the order that counts."""
    found: dict[str, list[Said]] = {}
    for one in address.intents:
        if one.result == "rejected" or one.rank <= address.ended_by_erasure:
            continue
        for channel, wanted in wishes.spoken(one, evidence.declared.newsletter_types).items():
            found.setdefault(channel, []).append(((one.acted, one.rank), wanted, one))
    for words in found.values():
        words.sort(key=lambda word: word[0])
    return found


def _check_channel(
    evidence: Evidence,
    report: Report,
    address: Address,
    contacts: list[Json],
    channel: str,
    words: list[Said],
) -> None:
    report.counts["consent compared"] += 1
    if not words:
        touched = [one for one in contacts if _state(evidence, one, channel) is not None]
        if touched:
            text = f"channel {channel}: nobody said anything, but it was touched"
            report.found(CONSENT, address.name, text, *[_shown(one) for one in touched])
        return
    states = [_receives(evidence, one, channel) for one in contacts]
    allowed = _allowed(evidence, words, channel)
    fits = [state in allowed for state in states]
    if not (any(fits) if True in allowed else all(fits)):
        text = f"channel {channel}: the last word is {'yes' if words[-1][1] else 'no'}, the state {states}"
        report.found(CONSENT, address.name, text, words[-1][2], *[_shown(one) for one in contacts])


def _allowed(evidence: Evidence, words: list[Said], channel: str) -> set[bool]:
    """What may be: the last word that counts (or those of one moment), and lost ones after it."""
    counting = [when for when, _, one in words if not evidence.rolled_back(one)]
    if not counting:
        untouched = _untouched(evidence, channel)
        return {untouched, *(wanted for _, wanted, _ in words)}
    return {wanted for when, wanted, _ in words if when >= counting[-1]}


def _untouched(evidence: Evidence, channel: str) -> bool:
    """Whether somebody who never said anything receives it."""
    return channel == wishes.ALL_MAIL or evidence.declared.type_kinds.get(channel) == "opt_out"


def _state(evidence: Evidence, contact: Json, channel: str) -> bool | None:
    """Whether it was chosen to receive the channel; None: as a new contact has it."""
    if channel == wishes.ALL_MAIL:
        return False if contact["unsubscribed_from_emails"] else None
    chosen = {str(one["id"]) for one in contact.get("subscriptions", ())}
    if channel not in chosen:
        return None
    return evidence.declared.type_kinds.get(channel) == "opt_in"


def _receives(evidence: Evidence, contact: Json, channel: str) -> bool:
    chosen = _state(evidence, contact, channel)
    return _untouched(evidence, channel) if chosen is None else chosen


def _shown(contact: Json) -> str:
    subscriptions = [(one["id"], one["consent_type"]) for one in contact.get("subscriptions", ())]
    unsubscribed = contact["unsubscribed_from_emails"]
    return f"{contact['role']} {contact['id']}: unsubscribed {unsubscribed}, subscriptions {subscriptions}"
