"""What to do next for one person: the decision tables, as a chain of rules.

`plan(desired, know, memory, policy, now_ms)` looks at what is desired and what is known and returns one step:
an operation to perform, or a verdict that ends the desired state or the attempt. The caller performs it,
passes the reply to `absorb`, and asks again, until there is a verdict. Nothing here has a clock, randomness
or I/O.

The rules stand in the order in which they are asked; the first that returns a step decides:

    loops        an attempt that meets "gone" a third time is put back
    dead end     the person cannot be brought back
    journal      a create whose result is unknown is settled before anything else is written
    outdated     a newer picture of the same source has been applied meanwhile
    types        the subscription types that an intent names must exist
    clash        a 409 names the person, or another account that is in the way
    taken back   the contact that was unarchived turns out to be another account
    resolve      find out who the person is
    lost         the only contact answers 404: perhaps it is archived
    absent       no contact is visible: create, look again later, or skip
    present      a contact is there: write what differs
    consent      subscription types, one by one
    strays       leads of ours beside the user are merged into it

Laws: search is a hint (a candidate is read before its first write); an unguarded create needs a search that
proves something; only facts let a write be skipped; consent moves only by explicit words.
"""

from __future__ import annotations

from onelane_worker.planner import duplicate_check, email_change, erasure
from onelane_worker.planner import operations as op
from onelane_worker.planner.fold import DesiredState, Superseded
from onelane_worker.planner.knowledge import Knowledge
from onelane_worker.planner.policy import Policy
from onelane_worker.planner.reconcile import clash, dead_end, journal, loops, revive, taken_back
from onelane_worker.planner.registry import ALL_MAIL, ConsentMemory, Contact, unflatten
from onelane_worker.planner.request_body import (
    create_body,
    desired_fields,
    due_words,
    identity_changes,
    must_read,
    needed,
)
from onelane_worker.planner.situation import Rule, Situation, Step, merge_stray, read_first
from onelane_worker.planner.verdicts import Erased, Finish, Reject, Retry, Skip, Verdict, Wait

__all__ = ["Erased", "Finish", "Reject", "Retry", "Skip", "Step", "Verdict", "Wait", "plan"]


def plan(desired: DesiredState, know: Knowledge, memory: ConsentMemory, policy: Policy, now_ms: int) -> Step:
    """The next step. Always the same for the same arguments."""
    situation = Situation(desired, know, memory, policy, now_ms)
    if desired.mode.moves:
        return email_change.plan(situation)
    if desired.mode.erases:
        return erasure.plan(situation)
    if desired.mode.checks:
        return duplicate_check.plan(situation)
    for rule in RULES:
        step = rule(situation)
        if step is not None:
            return step
    return Finish(situation.target.id)


# ── before anything is sent ───────────────────────────────────────────────────────────────────────────────


def outdated(s: Situation) -> Step | None:
    """R96: another address has applied a newer version. A create of unknown result is reconciled before
    this."""
    return None if s.desired.outdated_by is None else Superseded(s.desired.ids[0], s.desired.outdated_by)


def types(s: Situation) -> Step | None:
    """R54: an unknown subscription type is refused before anything is sent."""
    named = s.desired.words.keys() - {ALL_MAIL}
    if not named:
        return None
    if s.know.types is None:
        return op.ListTypes()
    unknown = sorted(named - s.know.types.keys())
    if not unknown:
        return None
    message = f"no subscription type {', '.join(unknown)} in this workspace"
    return Reject("unknown_subscription_type", op.Problem("refused", message=message))


# ── who is it? (R10–R17) ──────────────────────────────────────────────────────────────────────────────────


def resolve(s: Situation) -> Step | None:
    """By the registry, else by external id, else by search. A search hit is read by id before the first write
    (R16); a contact that Intercom itself has named is read without a search."""
    know, desired, targets = s.know, s.desired, s.choice.targets
    pointed_out = read_first(
        contact for contact in targets if contact.id in know.named or know.is_heir(contact.id)
    )
    if pointed_out is not None:
        return pointed_out
    if desired.contact_id is not None and not _is_user(targets):
        if desired.contact_id not in (*know.contacts, *know.tombstones):
            return op.Read(desired.contact_id)
    pointed = any(contact.confirmed for contact in targets)
    if not pointed and desired.external_id is not None and desired.mode.finds_first:
        if desired.external_id not in know.asked:
            return op.FindByExternalId(desired.external_id)
    if know.search_ms is None and (not pointed or (desired.mode.everyone and know.looked_ms is None)):
        return s.search()
    return read_first(s.choice.other_users if s.choice.refused else s.concerned)


def _is_user(targets: tuple[Contact, ...]) -> bool:
    return any(contact.confirmed and contact.role == "user" for contact in targets)


# ── no contact (column A) ─────────────────────────────────────────────────────────────────────────────────


def lost(s: Situation) -> Step | None:
    """A known contact answered 404, and there is no other. Only an unarchive tells archived from gone, and it
    is sent only if the person acts."""
    if s.choice.targets or s.choice.refused or not s.choice.lost or not s.desired.mode.revives:
        return None
    return revive(s, s.choice.lost[0].id)


def absent(s: Situation) -> Step | None:
    """No contact is visible. Creating a user with an external id is guarded by a 409; any other create needs
    a search that proves that there is none (see `Knowledge.gone_ms`)."""
    if s.choice.targets:
        return None
    if s.know.log.created in {contact.id for contact in s.choice.pool}:
        return Reject(
            "external_id_not_stored"
        )  # R26: it was made without the external id; it is not made twice
    if s.choice.refused:
        return Reject("address_taken", other_contacts=tuple(contact.id for contact in s.choice.others))
    role = s.desired.mode.creates
    if role is None:
        return _second_look(s)
    if s.desired.mode.claims_identity and s.choice.other_account:
        role = "user"  # R20: beside the other account, one of its own; a lead cannot hold the external id
    guarded = role == "user" and s.desired.external_id is not None
    if not guarded and s.choice.lost and not s.desired.mode.revives and s.policy.revive != "never":
        return _second_look(s)  # a sync does not create again what support has archived
    if not guarded and s.know.gone_ms is not None:
        proven_ms = s.know.gone_ms + s.policy.settle_window_ms
        if (s.know.search_ms or 0) < proven_ms:
            return Wait(proven_ms, "reconciling")
    return op.Create(create_body(s.desired, role, s.memory))


def _second_look(s: Situation) -> Step:
    """R31: the index may not show a new contact yet. A search that started a settle window after the intent
    was accepted shows every contact that existed by then. If an intent that creates waits behind this one,
    there is nothing to wait for: that intent will create the contact."""
    gone_ms, window_ms = s.know.gone_ms or 0, s.policy.settle_window_ms
    if s.desired.creator_waits or (s.know.search_ms or 0) >= max(s.desired.accepted_ms, gone_ms) + window_ms:
        return Skip("archived", s.choice.lost[0].id) if s.choice.lost else Skip("not_found")
    return Wait(max(s.desired.members[0].accepted_ms, gone_ms) + window_ms, "second_look")


# ── a contact is there ────────────────────────────────────────────────────────────────────────────────────


def present(s: Situation) -> Step | None:
    """Write what differs; a contact that already is as desired costs nothing."""
    if s.desired.mode.create_only and s.know.log.created is None:
        return Skip("exists", s.target.id)
    return next((step for contact in s.concerned if (step := _update(s, contact)) is not None), None)


def _update(s: Situation, target: Contact) -> Step | None:
    if target in s.choice.targets and must_read(s.desired, target):
        return op.Read(target.id)
    sent = s.know.sent.get(target.id, frozenset())
    identity = identity_changes(s.desired, target, s.choice, s.policy) if target in s.choice.targets else {}
    if identity.keys() & sent & {"role", "external_id"}:
        return Reject("external_id_not_stored")  # R26: answered 200, and still not what was sent
    fields = desired_fields(s.desired, s.know, target, s.choice, s.memory, s.policy)
    changes = identity | needed(fields, target.facts, s.desired.accepted_ms)
    unsent = {path: value for path, value in changes.items() if path not in sent}
    return op.Update(target.id, unflatten(unsent)) if unsent else None


def consent(s: Situation) -> Step | None:
    """§5: the person's word on each subscription type, against the choices the contact has now."""
    return next((step for contact in s.concerned if (step := _choices(s, contact)) is not None), None)


def _choices(s: Situation, target: Contact) -> Step | None:
    words = due_words(s.desired, s.know, target, s.choice, s.memory)
    by_type = sorted((channel, word) for channel, word in words.items() if channel != ALL_MAIL)
    if not by_type:
        return None
    if s.know.types is None:
        return op.ListTypes()
    attached = s.know.attached.get(target.id)
    if attached is None:
        return op.ListSubscriptions(target.id)
    for type_id, word in by_type:
        kind = s.know.types.get(type_id)
        if kind is None:  # the type of a remembered word was deleted
            continue
        explicit = word.opted_in == (kind == "opt_in")  # the other choice is the type's own default
        if explicit and type_id not in attached:
            return op.Attach(target.id, type_id, kind)
        if not explicit and type_id in attached:
            return op.Detach(target.id, type_id)
    return None


def strays(s: Situation) -> Step | None:
    """R22: a lead of ours beside the user is merged into it. Merging cannot be undone: it is not done where
    the choice of the user was ambiguous, nor by an opt-out."""
    if s.target.role != "user" or s.choice.ambiguous or s.desired.mode.everyone:
        return None
    return merge_stray(s, s.choice.others, s.target)


RULES: tuple[Rule, ...] = (
    loops,
    dead_end,
    journal,
    outdated,
    types,
    clash,
    taken_back,
    resolve,
    lost,
    absent,
    present,
    consent,
    strays,
)
