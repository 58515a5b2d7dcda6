"""What a run's recoveries prove, and what its last line and its table say of them."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from tests.checker.history import Span
from tests.checker.report import LOST, Report, Violation

from .events import Toll
from .failover import longest_pause_s
from .recovery import Recovery
from .run import BROKEN, HOLDS, NOTHING_TO_JUDGE, TOO_BUSY, Options, Result
from .scale import LONG, SHORT, Scale
from .table import PAPER_WIDTH, as_json, text

ONE, ALL = "kill one of two", "kill all workers"


def judged(event: str = ONE, late_s: float = -2.0, **more: Any) -> Recovery:
    return Recovery(event, free=1, judged=1, late_s=late_s, raw_late_s=late_s, **more)


def unjudged(event: str = ONE) -> Recovery:
    """All lanes stood in line."""
    return Recovery(event, in_line=3, in_line_s=0.5)


def unproven(event: str = ONE) -> Recovery:
    return Recovery(event, free=2, unproven=2, unproven_late_s=29.0)


def ended(*recoveries: Recovery, scale: Scale = SHORT) -> Result:
    """A run in which all else went well."""
    toll = Toll(done=Counter(scale.events), recoveries=list(recoveries))
    return Result(Options(scale, seed=1), Report(), toll, True, 0, Counter(), 1.0)


@pytest.mark.parametrize(
    ("recoveries", "scale", "verdict"),
    [
        ([judged(ONE), judged(ALL)], LONG, HOLDS),
        ([judged(ONE), unjudged(ONE), judged(ALL)], LONG, HOLDS),
        ([judged(ONE), unjudged(ALL)], SHORT, HOLDS),
        ([judged(ONE), unjudged(ALL)], LONG, NOTHING_TO_JUDGE),
        ([unjudged(ONE), unjudged(ALL)], SHORT, NOTHING_TO_JUDGE),
        ([], SHORT, NOTHING_TO_JUDGE),
        ([judged(ONE), judged(ALL), unproven(ONE)], LONG, TOO_BUSY),
        ([judged(ONE), unproven(ALL)], SHORT, TOO_BUSY),
        ([judged(ONE, unproven=1, unproven_late_s=29.0)], SHORT, HOLDS),
        ([judged(ONE, late_s=0.1), unproven(ALL)], SHORT, BROKEN),
        ([judged(ONE, stuck=["a" * 32])], SHORT, BROKEN),
    ],
)
def test_what_recoveries_prove(recoveries: list[Recovery], scale: Scale, verdict: str) -> None:
    result = ended(*recoveries, scale=scale)
    assert (result.verdict, result.ok, result.kept) == (verdict, verdict == HOLDS, verdict != BROKEN)
    assert text(result).splitlines()[-1].startswith(f"{verdict} (--seed 1 ")
    assert (as_json(result)["ok"], as_json(result)["verdict"]) == (result.ok, verdict)


def test_what_is_broken_is_never_called_unproven() -> None:
    lost = Report(violations=[Violation(LOST, "p1@chaos.test", "gone")])
    result = replace(ended(unproven(ONE)), report=lost)
    assert (result.verdict, result.kept) == (BROKEN, False)


def test_the_raw_time_stands_beside_the_judged_one() -> None:
    shown = text(ended(judged(ONE, late_s=-0.2, unproven=2, unproven_late_s=29.0), unproven(ALL)))
    spare = "0.20 s; with the waits for CPU -29.00 s; 4 lanes not proven"
    assert f"least time to spare        {spare}" in shown
    assert [line.split() for line in shown.splitlines() if line.startswith("  2 not")] == [
        ["2", "not", "proven", "-29.00", "s"]
    ] * 2


def test_what_was_not_measured_is_null_for_machines() -> None:
    told = as_json(ended(unjudged(ONE)))
    assert (told["latest_s"], told["recoveries"][0]["late_s"]) == (None, None)
    json.dumps(told, allow_nan=False)


def test_nothing_is_cut_off_on_paper() -> None:
    bad = judged(ONE, late_s=30.0, stuck=["a" * 32] * 12, unproven=12, unproven_late_s=29.0, in_line=99)
    bad.free_s = bad.blocked_s = bad.in_line_s = bad.waited_s = bad.started_s = 99.99
    shown = text(ended(bad, judged(ALL, late_s=5.0)))
    assert all(len(line) <= PAPER_WIDTH for line in shown.splitlines())
    assert "\u2026" not in shown
    for words in ("12 STUCK", "TOO LATE", "12 not proven", "-30.00 s", "-29.00 s"):
        assert words in shown


def test_a_standstill_is_the_longest_pause_that_begins_before_or_shortly_after_redis_is_back() -> None:
    away = Span(100.0, 101.0)
    busy, holders, held = [99.0, 99.5, 100.1], [101.2, 103.0], [134.0, 134.1, 200.0]
    assert longest_pause_s([*busy, *holders, *held], away) == pytest.approx(31.0)
    assert longest_pause_s([*busy, 101.3, 102.0, 200.0], Span(100.0, 100.5)) == pytest.approx(98.0)
    assert longest_pause_s([], away) == 0.0
