"""The verdict on a history: the laws of its course, its end, and the independent checker."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.checker.checker import check
from tests.checker.history import Accepted, Declared
from tests.checker.report import Violation
from tests.checker.wishes import APPLIED

from onelane import keyspace

from .excuses import KILLING, has_shared_identity, is_excused
from .intercom import HTTP_TIMEOUT_S, WRITE_TAIL_S
from .script import PARTITION, START_S, UNKNOWN_ATTRIBUTE, Script
from .world import Told, World

SLACK_S = 400.0
"""For back-off: six attempts, full jitter, and the waits for another lane's lock."""


@dataclass(slots=True)
class Verdict:
    """What was wrong, if anything, and how big the history was."""

    seed: int
    violations: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def judge(world: World) -> Verdict:
    """Call it when the history is over."""
    verdict = Verdict(world.script.seed, list(world.violations))
    outcomes = {told.id: _outcome(world, told) for told in world.accepted.values()}
    world.killed = _buried_for(outcomes, "killed_worker")
    world.erased = _buried_for(outcomes, "erased")
    verdict.violations += [*_undrained(world), *_unheard_of(world), *_buried_innocents(world)]
    verdict.violations += [*_outdated(world, outcomes), *_mistaken(world, outcomes)]
    verdict.violations += [str(one) for one in _checked(world, outcomes, verdict)]
    verdict.counts.update(faults=len(world.faults.struck), events=world.scheduler.events)
    return verdict


def _buried_for(outcomes: dict[str, Any], reason: str) -> set[str]:
    return {id_ for id_, told in outcomes.items() if told and told.get("reason") == reason}


def _outcome(world: World, told: Told) -> dict[str, Any] | None:
    text = world.server.hgetall(keyspace.intent(told.id)).get("outcome")
    return None if text is None else dict(json.loads(text))


# --- invariant 13: when the faults have stopped, every lane drains ------------------------------------------


def _undrained(world: World) -> list[str]:
    left = {lane: world.server.lrange(keyspace.queue(lane)) for lane in world.laws.lanes}
    stuck = [f"lane {lane[:6]} is stuck with {ids}" for lane, ids in left.items() if ids]
    took_s = world.scheduler.now - max(world.faults.last_s, START_S + _last_request_s(world.script))
    longest_s = _longest_drain_s(world)
    if took_s > longest_s:
        stuck.append(f"draining took {took_s:.0f} s, longer than {longest_s:.0f} s")
    return stuck


def _last_request_s(script: Script) -> float:
    times = [one.at_s for one in script.requests] + [one.at_s for one in script.acts]
    return max(times, default=0.0) + 31


def _longest_drain_s(world: World) -> float:
    """Each intent may wait once for a write that may still commit, and for the index window."""
    commit_s = HTTP_TIMEOUT_S + WRITE_TAIL_S + 6
    each_s = world.settle_window_s * 2 + commit_s
    return SLACK_S + each_s * (len(world.accepted) + len(world.faults.struck))


# --- what the checker does not ask ---


def _unheard_of(world: World) -> list[str]:
    """What is stored is what was accepted: a duplicate leaves nothing behind."""
    stored = world.server.intents(PARTITION)
    extra = stored - set(world.accepted)
    return [f"stored, but never accepted: {sorted(extra)}"] if extra else []


def _buried_innocents(world: World) -> list[str]:
    """A dead letter needs dead workers of its own."""
    conditions = world.script.conditions
    kills = sum(fault.kind in KILLING for fault in world.faults.struck) * conditions.slots
    if len(world.killed) > kills // conditions.max_kills:
        return [
            f"{len(world.killed)} became dead letters after {kills} deaths at most: {sorted(world.killed)}"
        ]
    return []


def _outdated(world: World, outcomes: dict[str, Any]) -> list[str]:
    """R96: what is older than its source's newest is not applied. An erasure forgets what there was."""
    done = [one for one in world.accepted.values() if (outcomes[one.id] or {}).get("result") in APPLIED]
    syncs = [one for one in done if one.intent["kind"] == "contact_sync" and "version" in one.intent]
    erasures = [one.rank for one in world.accepted.values() if one.intent["kind"] == "contact_erasure"]
    return [
        f"version {later.intent['version']} is applied after {earlier.intent['version']}: {later.id}"
        for later in syncs
        for earlier in syncs
        if _same_source(earlier, later)
        and earlier.rank < later.rank
        and earlier.intent["version"] > later.intent["version"]
        and not any(earlier.rank < rank < later.rank for rank in erasures)
    ]


def _same_source(one: Told, other: Told) -> bool:
    names = ("external_id", "source")
    same = all(one.intent.get(name) == other.intent.get(name) for name in names)
    return same and one.lane == other.lane


def _mistaken(world: World, outcomes: dict[str, Any]) -> list[str]:
    """Who names an external id is applied to the user who has it, and to no other account."""
    contacts = {one["id"]: one for one in world.sandbox.contacts()}
    wrong: list[str] = []
    if has_shared_identity(world.script):
        return wrong
    for told in world.accepted.values():
        outcome, named = outcomes[told.id] or {}, told.intent.get("external_id")
        contact = contacts.get(outcome.get("contact_id") or "")
        if named is None or told.intent["kind"] not in _AUTHORITIES or outcome.get("result") not in APPLIED:
            continue
        if contact is not None and outcome.get("role") == "user" and contact["external_id"] != named:
            wrong.append(f"what is about {named} was applied to {contact['external_id']}: {told.id}")
    return wrong


_AUTHORITIES = ("product_sign_up", "contact_sync", "contact_upsert")


# --- the checker ------------------------------------------------------------------------------------------


def _checked(world: World, outcomes: dict[str, Any], verdict: Verdict) -> list[Violation]:
    accepted = [
        Accepted(
            told.id,
            told.intent["kind"],
            told.intent["email"],
            told.intent,
            told.rank,
            told.at_s,
            outcomes[told.id],
            _ended_s(world, told),
        )
        for told in world.accepted.values()
    ]
    contacts = world.sandbox.contacts()
    declared = Declared(
        poison=frozenset(one.id for one in accepted if _may_be_dead(world, one)),
        foreign_contacts=_foreign(world, contacts),
        foreign_requests=frozenset(world.intercom.log.foreign),
        frozen=tuple(world.intercom.log.late_writes),
        commit_window_s=HTTP_TIMEOUT_S + WRITE_TAIL_S,
        newsletter_types=world.script.conditions.newsletter_types,
    )
    report = check(accepted, contacts, world.sandbox.requests(), declared)
    verdict.counts.update(report.counts)
    return [one for one in report.violations if not is_excused(world, one)]


def _ended_s(world: World, told: Told) -> float | None:
    ended_ms = world.server.hgetall(keyspace.intent(told.id)).get("ended")
    return None if ended_ms is None else int(ended_ms) / 1000


def _may_be_dead(world: World, one: Accepted) -> bool:
    """Poison must be a dead letter; some others may be, for the reasons of this history."""
    attributes = one.intent.get("custom_attributes", {})
    if UNKNOWN_ATTRIBUTE in attributes:
        return True
    if one.result != "rejected":
        return False
    reason = (one.outcome or {}).get("reason")
    if one.intent["kind"] in ("email_change", "contact_erasure") and reason in ("address_taken", "ambiguous"):
        return True
    if reason == "erased":
        return _left(world, one, ("contact_erasure",), later=True)
    if reason == "killed_worker":
        return True  # whether there were dead workers enough is asked elsewhere
    if reason == "address_taken":
        theirs = one.address in world.meddlers.touched or _identities(world) > 1
        return theirs or _keeps_a_minted_id(world, one.address)
    gone = one.address in world.meddlers.touched or _left(world, one, _LEAVING, later=False)
    acted = {act.external_id for act in world.script.acts} - {None}
    return reason == "not_restorable" and (gone or one.external_id in acted)


_LEAVING = ("contact_erasure", "email_change")
"""What leaves behind somebody who cannot come back: deleted for ever, or merged into another."""


def _left(world: World, one: Accepted, kinds: tuple[str, ...], *, later: bool) -> bool:
    """Was there an intent of these kinds about the same person, accepted later or earlier?"""
    there = [
        told
        for told in world.accepted.values()
        if told.intent["kind"] in kinds
        and (one.address in _addresses(told.intent) or _names_the_same(one, told.intent))
    ]
    return any((told.rank > one.rank) is later for told in there if told.rank != one.rank)


def _names_the_same(one: Accepted, intent: dict[str, Any]) -> bool:
    return one.external_id is not None and one.external_id == intent.get("external_id")


def _addresses(intent: dict[str, Any]) -> set[str]:
    return {intent[name].strip().lower() for name in ("email", "new_email") if name in intent}


def _keeps_a_minted_id(world: World, address: str) -> bool:
    """A lead that became a user without an external id keeps the one that Intercom made up. When nobody
    remembers that, it looks like another account's (R20)."""
    there = [
        told.intent for told in world.accepted.values() if told.intent["email"].strip().lower() == address
    ]
    return any(intent.get("role") == "user" and "external_id" not in intent for intent in there)


def _identities(world: World) -> int:
    """How many external ids play a part."""
    named = {told.intent.get("external_id") for told in world.accepted.values()}
    there = {body.get("external_id") for body in world.script.before}
    acted = {act.external_id for act in world.script.acts}
    shared = named | there | acted
    return len(shared - {None})


def _foreign(world: World, contacts: list[dict[str, Any]]) -> frozenset[str]:
    """What others made is held against nobody, unless it is all that there is: then it must be right."""
    live = Counter(one["email"] for one in contacts if _is_live(one))
    return frozenset(
        one["id"] for one in contacts if one["id"] in world.meddlers.made and live[one["email"]] != 1
    )


def _is_live(contact: dict[str, Any]) -> bool:
    return not (contact["archived"] or contact["deleted"] or contact["merged_into"])
