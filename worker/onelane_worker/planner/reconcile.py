"""Rules for what must be known before anything is written: lost answers, 409s, dead ends."""

from __future__ import annotations

from onelane_worker.planner import operations as op
from onelane_worker.planner.fold import DesiredState
from onelane_worker.planner.knowledge import Clash, Knowledge
from onelane_worker.planner.registry import Contact, Journal
from onelane_worker.planner.request_body import create_body
from onelane_worker.planner.situation import Situation, Step, read_first
from onelane_worker.planner.verdicts import Reject, Retry, Skip, Wait

LOOKS_S = (2, 4, 8, 15, 30)
"""Waits between looks for a create of unknown result; the last one repeats (R72)."""
MAX_GONE = 3
MAX_UNARCHIVE_FAILURES = 3


# ── before anything else ──────────────────────────────────────────────────────────────────────────────────


def loops(s: Situation) -> Step | None:
    """R5: the third "gone" of an attempt is a retry, not a loop."""
    return Retry("gone") if s.know.gone_count >= MAX_GONE else None


def dead_end(s: Situation) -> Step | None:
    """Deleted or blocked for good: a dead letter with the reason, without retries."""
    return None if s.know.dead_end is None else Reject("not_restorable", s.know.dead_end)


# ── a create whose result is unknown (R70–R73) ────────────────────────────────────────────────────────────


def as_journal(
    desired: DesiredState, know: Knowledge, create: op.Create, sent_ms: int, commit_until_ms: int | None
) -> Journal:
    """The journal of a create that is sent, or was and is not answered. Sent again it keeps its first
    `sent_ms`."""
    return Journal(
        intents=desired.ids,
        role=create.body["role"],
        external_id=create.body.get("external_id"),
        body=dict(create.body),
        sent_ms=know.journal.sent_ms if know.journal else sent_ms,
        commit_until_ms=commit_until_ms,
    )


def journal(s: Situation) -> Step | None:
    """Where and when to look for the contact. `absorb` adopts it, and clears the journal when there is
    none."""
    pending = s.know.journal
    if pending is None:
        return None
    asked = _asked_for(s, pending)
    if asked is not None:
        return asked
    if s.now_ms < pending.open_until_ms:
        return Wait(pending.open_until_ms, "reconciling")
    if pending.guarded and _may_repeat(s, pending):
        # If the first one was carried out after all, a 409 says so; if not, this is the insert (R71, R43).
        contact = s.choice.targets or s.choice.refused
        return None if contact else op.Create(create_body(s.desired, "user", s.memory))
    looked = min(max(pending.looks - 1, 0), len(LOOKS_S) - 1)  # the first wait was for the commit
    look_ms = s.now_ms + LOOKS_S[looked] * 1000
    return Wait(min(look_ms, pending.open_until_ms + s.policy.settle_window_ms), "reconciling")


def _may_repeat(s: Situation, pending: Journal) -> bool:
    """The same create is desired now, and its version is not outdated (R96)."""
    same = s.desired.external_id == pending.external_id and s.desired.mode.creates == "user"
    return same and s.desired.outdated_by is None


def _asked_for(s: Situation, pending: Journal) -> Step | None:
    """The look itself: by external id at any time; by address when the create can no longer commit."""
    if pending.external_id is not None and pending.guarded:
        return None if pending.external_id in s.know.asked else op.FindByExternalId(pending.external_id)
    if s.now_ms < pending.open_until_ms:
        return None
    if s.know.search_ms is None:
        return s.search()
    return read_first(k for k in s.know.contacts.values() if k.email == s.know.email)


# ── a 409 (R20, R24, R25) ─────────────────────────────────────────────────────────────────────────────────


def clash(s: Situation) -> Step | None:
    """Another contact holds the details. It is read before anything is written to it."""
    met = s.know.clash
    if met is None:
        return None
    if met.contact_id is None:
        return _elsewhere(s, met) or _nameless(s, met)
    if met.contact_id in s.know.unrestorable:
        problem = s.know.unrestorable[met.contact_id]
        return _elsewhere(s, met) or (None if _found_elsewhere(s, met) else Reject("not_restorable", problem))
    if met.archived:
        return revive(s, met.contact_id)
    holder = s.know.contacts.get(met.contact_id)
    if holder is None:
        return Retry("conflict")  # archived or merged between two calls: the next 409 will say
    if not holder.confirmed:
        return op.Read(holder.id)
    if _is_the_person(s, met, holder) and not _is_target(s, met):
        return None
    return Reject("address_taken", other_contacts=(holder.id,))


def _is_the_person(s: Situation, met: Clash, holder: Contact) -> bool:
    """The contact that the 409 names is the person, unless it is a user with another external id (R20), or it
    only holds the address that was to be moved (R64)."""
    if s.desired.external_id is None or s.policy.other_external_id == "adopt":
        return True
    becoming = isinstance(met.operation, op.Create) or "role" in met.operation.body
    return holder.external_id == s.desired.external_id or (holder.external_id is None and becoming)


def _elsewhere(s: Situation, met: Clash) -> Step | None:
    """The 409 does not help: look for the holder by external id and by search, once each."""
    if _found_elsewhere(s, met):
        return None
    if s.desired.external_id is not None and s.desired.external_id not in s.know.asked:
        return op.FindByExternalId(s.desired.external_id)
    return s.search() if s.know.search_ms is None else read_first(s.choice.targets)


def _found_elsewhere(s: Situation, met: Clash) -> bool:
    return not _is_target(s, met) and any(contact.confirmed for contact in s.choice.targets)


def _is_target(s: Situation, met: Clash) -> bool:
    """The contact whose update was refused is still the one to write to: it would be refused again."""
    own = met.operation.contact_id if isinstance(met.operation, op.Update) else None
    return any(contact.id == own for contact in s.choice.targets)


def _nameless(s: Situation, met: Clash) -> Step | None:
    """The 409 names no contact, and none is visible: the index may need a settle window to show the
    holder."""
    if _found_elsewhere(s, met):
        return None
    shown_ms = (s.know.missed_ms or s.now_ms) + s.policy.settle_window_ms
    if isinstance(met.operation, op.Update) or (s.know.search_ms or 0) >= shown_ms:
        return Reject("conflict_without_id")
    return Wait(min(s.now_ms + LOOKS_S[-1] * 1000, shown_ms), "reconciling")


def revive(s: Situation, contact_id: str) -> Step:
    """R21: only an intent in which the person acts restores an archived contact. Unarchiving a deleted user
    can fail with a 500 every time. Evidence: recorded traffic, January 2021."""
    if not s.desired.mode.revives:
        return Skip("archived", contact_id)
    if s.know.unarchive_failures.get(contact_id, 0) >= MAX_UNARCHIVE_FAILURES:
        message = f"unarchiving failed {MAX_UNARCHIVE_FAILURES} times"
        return Reject("not_restorable", op.Problem("server_error", message=message))
    return op.Unarchive(contact_id)


def taken_back(s: Situation) -> Step | None:
    """The contact that was unarchived has another external id than the intent: it is archived again (R20)."""
    if s.know.put_back is not None:
        return Reject("address_taken", other_contacts=(s.know.put_back,))
    revived = s.know.contacts.get(s.know.log.revived or "")
    separate = s.desired.mode.claims_identity and s.policy.other_external_id != "adopt"
    if revived is None or not separate or revived.external_id in (None, s.desired.external_id):
        return None
    return op.Archive(revived.id)
