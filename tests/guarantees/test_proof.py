"""The proof is not easily satisfied: a test that fails for another reason has noticed nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from .proof import prove, run
from .row import broken

TEST = "tests/unit/planner/test_diff.py::TestDiffers::test_R48_nothing_is_skipped_without_facts"
FILE, TEXT = "worker/onelane_worker/planner/diff.py", "if facts is None or not _is_known(path, facts):"


@pytest.mark.parametrize(
    ("new", "why"),
    [
        (f"{TEXT}  # harmless", "the test passes"),
        ("if facts is None or", "the test did not run: "),
        ('raise KeyError("no")\n    if True:', "no assertion failed, but KeyError in call of "),
    ],
    ids=["harmless", "not-even-python", "another-error"],
)
def test_what_does_not_count(new: str, why: str) -> None:
    assert prove(broken(TEST, "for the test's sake", (FILE, TEXT, new))).why.startswith(why)


def test_a_fault_that_cannot_be_made() -> None:
    verdict = prove(broken(TEST, "for the test's sake", (FILE, "no such text", "")))
    assert verdict.why.startswith("the fault cannot be made: ")


def test_code_from_elsewhere_is_seen(tmp_path: Path) -> None:
    """As it would be if the installed package stood before the copy."""
    code, _, testimony = run([TEST], tmp_path)
    assert code == 0
    assert testimony is not None
    assert "onelane_worker.planner.diff" in testimony.strangers
