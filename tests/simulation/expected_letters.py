"""Which intents of a history may end as dead letters."""

from __future__ import annotations

from tests.checker.history import Accepted

from .excuses import addresses_of, tied_addresses
from .history import History
from .script import UNKNOWN_ATTRIBUTE


def may_be_dead(history: History, one: Accepted) -> bool:
    """Poison must be a dead letter; some others may be, for the reasons of this history."""
    attributes = one.intent.get("custom_attributes", {})
    if UNKNOWN_ATTRIBUTE in attributes:
        return one.result == "rejected" or not history.accepted[one.id].lost
    if one.result != "rejected":
        return False
    reason = (one.outcome or {}).get("reason")
    if one.intent["kind"] in ("email_change", "contact_erasure") and reason in ("address_taken", "ambiguous"):
        return True
    if reason == "erased":
        return _left(history, one, ("contact_erasure",), later=True)
    if reason == "discarded":
        return any(one.kind == "discard" for one in history.script.troubles)
    if reason == "upstream_error":
        lost = len(history.faults.struck) + history.troubles.deaths + _outages(history)
        return history.script.conditions.max_attempts <= lost
    if reason == "killed_worker":
        return True  # whether there were dead workers enough is asked elsewhere
    if reason == "address_taken":
        tied = one.address in tied_addresses(history.script)  # whom it meets there may not be merged
        theirs = tied or one.address in history.meddlers.touched or _identities(history) > 1
        return theirs or _keeps_a_minted_id(history, one.address)
    gone = one.address in history.meddlers.touched or _left(history, one, _LEAVING, later=False)
    acted = {act.external_id for act in history.script.acts} - {None}
    return reason == "not_restorable" and (gone or one.external_id in acted)


_LEAVING = ("contact_erasure", "email_change")
"""What leaves behind somebody who cannot come back: deleted for ever, or merged into another."""


def _left(history: History, one: Accepted, kinds: tuple[str, ...], *, later: bool) -> bool:
    """Was there an intent of these kinds about the same person, accepted later or earlier? Intents of other
    addresses are in no order."""
    ids = {one.external_id} | _named_at(history, {one.address})
    for told in history.accepted.values():
        if told.id == one.id or told.intent["kind"] not in kinds:
            continue
        there = addresses_of(told.intent)
        if one.address in there and (told.rank > one.rank) is later:
            return True
        if one.address not in there and ids & _named_at(history, there) - {None}:
            return True
    return False


def _named_at(history: History, addresses: set[str]) -> set[str | None]:
    """External ids that intents name at these addresses."""
    intents = [told.intent for told in history.accepted.values()]
    return {intent.get("external_id") for intent in intents if addresses & addresses_of(intent)}


def _keeps_a_minted_id(history: History, address: str) -> bool:
    """A lead that became a user without an external id keeps the one that Intercom made up. When nobody
    remembers that, it looks like another account's (R20)."""
    there = [
        told.intent for told in history.accepted.values() if told.intent["email"].strip().lower() == address
    ]
    return any(intent.get("role") == "user" and "external_id" not in intent for intent in there)


def _identities(history: History) -> int:
    """How many external ids play a part."""
    named = {told.intent.get("external_id") for told in history.accepted.values()}
    there = {body.get("external_id") for body in history.script.before}
    acted = {act.external_id for act in history.script.acts}
    shared = named | there | acted
    return len(shared - {None})


def _outages(history: History) -> int:
    """An outage may cost any number of attempts, where too few lanes fail for the circuit breaker."""
    return 99 * sum(one.kind in ("outage", "no_writes") for one in history.script.troubles)
