"""All that a rule of the planner may look at, and what any of them may ask."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Union

from onelane_worker.core import operations as op
from onelane_worker.core.belief import Known, Memory
from onelane_worker.core.choice import Choice, choose
from onelane_worker.core.desired import pending_opt_outs
from onelane_worker.core.policy import Policy
from onelane_worker.core.state import Knowledge
from onelane_worker.core.verdicts import Verdict
from onelane_worker.core.wish import Wish

Step = Union[op.Operation, Verdict]


@dataclass(frozen=True)
class Situation:
    """What is wished, what is known, and what follows from both."""

    wish: Wish
    know: Knowledge
    memory: Memory
    policy: Policy
    now_ms: int

    @cached_property
    def choice(self) -> Choice:
        """Whom the wish is about, as far as that is known."""
        return choose(self.wish, self.know, self.policy)

    @property
    def target(self) -> Known:
        """The one to write to before all others."""
        return self.choice.targets[0]

    @cached_property
    def concerned(self) -> tuple[Known, ...]:
        """The targets, and every other contact that an opt-out has not reached yet."""
        everyone = pending_opt_outs(self.wish, self.memory)
        return self.choice.targets + (self.choice.others if everyone else ())

    def search(self) -> op.Search:
        """Who has this address, or the external id?"""
        return op.Search(self.wish.spellings, self.wish.external_id)


Rule = Callable[[Situation], Step | None]


def read_first(contacts: Iterable[Known]) -> op.Read | None:
    """Read the first of these that only the index, or a message of Intercom's, has shown so far."""
    return next((op.Read(known.id) for known in contacts if not known.confirmed), None)


def merge_stray(s: Situation, others: Iterable[Known], user: Known) -> op.Merge | op.Read | None:
    """R22: the first of these leads that is to be merged into the user; read before, as any first write."""
    merges = s.policy.merge_leads
    if merges == "off":
        return None
    for lead in others:
        mergeable = lead.role == "lead" and lead.id not in s.know.unmergeable
        if mergeable and (merges == "all" or _is_ours(s, lead, user)):
            return op.Merge(lead.id, user.id) if lead.confirmed else op.Read(lead.id)
    return None


def _is_ours(s: Situation, lead: Known, user: Known) -> bool:
    """We made it just now, or when the index could not show us the user yet."""
    if lead.made_ms is None:
        return False
    user_ms = s.now_ms if user.created_at is None else user.created_at * 1000
    return min(s.now_ms - lead.made_ms, abs(user_ms - lead.made_ms)) <= s.policy.settle_window_ms
