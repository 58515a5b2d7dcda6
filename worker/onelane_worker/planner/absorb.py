"""What each answer of Intercom teaches: the table operation × reply → rule.

A pair that is not in the table teaches nothing about the person: throttled, refused, not sent … What the
engine does about those is in `retry_policy`. The rules are in `absorb_facts` (a contact is shown, or its
choices are) and in `absorb_absence` (a contact is gone, held by somebody else, or back).

Laws
 * A search hit becomes a contact that is not confirmed: no field of it is believed (law 4).
 * 404 or 410 on a contact leaves a mark (`Knowledge.gone_ms`): until the settle window has passed, a search
   miss does not prove that nobody is there.
 * Every answer teaches: after `absorb` the planner never asks the same question for the same reason again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from msgspec.structs import replace

from onelane_worker.planner import absorb_absence as absence
from onelane_worker.planner import absorb_facts as facts
from onelane_worker.planner import operations as op
from onelane_worker.planner.knowledge import Knowledge

Rule = Callable[[Knowledge, Any, Any, int], Knowledge]
"""(know, operation, reply, sent_ms) → what is known then."""

RULES: Mapping[type[op.Operation], Mapping[type[op.Reply], Rule]] = {
    op.Search: {op.Listed: facts.searched},
    op.FindByExternalId: {op.Found: facts.found, op.Gone: absence.not_found},
    op.Read: {op.Found: facts.read, op.Gone: absence.lost},
    op.ListSubscriptions: {op.Subscriptions: facts.subscriptions, op.Gone: absence.lost},
    op.ListTypes: {op.Types: facts.types},
    op.Create: {
        op.Found: facts.created,
        op.Conflict: absence.held,
        op.NotRestorable: absence.dead_end,
    },
    op.Update: {
        op.Found: facts.updated,
        op.Gone: absence.lost,
        op.Conflict: absence.held,
        op.NotRestorable: absence.dead_end,
    },
    op.Attach: {op.Done: facts.attached, op.Gone: absence.lost},
    op.Detach: {op.Done: facts.detached, op.NoResource: facts.detached, op.Gone: absence.lost},
    op.Merge: {
        op.Found: facts.merged,
        op.Gone: absence.unmerged,
        op.Refused: absence.unmergeable,
        op.Conflict: absence.unmergeable,
        op.NotRestorable: absence.unmergeable,
    },
    op.Unarchive: {
        op.Done: absence.revived,
        op.Gone: absence.lost,
        op.Conflict: absence.replaced,
        op.NotRestorable: absence.not_revived,
        op.Unknown: absence.perhaps_revived,
    },
    op.Archive: {op.Done: absence.put_back, op.Gone: absence.put_back},
    op.Delete: {op.Done: absence.deleted, op.Gone: absence.gone_before},
}


def absorb(know: Knowledge, operation: op.Operation, reply: op.Reply, sent_ms: int) -> Knowledge:
    """Knowledge after `reply` to `operation`, which was sent at `sent_ms` (Redis clock)."""
    rule = RULES.get(type(operation), {}).get(type(reply))
    return _concluded(know if rule is None else rule(know, operation, reply, sent_ms))


def _concluded(know: Knowledge) -> Knowledge:
    """R72: nobody in a whole settle window after the create could last commit, so it never did."""
    pending = know.journal
    if pending is None or pending.guarded or know.search_ms is None:
        return know
    unread = any(not one.confirmed and one.email == know.email for one in know.contacts.values())
    if unread or know.search_ms < pending.open_until_ms + know.settle_window_ms:
        return know
    return replace(know, journal=None)
