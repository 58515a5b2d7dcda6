"""The short chaos run: real processes killed at random, and the promise checked.

Set ONELANE_CHAOS_SEED to play another schedule; the report of a failure says which one it was.
"""

from __future__ import annotations

import os
from pathlib import Path

from tests.promise.checker import check

from .evidence import load
from .run import Options, run
from .scale import SHORT
from .table import text

SEED = int(os.environ.get("ONELANE_CHAOS_SEED", "1"))


def test_the_promise_survives_kills_freezes_and_a_restart_of_redis(tmp_path: Path) -> None:
    result = run(Options(SHORT, SEED), tmp_path, progress=lambda line: None)
    assert result.ok, text(result)
    assert result.report.counts["intents"] == SHORT.intents
    assert result.report.counts["addresses"] == SHORT.addresses
    assert result.toll.done == SHORT.events
    assert len(result.toll.recoveries) == 2
    assert sum(result.faults.values()) > 0
    again = check(*load(tmp_path / "evidence.json"))
    assert again.as_json() == result.report.as_json()
