"""Break one promise in a copy of the product, run the test that the docs name, and see it fail."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults import CodeFault, faulty, import_path

from .witness import COPY, REPORT, Testimony

ROOT = Path(__file__).parents[2]
PATIENCE_S = 1800
"""For all tests together, on a busy machine."""
TIMEOUT_S = 600


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one fault fared. `why` is empty if its test noticed it as it should."""

    why: str
    seconds: float

    @property
    def caught(self) -> bool:
        return not self.why


def prove(fault: CodeFault) -> Verdict:
    """Does the test that is named for the promise notice that it is broken?"""
    began = time.monotonic()
    try:
        with faulty(fault) as copy:
            why = _unless_caught([fault.catcher], copy)
    except LookupError as error:
        why = f"the fault cannot be made: {error}"
    return Verdict(why, time.monotonic() - began)


def passes(tests: Sequence[str]) -> Verdict:
    """Do they pass on the product as it is? `why` is what pytest said if not."""
    began = time.monotonic()
    code, said, testimony = run(tests, ROOT, PATIENCE_S)
    fine = code == 0 and testimony is not None and not testimony.strangers and testimony.passed > 0
    return Verdict("" if fine else said, time.monotonic() - began)


def run(
    tests: Sequence[str], product: Path, timeout_s: float = TIMEOUT_S
) -> tuple[int, str, Testimony | None]:
    """Run these tests on the product in that folder, on the double only: exit status, output, testimony."""
    with tempfile.TemporaryDirectory(prefix="onelane-witness-") as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pytest", "-q", "-x", "--tb=line", "-p", "no:cacheprovider"]
        command += [
            "-p",
            "tests.guarantees.witness",
            "-k",
            "not valkey",
            *(str(ROOT / test) for test in tests),
        ]
        environment = {
            **os.environ,
            "PYTHONPATH": import_path(product),
            REPORT: str(report),
            COPY: str(product),
        }
        try:
            done = subprocess.run(
                command,
                env=environment,
                cwd=product,
                capture_output=True,
                text=True,
                check=False,
                timeout=timeout_s,
            )
        except subprocess.TimeoutExpired:
            return -1, f"no end after {timeout_s} s", None
        testimony = Testimony.read(report) if report.exists() else None
        return done.returncode, (done.stdout + done.stderr).strip(), testimony


def _unless_caught(tests: Sequence[str], copy: Path) -> str:
    code, said, testimony = run(tests, copy)
    if code == 0:
        return "the test passes"
    if code != 1 or testimony is None:
        return f"the test did not run: {said[-500:]}"
    if testimony.strangers:
        return f"not the copy was tested: {testimony.strangers[:3]}"
    other = [failure for failure in testimony.failures if failure.phase != "teardown"]
    broken_off = [failure for failure in other if not failure.by_assertion]
    if broken_off or not other:
        return f"no assertion failed, but {', '.join(map(str, broken_off or testimony.failures))}"
    return ""
