"""Every rule that was switched off on record is noticed still, by the seed that is on record."""

from __future__ import annotations

import pytest

from .mutants import MUTANTS, again, recorded


def test_every_mutant_is_on_record() -> None:
    assert recorded().keys() == {name for name, mutant in MUTANTS.items() if not mutant.covered}


@pytest.mark.parametrize("name", sorted(recorded()))
def test_is_noticed(name: str) -> None:
    found = again(MUTANTS[name], recorded()[name])
    assert found is not None, f"hunt it anew: python -m tests.simulation.mutants --write --names {name}"
