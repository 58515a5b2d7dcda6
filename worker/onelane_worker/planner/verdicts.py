"""How the planner ends a desired state, or an attempt at it. What it asks for instead are `operations`."""

from __future__ import annotations

from typing import Literal, Union

from msgspec import Struct

from onelane_worker.planner.fold import Superseded
from onelane_worker.planner.operations import Problem


class Finish(Struct, frozen=True):
    """The desired state holds. The outcomes are worked out from what was done."""

    target: str
    """Contact id."""


class Skip(Struct, frozen=True):
    """Nothing is to be done, for a reason."""

    reason: Literal["not_found", "exists", "archived"]
    contact_id: str | None = None


class Erased(Struct, frozen=True):
    """The person is erased."""

    kept: tuple[str, ...]
    """Contacts of other accounts at the address."""


class Wait(Struct, frozen=True):
    """Plan again at `until_ms`; no attempt is counted."""

    until_ms: int
    why: Literal["reconciling", "second_look"]


class Retry(Struct, frozen=True):
    """The obstacle may pass: back off and count the attempt."""

    why: str


class Reject(Struct, frozen=True):
    """The head can never be applied as it is."""

    reason: str
    problem: Problem | None = None
    other_contacts: tuple[str, ...] = ()


Verdict = Union[Finish, Skip, Erased, Superseded, Wait, Retry, Reject]
