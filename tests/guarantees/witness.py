"""A pytest plugin for one run on a copy of the product: how each test failed, and which code was at work.

That a test failed is not enough: it must have failed by what it asserts, and on the copy.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

REPORT = "ONELANE_WITNESS_REPORT"
"""Environment: the file to write to."""
COPY = "ONELANE_WITNESS_COPY"
"""Environment: the folder that every module of the product must come from."""


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
    strangers: list[str]
    """Modules of the product that came from somewhere else."""

    @classmethod
    def read(cls, path: Path) -> Testimony:
        """From the file of a run that has ended."""
        told = json.loads(path.read_text("utf-8"))
        return cls(told["passed"], [Failure(**one) for one in told["failures"]], told["strangers"])


_failures: list[Failure] = []
_passed = 0


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
    told = Testimony(_passed, _failures, _strangers(Path(os.environ[COPY])))
    Path(os.environ[REPORT]).write_text(json.dumps(asdict(told)), "utf-8")


def _strangers(copy: Path) -> list[str]:
    ours = {
        n: m
        for n, m in sys.modules.items()
        if n.partition(".")[0] in ("onelane", "onelane_worker", "onelane_sandbox")
    }
    files = {name: getattr(module, "__file__", None) for name, module in ours.items()}
    return [name for name, file in files.items() if file and not Path(file).is_relative_to(copy)]
