"""One history by its number: the number says the suite, how many faults there are, and the seed."""

from __future__ import annotations

import traceback
from typing import Final, NamedTuple

from .history import History
from .rules import ALL, Rules
from .suites import HEAVY, SUITES

FAULTS: Final = (0, 1, 2, 3, 6)
"""How many things go wrong at most."""
CYCLE: Final = tuple(name for turn in range(3) for name in SUITES if name not in HEAVY or turn == 0)
"""Suites take turns; those that take long have fewer."""


class Played(NamedTuple):
    """What came of a history."""

    number: int
    suite: str
    violations: tuple[str, ...]
    faults: int
    intents: int


def play(number: int, suite: str | None = None, rules: Rules = ALL, trace: list[str] | None = None) -> Played:
    """Play it. An error of the model itself is a violation."""
    turns = 1 if suite else len(CYCLE)
    name = suite or CYCLE[number % turns]
    faults = FAULTS[number // turns % len(FAULTS)]
    history = None
    try:
        history = History(SUITES[name], number, faults, rules, trace)
        history.play()
        violations = list(dict.fromkeys(history.violations))
    except Exception as error:
        violations = [f"error: {type(error).__name__}: {error}"]
        if trace is not None:
            trace.append(traceback.format_exc())
    happened = len(history.faults.happened) if history is not None else 0
    return Played(number, name, tuple(violations), happened, history.submitted if history is not None else 0)
