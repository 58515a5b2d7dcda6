"""The simulation itself: the same seed is the same history, and its histories are full of things."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter

import pytest

from .drawing import draw
from .fleet import play_seeds
from .play import play

MANY_STEPS = 150


def test_a_hundred_histories_hold() -> None:
    result = play_seeds(0, 100, 2)
    assert result.histories == 100
    if result.failures:
        command = [
            sys.executable,
            "-m",
            "tests.simulation",
            "--seed",
            str(result.failures[0]["seed"]),
            "--shrink",
        ]
        pytest.fail(subprocess.run(command, capture_output=True, text=True, check=False).stdout)


@pytest.mark.parametrize("seed", range(8))
def test_a_seed_is_one_history(seed: int) -> None:
    verdict, trace = play(draw(seed), trace=True)
    assert verdict.violations == []
    assert len(trace) > 10
    assert play(draw(seed), trace=True)[1] == trace


def test_histories_are_full_of_things() -> None:
    verdicts = [play(draw(seed))[0] for seed in range(40)]
    assert sum(verdict.counts["steps"] > MANY_STEPS for verdict in verdicts) > len(verdicts) / 2
    scripts = [draw(seed) for seed in range(1_000)]
    faults = Counter(one.fault.kind for script in scripts for one in script.faults)
    troubles = Counter(one.kind for script in scripts for one in script.troubles)
    assert {"crash_after", "committed_late", "reply_lost", "doubled_late", "freeze_before"} <= faults.keys()
    assert {"failover", "emptied", "shutdown", "outage", "withdraw", "replay"} <= troubles.keys()
