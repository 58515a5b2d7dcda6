"""The simulation bites: every deliberate fault in the product is noticed.

Each has a seed on record that notices it (`caught.json`). Should the product have changed so that this seed
no longer does, others are tried. `python -m tests.simulation.mutants --write` hunts all anew.
"""

from __future__ import annotations

import os

import pytest
from tests.faults import CodeFault

from .drawing import draw
from .faults_in_code import CODE_FAULTS
from .histories import play
from .mutants import ROOT, as_table, hunt, recorded

OTHERS = 600
"""Histories that are tried when the seed on record no longer helps."""


@pytest.mark.parametrize("fault", CODE_FAULTS, ids=lambda fault: fault.name)
def test_every_fault_is_noticed(fault: CodeFault) -> None:
    seed = recorded()[fault.name].seed
    assert play(draw(seed))[0].violations == [], "it must be the fault that is noticed"
    caught = hunt(fault, seed, 1, 1).caught or hunt(fault, 0, OTHERS, os.cpu_count() or 1).caught
    assert caught, f"nobody notices that {fault.about}"


def test_there_is_one_record_for_every_fault() -> None:
    assert recorded().keys() == {fault.name for fault in CODE_FAULTS}
    assert len(CODE_FAULTS) >= 12


def test_the_docs_tell_the_record() -> None:
    page = (ROOT / "docs" / "simulation.md").read_text("utf-8")
    assert as_table(recorded()) in page, "run: python -m tests.simulation.mutants --write"
