"""A pytest plugin for one run on a broken product: it makes the fault, and notes how each test failed.

That a test failed is not enough: it must have failed by what it asserts.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path

import pytest

REPORT = "ONELANE_WITNESS_REPORT"
"""Environment: the file to write to."""
FAULT = "ONELANE_FAULT"
"""Environment: `module:name` of the fault, to be found in that module's table `FAULTS`; empty for none."""


@dataclass(frozen=True, slots=True)
class Failure:
    """One phase of one test that raised."""

    test: str
    phase: str
    error: str
    by_assertion: bool

    def __str__(self) -> str:
        return f"{self.error} in {self.phase} of {self.test}"


@dataclass(frozen=True, slots=True)
class Testimony:
    """What the run was like."""

    passed: int
    failures: list[Failure]

    @classmethod
    def read(cls, path: Path) -> Testimony:
        """From the file of a run that has ended."""
        told = json.loads(path.read_text("utf-8"))
        return cls(told["passed"], [Failure(**one) for one in told["failures"]])


_failures: list[Failure] = []
_passed = 0


def pytest_load_initial_conftests() -> None:
    """Before anything of the product is imported by a test."""
    module, _, name = os.environ.get(FAULT, "").partition(":")
    if name:
        import_module(module).FAULTS[name].apply()


def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> None:
    """Note what was raised; the report itself is made by others."""
    global _passed
    if call.excinfo is None:
        _passed += call.when == "call"
        return
    by_assertion = call.excinfo.errisinstance((AssertionError, pytest.fail.Exception))
    _failures.append(Failure(item.nodeid, call.when, call.excinfo.typename, by_assertion))


def pytest_sessionfinish() -> None:
    """Write it all down."""
    Path(os.environ[REPORT]).write_text(json.dumps(asdict(Testimony(_passed, _failures))), "utf-8")
