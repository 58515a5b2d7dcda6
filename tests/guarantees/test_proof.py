"""The proof is not easily satisfied: a test that fails for another reason has noticed nothing."""

from __future__ import annotations

from typing import Any

import pytest
from tests.faults import Fault, lua, python

from .proof import prove
from .row import broken

TEST = "tests/unit/planner/test_diff.py::TestDiffers::test_R48_nothing_is_skipped_without_facts"
TARGET = "onelane_worker.planner.diff:differs"


def _raising(_: object) -> Any:
    def differs(*_: object) -> bool:
        raise KeyError("no")

    return differs


CASES: dict[str, tuple[Fault, str]] = {
    fault.name: (fault, why)
    for fault, why in (
        (broken(TEST, "harmless", python(TARGET, lambda old: old)), "the test passes"),
        (
            broken(TEST, "another error", python(TARGET, _raising)),
            "no assertion failed, but KeyError in call",
        ),
        (broken(TEST, "no such function", python(f"{TARGET}_not", _raising)), "the test did not run: "),
        (broken(TEST, "no such Lua function", lua("no_such", "")), "the test did not run: "),
    )
}
FAULTS = {name: fault for name, (fault, _) in CASES.items()}


@pytest.mark.parametrize("name", CASES)
def test_what_does_not_count(name: str) -> None:
    fault, why = CASES[name]
    assert prove(fault, __name__).why.startswith(why)
