"""All that a rule of the planner may look at, and what any of them may ask."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Union

from onelane_worker.planner import operations as op
from onelane_worker.planner.fold import DesiredState
from onelane_worker.planner.knowledge import Knowledge
from onelane_worker.planner.match import Choice, choose
from onelane_worker.planner.policy import Policy
from onelane_worker.planner.registry import ConsentMemory, Contact
from onelane_worker.planner.request_body import pending_opt_outs
from onelane_worker.planner.verdicts import Verdict

Step = Union[op.Operation, Verdict]


@dataclass(frozen=True)
class Situation:
    """What is desired, what is known, and what follows from both."""

    desired: DesiredState
    know: Knowledge
    memory: ConsentMemory
    policy: Policy
    now_ms: int

    @cached_property
    def choice(self) -> Choice:
        """The contacts that the desired state is about, as far as they are known."""
        return choose(self.desired, self.know, self.policy)

    @property
    def target(self) -> Contact:
        """The contact to write to first."""
        return self.choice.targets[0]

    @cached_property
    def concerned(self) -> tuple[Contact, ...]:
        """The targets, and every other contact that an opt-out has not reached yet."""
        everyone = pending_opt_outs(self.desired, self.memory)
        return self.choice.targets + (self.choice.others if everyone else ())

    def search(self) -> op.Search:
        """A search for the addresses and the external id."""
        return op.Search(self.desired.spellings, self.desired.external_id)


Rule = Callable[[Situation], Step | None]


def read_first(contacts: Iterable[Contact]) -> op.Read | None:
    """Read the first of these that is not confirmed by an answer yet."""
    return next((op.Read(contact.id) for contact in contacts if not contact.confirmed), None)


def merge_stray(s: Situation, others: Iterable[Contact], user: Contact) -> op.Merge | op.Read | None:
    """R22: merge the first of these leads that is to be merged into the user; read it before."""
    merges = "all" if s.desired.mode.merges_all else s.policy.merge_leads
    if merges == "off":
        return None
    for lead in others:
        mergeable = lead.role == "lead" and lead.id not in s.know.unmergeable
        if mergeable and (merges == "all" or _is_ours(s, lead, user)):
            return op.Merge(lead.id, user.id) if lead.confirmed else op.Read(lead.id)
    return None


def _is_ours(s: Situation, lead: Contact, user: Contact) -> bool:
    """Onelane made it just now, or when the index could not show the user yet."""
    made_ms = lead.made_ms
    if made_ms is None and lead.created_at is not None and s.desired.made == lead.id:
        made_ms = lead.created_at * 1000
    if made_ms is None:
        return False
    user_ms = s.now_ms if user.created_at is None else user.created_at * 1000
    return min(s.now_ms - made_ms, abs(user_ms - made_ms)) <= s.policy.settle_window_ms
