"""Erasing a person: the rules for the one kind of intent that deletes.

| state                                        | next                                                        |
|----------------------------------------------|-------------------------------------------------------------|
| a create whose result is unknown             | cleared up first: a lead that surfaces later must go too    |
| contacts of the named external id            | deleted, at whatever address                                |
| leads, and users without an external id      | deleted                                                     |
| users with another external id               | other accounts: kept, unless `everyone`                     |
| several users, no external id, not everyone  | rejected `ambiguous`: it cannot be undone                   |
| archived ones that are known                 | deleted, like the others                                    |
| a DELETE that is answered by 404             | perhaps merged into a user that the index does not show     |
|                                              | yet: a second look a settle window after it was lost        |
| no contact                                   | a second look a settle window later, then erased            |

Every search hit is read before it is deleted.
"""

from __future__ import annotations

from msgspec.structs import replace

from onelane.intents import ContactErasure
from onelane.results import Outcome
from onelane_worker.planner import operations as op
from onelane_worker.planner.fold import DesiredState
from onelane_worker.planner.knowledge import Knowledge, ended, record
from onelane_worker.planner.policy import Policy
from onelane_worker.planner.reconcile import journal, loops
from onelane_worker.planner.registry import Contact, RegistryEntry
from onelane_worker.planner.situation import Situation, Step, read_first
from onelane_worker.planner.verdicts import Erased, Reject, Wait


def plan(s: Situation) -> Step:
    """The next step of an erasure."""
    rules = (loops, journal, _look, _ambiguous, _delete, _second_look)
    step = next((step for rule in rules if (step := rule(s)) is not None), None)
    return Erased(tuple(contact.id for contact in s.choice.pool)) if step is None else step


def _look(s: Situation) -> Step | None:
    external_id = s.desired.external_id
    if external_id is not None and external_id not in s.know.asked:
        return op.FindByExternalId(external_id)
    if s.know.search_ms is None:
        return s.search()
    return read_first(s.choice.pool)


def _ambiguous(s: Situation) -> Step | None:
    users = [contact.id for contact in s.choice.pool if contact.role == "user"]
    if s.desired.external_id is not None or _everyone(s) or len(users) < 2:
        return None
    return Reject("ambiguous", other_contacts=tuple(users))


def _delete(s: Situation) -> Step | None:
    contacts = (*s.choice.pool, *s.choice.lost)
    return next((op.Delete(one.id) for one in contacts if _is_the_person(s, one)), None)


def _is_the_person(s: Situation, contact: Contact) -> bool:
    named = s.desired.external_id
    return _everyone(s) or named is None or contact.role == "lead" or contact.external_id in (None, named)


def _second_look(s: Situation) -> Step | None:
    """There was no contact to delete, or one is gone without a reason: the index may not show yet where the
    person lives on."""
    gone_ms = s.know.gone_ms or 0
    since_ms = gone_ms if s.know.log.written else max(s.desired.accepted_ms, gone_ms)
    proven_ms = since_ms + s.policy.settle_window_ms
    if not since_ms or (s.know.search_ms or 0) >= proven_ms:
        return None
    return Wait(proven_ms, "reconciling")


def _everyone(s: Situation) -> bool:
    intent = s.desired.members[0].intent
    return isinstance(intent, ContactErasure) and intent.everyone


def identities(desired: DesiredState, know: Knowledge) -> frozenset[str]:
    """The person's external ids: the one named, and those of the deleted contacts."""
    named = frozenset() if desired.external_id is None else frozenset({desired.external_id})
    return know.log.identities | named


def gone(know: Knowledge) -> tuple[str, ...]:
    """The known contacts of the person: no lane may remember them."""
    ends = ("deleted", "gone", "merged")
    return tuple(contact_id for contact_id, stone in know.tombstones.items() if stone.why in ends)


def entry_after(know: Knowledge, policy: Policy, now_ms: int) -> RegistryEntry:
    """What is kept: tombstones of contacts that the index may go on showing."""
    return record(replace(ended(know), contacts={}), None, policy, now_ms)


def outcome(verdict: Erased, know: Knowledge) -> Outcome:
    """The outcome of an erasure; it does not name the deleted contacts."""
    return Outcome(result="erased", calls=know.log.calls, other_contacts=verdict.kept)
