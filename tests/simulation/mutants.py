"""Deliberate faults in the product, each of which must break a promise: a search that finds nothing proves
nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutant:
    """A rule switched off."""

    name: str
    about: str
    apply: Callable[[], None]


MUTANTS: dict[str, Mutant] = {}
