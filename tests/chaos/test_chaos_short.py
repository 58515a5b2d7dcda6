"""The short chaos run: real processes killed at random, and the promise checked.

What is asserted, and when: nothing lost, doubled, overlapping or out of order, all events done, no lane stuck
and none late beyond what the machine may owe (`recovery.MOST_TAKEN_OFF_S`): always. That lanes were seen to
recover in time can only be asserted if the machine let it be seen; else that test is skipped, with the run's
own verdict as the reason. It never passes unproven.

Set ONELANE_CHAOS_SEED to play another schedule; the report of a failure says which one it was.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.checker.checker import check

from .evidence import load
from .run import Options, Result, run
from .scale import SHORT
from .table import text

SEED = int(os.environ.get("ONELANE_CHAOS_SEED", "1"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the run leaves its logs and its evidence."""
    return tmp_path_factory.mktemp("chaos")


@pytest.fixture(scope="module")
def result(folder: Path) -> Result:
    """One run, for all that is asserted of it."""
    return run(Options(SHORT, SEED), folder, progress=lambda line: None)


def test_the_promise_survives_kills_freezes_and_a_restart_of_redis(result: Result, folder: Path) -> None:
    assert result.kept, text(result)
    assert result.report.counts["intents"] == SHORT.intents
    assert result.report.counts["addresses"] == SHORT.addresses
    assert result.toll.done == SHORT.events
    assert len(result.toll.recoveries) == 2
    assert sum(result.faults.values()) > 0
    again = check(*load(folder / "evidence.json"))
    assert again.as_json() == result.report.as_json()


def test_lanes_move_again_in_time_after_every_kill(result: Result) -> None:
    assert not any(one.late for one in result.toll.recoveries), text(result)
    if result.unproven:
        pytest.skip(result.unproven)
    assert all(one.within for one in result.toll.recoveries), text(result)
