"""All that a rule of the planner may look at, and what any of them may ask."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Union

from worker.core import operations as op
from worker.core.belief import Known, Memory
from worker.core.choice import Choice, choose
from worker.core.desired import pending_opt_outs
from worker.core.policy import Policy
from worker.core.state import Knowledge
from worker.core.verdicts import Verdict
from worker.core.wish import Wish

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
