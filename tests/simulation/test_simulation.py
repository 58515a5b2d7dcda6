"""Short histories in which everything goes wrong that may, and no promise is broken.

A few hundred here: `make test` plays ten thousand others, by `python -m tests.simulation`, which shows
how far it is. SIMULATION_HISTORIES sets how many, SIMULATION_SEED_FROM which ones.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from .drawing import draw
from .fleet import play_seeds
from .histories import play
from .servers import FakeServer

HISTORIES = int(os.environ.get("SIMULATION_HISTORIES", "300"))
SEED_FROM = int(os.environ.get("SIMULATION_SEED_FROM", "500000"))
MANY_THINGS = 200
"""Events of a history in which enough happens to compare."""


def test_every_promise_holds_in_every_history() -> None:
    result = play_seeds(SEED_FROM, HISTORIES, os.cpu_count() or 1)
    assert result.ok, f"{result}\n\n{_explained(result.failures)}"
    assert result.histories == HISTORIES
    assert result.counts["faults"] > HISTORIES


def _explained(failures: list[dict[str, object]]) -> str:
    """The first failure, made as small as it gets."""
    if not failures:
        return ""
    command = [sys.executable, "-m", "tests.simulation", "--seed", str(failures[0]["seed"]), "--shrink"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


@pytest.mark.parametrize("seed", range(12))
def test_a_seed_is_one_history_on_every_redis(seed: int) -> None:
    """The same again, step by step; and the same on fakeredis, to which our faster double is held here."""
    verdict, trace = play(draw(seed), trace=True)
    assert verdict.violations == []
    assert play(draw(seed), trace=True)[1] == trace
    assert play(draw(seed), trace=True, server=FakeServer)[1] == trace


def test_histories_are_full_of_things() -> None:
    verdicts = [play(draw(seed))[0] for seed in range(40)]
    assert sum(verdict.counts["events"] > MANY_THINGS for verdict in verdicts) > len(verdicts) / 3
    struck = {fault.kind for seed in range(500) for fault in draw(seed).faults}
    assert {"crash_after", "committed_late", "reply_lost", "doubled_late", "freeze_before"} <= struck
