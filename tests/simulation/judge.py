"""The verdict on a history: the laws of its course, its end, and the independent checker."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from tests.checker.checker import check
from tests.checker.history import Accepted, Declared, Span
from tests.checker.report import Violation
from tests.checker.wishes import APPLIED
from tests.world.world import START_S

from .excuses import has_shared_identity, is_excused, killing_faults, reason_of
from .expected_letters import may_be_dead
from .history import History, Told
from .knobs import COMMIT_S, HTTP_TIMEOUT_S, WRITE_TAIL_S
from .script import Script

SLACK_S = 400.0
"""For back-off: six attempts, full jitter, and the waits for another lane's lock."""
ROLLBACK_S = 31.0 + COMMIT_S + 30.0
"""How long after a lost moment of Redis its consequences are to be seen: hold, commit, and some attempts."""
OWN_KIND = "settle_check"
"""The kind of what the product enqueues for itself."""


@dataclass(slots=True)
class Verdict:
    """What was wrong, if anything, and how big the history was."""

    seed: int
    violations: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


def judge(history: History) -> Verdict:
    """Call it when the history is over."""
    verdict = Verdict(history.script.seed, list(history.violations))
    verdict.violations += [*_undrained(history), *_unheard_of(history), *_buried_innocents(history)]
    verdict.violations += [*_outdated(history), *_mistaken(history), *_withdrawn(history)]
    verdict.violations += [str(one) for one in _checked(history, verdict)]
    verdict.counts.update(faults=len(history.faults.struck), steps=history.world.loop.steps)
    verdict.counts.update(troubles=len(history.script.troubles))
    return verdict


# ── when the faults have stopped, every lane drains ──


def _undrained(history: History) -> list[str]:
    world = history.world
    stuck = [f"lane {lane[:6]} is stuck with {ids}" for lane, ids in world.family("queue").items()]
    began_s = max(history.faults.last_s, history.troubles.last_s, START_S + _last_request_s(history.script))
    took_s, longest_s = world.now - began_s, _longest_drain_s(history)
    if took_s > longest_s:
        stuck.append(f"draining took {took_s:.0f} s, longer than {longest_s:.0f} s")
    return stuck


def _last_request_s(script: Script) -> float:
    times = [one.at_s for one in script.requests] + [one.at_s for one in script.acts]
    return max(times, default=0.0) + 31


def _longest_drain_s(history: History) -> float:
    """Each intent may wait once for a write that may still commit, and for the index window."""
    script = history.script
    each_s = script.conditions.settle_window_s * 2 + COMMIT_S + 5
    return SLACK_S + each_s * (len(history.accepted) + len(history.faults.struck) + len(script.troubles))


# ── what the checker does not ask ──


def _unheard_of(history: History) -> list[str]:
    """What is stored is what was accepted: a duplicate leaves nothing behind."""
    records = history.world.family("intent")
    theirs = {one for one, record in records.items() if record["kind"] != OWN_KIND}
    extra = theirs - history.accepted.keys()
    return [f"stored, but never accepted: {sorted(extra)}"] if extra else []


def _buried_innocents(history: History) -> list[str]:
    """A dead letter needs dead workers of its own."""
    conditions = history.script.conditions
    deadly = set(history.troubles.deadly)
    killed = {one.id for one in history.accepted.values() if reason_of(one) == "killed_worker"} - deadly
    kills = (killing_faults(history) + len(deadly)) * conditions.slots
    if len(killed) > kills // conditions.max_kills:
        return [f"{len(killed)} became dead letters after {kills} deaths at most: {sorted(killed)}"]
    return []


def _withdrawn(history: History) -> list[str]:
    """Who was told that an intent is withdrawn finds it so, and nobody else does."""
    wrong = []
    for told in history.accepted.values():
        is_withdrawn = (told.outcome or {}).get("result") == "withdrawn"
        if told.id in history.troubles.withdrawn and not is_withdrawn and not history.troubles.rollbacks:
            wrong.append(f"{told.id} was withdrawn, and ended {told.outcome}")
        if is_withdrawn and not any(one.kind == "withdraw" for one in history.script.troubles):
            wrong.append(f"{told.id} ended withdrawn, and nobody has asked for it")
    return wrong


def _outdated(history: History) -> list[str]:
    """R96: what is older than its source's newest is not applied. An erasure forgets what there was."""
    done = [one for one in history.accepted.values() if (one.outcome or {}).get("result") in APPLIED]
    syncs = [one for one in done if one.intent["kind"] == "contact_sync" and "version" in one.intent]
    erasures = [one.rank for one in history.accepted.values() if one.intent["kind"] == "contact_erasure"]
    if history.troubles.ends_lost:  # they are applied again
        return []
    return [
        f"version {later.intent['version']} is applied after {earlier.intent['version']}: {later.id}"
        for later in syncs
        for earlier in syncs
        if _same_source(earlier, later)
        and earlier.rank < later.rank
        and earlier.intent["version"] > later.intent["version"]
        and not any(earlier.rank < rank < later.rank for rank in erasures)
        and (earlier.ended_s or 0) <= (later.ended_s or 0)  # a dead letter may have come back after it
    ]


def _same_source(one: Told, other: Told) -> bool:
    names = ("external_id", "source")
    same = all(one.intent.get(name) == other.intent.get(name) for name in names)
    return same and one.lane == other.lane


def _mistaken(history: History) -> list[str]:
    """Who names an external id is applied to the user who has it, and to no other account."""
    contacts = {one["id"]: one for one in history.world.sandbox.contacts()}
    wrong: list[str] = []
    if has_shared_identity(history.script):
        return wrong
    for told in history.accepted.values():
        outcome, named = told.outcome or {}, told.intent.get("external_id")
        contact = contacts.get(outcome.get("contact_id") or "")
        if named is None or told.intent["kind"] not in _AUTHORITIES or outcome.get("result") not in APPLIED:
            continue
        if contact is not None and outcome.get("role") == "user" and contact["external_id"] != named:
            wrong.append(f"what is about {named} was applied to {contact['external_id']}: {told.id}")
    return wrong


_AUTHORITIES = ("product_sign_up", "contact_sync", "contact_upsert")


# ── the checker ──


def _checked(history: History, verdict: Verdict) -> list[Violation]:
    accepted = [
        Accepted(
            told.id,
            told.intent["kind"],
            told.intent["email"],
            told.intent,
            told.rank,
            told.at_s,
            told.outcome,
            told.ended_s,
        )
        for told in history.accepted.values()
        if (told.outcome or {}).get("result") != "withdrawn"  # as if it had never been accepted
    ]
    contacts = history.world.sandbox.contacts()
    declared = Declared(
        poison=frozenset(one.id for one in accepted if may_be_dead(history, one)),
        foreign_contacts=_foreign(history, contacts),
        foreign_requests=frozenset(history.world.intercom.log.foreign),
        frozen=tuple(Span(*one) for one in history.world.intercom.log.late_writes),
        rollbacks=tuple(history.troubles.rollbacks),
        rollback_slack_s=ROLLBACK_S,
        commit_window_s=HTTP_TIMEOUT_S + WRITE_TAIL_S,
        newsletter_types=history.script.conditions.newsletter_types,
    )
    report = check(accepted, contacts, history.world.sandbox.requests(), declared)
    verdict.counts.update(report.counts)
    return [one for one in report.violations if not is_excused(history, one)]


def _foreign(history: History, contacts: list[dict[str, Any]]) -> frozenset[str]:
    """What others made is held against nobody, unless it is all that there is: then it must be right."""
    live = Counter(one["email"] for one in contacts if _is_live(one))
    return frozenset(
        one["id"] for one in contacts if one["id"] in history.meddlers.made and live[one["email"]] != 1
    )


def _is_live(contact: dict[str, Any]) -> bool:
    return not (contact["archived"] or contact["deleted"] or contact["merged_into"])
