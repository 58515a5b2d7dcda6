"""How the planner ends a desired state, or an attempt at it. What it asks for instead are `operations`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Union

from onelane_worker.planner.fold import Superseded
from onelane_worker.planner.operations import Problem


@dataclass(frozen=True, slots=True)
class Finish:
    """The desired state holds. The outcomes are worked out from what was done."""

    target: str
    """Contact id."""


@dataclass(frozen=True, slots=True)
class Skip:
    """Nothing is to be done, for a reason."""

    reason: Literal["not_found", "exists", "archived"]
    contact_id: str | None = None


@dataclass(frozen=True, slots=True)
class Erased:
    """The person is gone."""

    kept: tuple[str, ...]
    """Contacts of other accounts at the address."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Plan again at `until_ms`; no attempt is counted."""

    until_ms: int
    why: Literal["reconciling", "second_look"]


@dataclass(frozen=True, slots=True)
class Retry:
    """Something passing is in the way: back off and count the attempt."""

    why: str


@dataclass(frozen=True, slots=True)
class Reject:
    """The head can never be applied as it is."""

    reason: str
    problem: Problem | None = None
    other_contacts: tuple[str, ...] = ()


Verdict = Union[Finish, Skip, Erased, Superseded, Wait, Retry, Reject]
