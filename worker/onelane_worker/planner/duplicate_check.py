"""Is the contact the person's only one? The settle check asks it by itself, `onelane repair` for an operator.

The settle check: once the index must show everybody, is the lead that we made still the only one?

A create that nothing guards (a lead, or a user known by address only) may have been made beside a contact
that somebody else had made a moment before. So the lane looks once more when the window has passed: a lead of
ours is merged into the user, by the same policy as ever (R22); anybody else is reported.

For an operator the contacts that the list showed are read by id, and all leads are merged into the one user.
"""

from __future__ import annotations

from onelane_worker.planner import operations as op
from onelane_worker.planner.knowledge import Knowledge
from onelane_worker.planner.registry import Contact
from onelane_worker.planner.situation import Situation, Step, merge_stray, read_first
from onelane_worker.planner.verdicts import Finish, Retry, Skip

_MAX_GONE = 3


def is_owed(know: Knowledge) -> bool:
    """Was a contact made for the head that Intercom would have made twice?"""
    made = know.contacts.get(know.log.created or "")
    return made is not None and (made.role == "lead" or made.external_id is None)


def plan(s: Situation) -> Step:
    """The next step of a check."""
    if s.know.gone_count >= _MAX_GONE:
        return Retry("gone")
    seen = {*s.know.contacts, *s.know.tombstones}
    for contact_id in s.desired.contact_ids:
        if contact_id not in seen:
            return op.Read(contact_id)
    if s.know.search_ms is None:
        return s.search()
    step: op.Operation | None = read_first(s.choice.pool) or _merge(s, s.choice.pool)
    if step is not None:
        return step
    return Finish(s.target.id) if s.choice.targets else Skip("not_found")


def _merge(s: Situation, pool: tuple[Contact, ...]) -> op.Operation | None:
    users = [contact for contact in pool if contact.role == "user"]
    return merge_stray(s, pool, users[0]) if len(users) == 1 else None
