"""Playing histories one after the other, in this process; and making a failing one smaller."""

from __future__ import annotations

import traceback
from dataclasses import replace

from .chances import seeded
from .ears import listening
from .history import History
from .judge import Verdict, judge
from .script import Script

TAIL = 120
"""Lines of the trace in a failure message."""


def play(script: Script, *, trace: bool = False) -> tuple[Verdict, list[str]]:
    """One history. The verdict, and the trace if it was asked for."""
    with seeded(script.seed):
        history = History(script, trace=trace)
        try:
            with listening(history.violate):
                history.run()
        except Exception as failure:
            history.violate(f"the history broke off: {failure}\n{traceback.format_exc()}")
        verdict = judge(history)
        history.close()
    return verdict, history.world.trace or []


# ── smaller ──


def shrink(script: Script) -> Script:
    """A script with fewer parts that still breaks a promise; the same one if every part is needed."""
    if not play(script)[0].violations:
        return script
    smaller = True
    while smaller:
        smaller = False
        for part in ("faults", "troubles", "acts", "requests", "before"):
            script, found = _without_some(script, part)
            smaller = smaller or found
    return script


def _without_some(script: Script, part: str) -> tuple[Script, bool]:
    found, index = False, 0
    while index < len(getattr(script, part)):
        kept = getattr(script, part)
        candidate = replace(script, **{part: kept[:index] + kept[index + 1 :]})
        if play(candidate)[0].violations:
            script, found = candidate, True
        else:
            index += 1
    return script, found


def explain(script: Script, lines: int = TAIL) -> str:
    """A failing history in words: its script, the end of its trace, and what was wrong."""
    verdict, trace = play(script, trace=True)
    told = [*script.lines(), *([f"… {len(trace) - lines} lines"] if len(trace) > lines else [])]
    return "\n".join([*told, *trace[-lines:], *verdict.violations])
