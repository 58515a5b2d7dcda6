"""Break one promise of the product, run the test that the docs name, and see it fail."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults import Fault

from .witness import FAULT, REPORT, Testimony

ROOT = Path(__file__).parents[2]
PATIENCE_S = 1800
"""For all tests together, on a busy machine."""
TIMEOUT_S = 300


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one fault fared. `why` is empty if its test noticed it as it should."""

    why: str
    seconds: float

    @property
    def caught(self) -> bool:
        return not self.why


def prove(fault: Fault, module: str = "tests.guarantees.rows") -> Verdict:
    """Does the test that is named for the promise notice? `module` has the fault in its table `FAULTS`."""
    began = time.monotonic()
    code, said, testimony = run([fault.catcher], f"{module}:{fault.name}")
    return Verdict(_unless_caught(code, said, testimony), time.monotonic() - began)


def passes(tests: Sequence[str]) -> Verdict:
    """Do they pass on the product as it is? `why` is what pytest said if not."""
    began = time.monotonic()
    code, said, testimony = run(tests, "", PATIENCE_S)
    fine = code == 0 and testimony is not None and testimony.passed > 0
    return Verdict("" if fine else said, time.monotonic() - began)


def run(tests: Sequence[str], fault: str, timeout_s: float = TIMEOUT_S) -> tuple[int, str, Testimony | None]:
    """Run these tests with that fault, on the double only: exit status, output, testimony."""
    with tempfile.TemporaryDirectory(prefix="onelane-witness-") as folder:
        report = Path(folder) / "report.json"
        options = ["-q", "-x", "--tb=line", "-p", "no:cacheprovider", "-p", "tests.guarantees.witness"]
        command = [sys.executable, "-m", "pytest", *options, "-k", "not valkey", *tests]
        environment = {**os.environ, REPORT: str(report), FAULT: fault}
        try:
            done = subprocess.run(
                command,
                env=environment,
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
                timeout=timeout_s,
            )
        except subprocess.TimeoutExpired:
            return -1, f"no end after {timeout_s} s", None
        testimony = Testimony.read(report) if report.exists() else None
        return done.returncode, (done.stdout + done.stderr).strip(), testimony


def _unless_caught(code: int, said: str, testimony: Testimony | None) -> str:
    if code == 0:
        return "the test passes"
    if code != 1 or testimony is None:
        return f"the test did not run: {said[-500:]}"
    other = [failure for failure in testimony.failures if failure.phase != "teardown"]
    broken_off = [failure for failure in other if not failure.by_assertion]
    if broken_off or not other:
        return f"no assertion failed, but {', '.join(map(str, broken_off or testimony.failures))}"
    return ""
