"""What the checker finds and this history's circumstances explain. Every excuse is narrow, and named."""

from __future__ import annotations

from tests.checker import report as kinds
from tests.checker.report import Violation

from .history import History, Told
from .script import Json, Script

KILLING = frozenset(
    {
        "crash_before",
        "crash_after",
        "crash_in_flight",
        "freeze_before",
        "freeze_after",
        "freeze_in_flight",
        "freeze_at_socket",
        "down_before",
        "down_after",
        "delayed_and_resent",
        "late_copy",
        "reply_lost",
        "hung",
        "oom",
        "readonly",
    }
)
"""Faults after which a holder may never have come back."""


ALONE = 2
"""After so many deaths a head is granted alone."""


def killing_faults(history: History) -> int:
    """How often a process, or a call of it, may not have come back in time."""
    troubles = sum(one.kind in ("redis_away", "redis_refuses", "failover") for one in history.script.troubles)
    return sum(one.kind in KILLING for one in history.faults.struck) + troubles


def reason_of(told: Told) -> str:
    """Why it was rejected or skipped."""
    return str((told.outcome or {}).get("reason"))


def _dead(history: History, *reasons: str) -> list[Told]:
    return [one for one in history.accepted.values() if reason_of(one) in reasons]


def is_excused(history: History, violation: Violation) -> bool:
    """Does one of the excuses below hold?"""
    return any(excuse(history, violation) for excuse in EXCUSES)


def support_took_it(history: History, violation: Violation) -> bool:
    """Where others archive, delete or merge, somebody may be missing, and values are gone with them."""
    gone = {act.address for act in history.script.acts if act.kind != "sdk_user"}
    return violation.kind in (kinds.MISSING, kinds.FIELD) and violation.address in gone


def late_write(history: History, violation: Violation) -> bool:
    """A write that left a frozen worker may spoil what it hits. Only histories that ask for one have it."""
    spoilt = (kinds.FIELD, kinds.DUPLICATE, kinds.CONSENT, kinds.ORDER)
    return bool(history.world.intercom.log.late_writes) and violation.kind in spoilt


def others_beside(history: History, violation: Violation) -> bool:
    """An opt-in is carried out on one contact; which of two is the person, somebody else has made unclear."""
    return violation.kind == kinds.CONSENT and violation.address in history.meddlers.touched


_TRAVELLING = (kinds.FIELD, kinds.CONSENT, kinds.ORDER, kinds.STRAY, kinds.OUTCOME, kinds.MISSING)
_NEVER_EXCUSED = (
    "no result of its kind",
    "may not be skipped",
    "somebody was there",
    "but who is that",
    "says erased",
    "never was at",
    "was applied over",
    "superseded by what never took effect",
)
"""What the checker says of an outcome that fits nothing, however many addresses there are. Words on consent
go along with a change of address, so who superseded one may have spoken elsewhere."""


def two_addresses(history: History, violation: Violation) -> bool:
    """One external id at two addresses: the contact moves, values of both travel with it, and whom it meets
    at its new address can be merged only within the policy. An intent that does not name the id holds no lock
    on it, so two lanes may write to the contact while it moves."""
    if any(words in violation.text for words in _NEVER_EXCUSED):
        return False
    return violation.kind in _TRAVELLING and violation.address in tied_addresses(history.script)


def met_at_a_new_address(history: History, violation: Violation) -> bool:
    """A user has moved to an address where somebody lives: a lead that is not ours any more, or another user.
    They cannot be merged, and are reported."""
    if violation.kind != kinds.DUPLICATE or violation.address not in tied_addresses(history.script):
        return False
    updates = [one for one in history.world.sandbox.requests() if one["method"] == "PUT"]
    moves = [one for one in updates if one["body"].get("email") == violation.address]
    came = {one["path"].rpartition("/")[2] for one in moves}
    return any(f" {contact_id} " in line for line in violation.evidence for contact_id in came)


def two_lanes_of_one_person(history: History, violation: Violation) -> bool:
    """A contact of two addresses is read from one lane while the other works; and an intent that names no
    external id does not hold the one of the user whom it finds."""
    tied = tied_addresses(history.script)
    if violation.kind != kinds.OVERLAP or violation.address not in tied:
        return False
    intents = [told.intent for told in history.accepted.values()]
    there = [intent for intent in intents if intent["email"].strip().lower() in tied]
    return any(_reads(line) for line in violation.evidence) or any("external_id" not in one for one in there)


def other_account_stays(history: History, violation: Violation) -> bool:
    """An erasure that names one account of an address leaves the other, with what its person said."""
    erasures = [told.intent for told in history.accepted.values() if told.intent["kind"] == "contact_erasure"]
    named = [one for one in erasures if "external_id" in one and not one.get("everyone")]
    return violation.kind == kinds.CONSENT and any(
        one["email"].strip().lower() == violation.address for one in named
    )


def _reads(evidence: str) -> bool:
    return " GET " in evidence or "/contacts/search" in evidence


def idle_read(history: History, violation: Violation) -> bool:
    """Whoever lost the lane while standing still may have a read under way. It changes nothing."""
    if violation.kind != kinds.OVERLAP or not killing_faults(history):
        return False
    return _reads(violation.evidence[0])


def guarded_create(history: History, violation: Violation) -> bool:
    """R71: after an unknown create of an external id, the id is looked up at once, and whoever has it is
    written to, although the create may still arrive: it can only be refused then."""
    if violation.kind != kinds.OVERLAP:
        return False
    earlier = violation.evidence[0]
    if "POST /contacts → no answer" not in earlier:
        return False
    number = int(earlier.removeprefix("#").split()[0])
    body = next(one["body"] for one in history.world.sandbox.requests() if one["n"] == number)
    return body["role"] == "user" and "external_id" in body


def one_by_one(history: History, violation: Violation) -> bool:
    """A fold whose holder died may have been written. After two deaths a head goes alone, so that nobody else
    is blamed; until the others have gone, too, its earlier value is back."""
    return violation.kind == kinds.ORDER and killing_faults(history) + history.troubles.deaths >= ALONE


def a_dead_letters_word(history: History, violation: Violation) -> bool:
    """An opt-out is remembered while it waits; if its intent is killed then, the word stays remembered. So do
    words of before an erasure that was killed: what of it was done nobody knows."""
    buried = [one.intent["kind"] for one in _dead(history, "killed_worker", "erased", "upstream_error")]
    spoke = any(kind.startswith("newsletter") or kind == "contact_erasure" for kind in buried)
    return violation.kind == kinds.CONSENT and spoke


def an_opt_out_that_waits(history: History, violation: Violation) -> bool:
    """An opt-out is remembered while it waits, and overrules narrower ones before it. If it becomes a dead
    letter, what it overruled has not been done either; a replay of it does both."""
    rejected = [line for line in violation.evidence if "newsletter_opt_out" in line and "rejected" in line]
    return "superseded" in violation.text and bool(rejected)


def a_dead_letters_deed(history: History, violation: Violation) -> bool:
    """Who is killed after the last answer has been applied, and is remembered so: others make way for it."""
    return "superseded" in violation.text and bool(_dead(history, "killed_worker", "erased"))


def killed_while_reviving(history: History, violation: Violation) -> bool:
    """What a buried intent had brought back from the archive is not to be seen for a while."""
    archived = any(body["archived"] for body in history.script.before)
    archived = archived or any(act.kind == "archive" for act in history.script.acts)
    return violation.kind == kinds.DUPLICATE and archived and bool(_dead(history, "killed_worker"))


def no_authority(history: History, violation: Violation) -> bool:
    """The checker asks for the external id of a person who became a user by an intent without one."""
    return violation.kind == kinds.FIELD and violation.text == "should be the user None"


def lost_with_redis(history: History, violation: Violation) -> bool:
    """What was accepted in a moment that Redis lost may have been carried out, and nobody knows of it."""
    lost = {address for one in history.accepted.values() if one.lost for address in addresses_of(one.intent)}
    spoilt = (kinds.FIELD, kinds.STRAY, kinds.CONSENT, kinds.ORDER, kinds.OUTCOME, kinds.DUPLICATE)
    return violation.address in lost and violation.kind in spoilt


def applied_again(history: History, violation: Violation) -> bool:
    """Intents whose ends Redis lost are applied again, in their order."""
    again = (history.accepted[one].intent for one in history.troubles.ends_lost)
    addresses = {address for intent in again for address in addresses_of(intent)}
    return violation.address in addresses and violation.kind in (kinds.ORDER, kinds.OUTCOME)


def found_the_second_time(history: History, violation: Violation) -> bool:
    """An update-only intent found nobody, Redis lost that, and the second time it finds whom a later intent
    has created: its values for a new contact were never asked of that create."""
    again = (history.accepted[one].intent for one in history.troubles.ends_lost)
    named = [one for one in again if one.get("create") == "update_only" and "set_on_insert" in one]
    addresses = {address for intent in named for address in addresses_of(intent)}
    return violation.kind == kinds.FIELD and violation.address in addresses


def replayed(history: History, violation: Violation) -> bool:
    """What came back from the dead letters takes effect later than its rank says."""
    there = any(one.kind == "replay" for one in history.script.troubles)
    return there and violation.kind in (kinds.ORDER, kinds.OUTCOME, kinds.FIELD, kinds.CONSENT)


def addresses_of(intent: Json) -> set[str]:
    """The addresses that an intent names."""
    return {intent[name].strip().lower() for name in ("email", "new_email") if name in intent}


EXCUSES = (
    lost_with_redis,
    applied_again,
    found_the_second_time,
    replayed,
    support_took_it,
    late_write,
    others_beside,
    two_addresses,
    met_at_a_new_address,
    two_lanes_of_one_person,
    other_account_stays,
    idle_read,
    guarded_create,
    one_by_one,
    a_dead_letters_word,
    an_opt_out_that_waits,
    a_dead_letters_deed,
    killed_while_reviving,
    no_authority,
)


def has_shared_identity(script: Script) -> bool:
    """Is one external id named at two addresses, by whomever? Or does somebody move from one to another?"""
    return bool(tied_addresses(script))


def tied_addresses(script: Script) -> frozenset[str]:
    """Addresses that share an external id, or between which somebody moves."""
    named = [(one.intent["email"], one.intent.get("external_id")) for one in script.requests]
    named += [(act.address, act.external_id) for act in script.acts]
    named += [(body["email"], body.get("external_id")) for body in script.before]
    at: dict[str, set[str]] = {}
    for address, external_id in named:
        if external_id is not None:
            at.setdefault(external_id, set()).add(address.strip().lower())
    moves = [one.intent for one in script.requests if one.intent["kind"] == "email_change"]
    ways = [{intent["email"].strip().lower(), intent["new_email"]} for intent in moves]
    tied = [addresses for addresses in (*at.values(), *ways) if len(addresses) > 1]
    return frozenset().union(*tied)
