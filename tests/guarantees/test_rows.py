"""Every row of the guarantees' table names tests that fail when its promise is broken."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.faults import CodeFault

from .proof import prove
from .rows import ROWS

PAGE = Path(__file__).parents[2] / "docs" / "guarantees.md"
FAULTS = [fault for row in ROWS for fault in row.faults]


def told() -> dict[str, list[str]]:
    """Promise → the tests that the page names for it."""
    promised = PAGE.read_text("utf-8").partition("## Not promised")[0]
    rows = re.findall(r"^\| \*\*(.+?)\.\*\* .* \| (.+) \|$", promised, re.MULTILINE)
    return {promise: re.findall("`(.+?)`", tests) for promise, tests in rows}


def test_the_page_and_the_code_name_the_same_tests() -> None:
    assert told() == {row.promise: row.tests for row in ROWS}


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.removeprefix("test_"))
def test_is_noticed_when_broken(fault: CodeFault) -> None:
    assert prove(fault).why == ""
