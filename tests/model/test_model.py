"""The protocol's model is silent with all rules, and notices when one is off."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from tests.model.fleet import begun_run, run_fleet
from tests.model.mutants import NOT_CAUGHT, notices, recorded
from tests.model.play import play
from tests.model.rules import RULES
from tests.model.suites import SUITES

HISTORIES = 3_000
"""A minute, with two processors. `python -m tests.model` plays more."""


def test_histories_of_all_suites_break_no_law() -> None:
    run = begun_run(0, HISTORIES, None, None)
    run_fleet(run, os.cpu_count() or 1, None, quiet=True)
    assert run.shown == []
    assert run.histories == HISTORIES
    assert run.faults > HISTORIES


def test_every_suite_takes_its_turn() -> None:
    played = Counter(play(number).suite for number in range(0, 240, 2))
    assert played.keys() == SUITES.keys()


def test_a_number_is_the_same_history_every_time() -> None:
    told: list[list[str]] = [[], []]
    for trace in told:
        play(4_711, "failover_all", trace=trace)
    assert told[0] == told[1]
    assert len(told[0]) > 50


@pytest.mark.parametrize("rule", sorted(recorded()))
def test_a_rule_that_is_off_is_noticed(rule: str) -> None:
    assert rule in RULES
    assert rule not in NOT_CAUGHT
    assert notices(rule, recorded()[rule]), "hunt it anew: python -m tests.model mutants --write --off RULE"


def test_a_run_goes_on_where_its_record_ends(tmp_path: Path) -> None:
    record = tmp_path / "record.json"
    run_fleet(begun_run(0, 200, "hot", record), 1, record, quiet=True)
    half = begun_run(0, 300, "hot", record)
    assert half.until == 0, "another goal is another run"
    text = record.read_text("utf-8").replace('"goal": 200', '"goal": 300')
    record.write_text(text, "utf-8")
    rest = begun_run(0, 300, "hot", record)
    assert rest.until == 200
    run_fleet(rest, 1, record, quiet=True)
    assert (rest.histories, rest.violations) == (300, 0)
