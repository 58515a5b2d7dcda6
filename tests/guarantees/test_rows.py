"""Every row of the guarantees' table names tests that fail when its promise is broken."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.faults import Fault

from .proof import Verdict, prove
from .rows import FAULTS as ALL
from .rows import ROWS

PAGE = Path(__file__).parents[2] / "docs" / "guarantees.md"
FAULTS = ALL.values()


def told() -> dict[str, list[str]]:
    """Promise → the tests that the page names for it."""
    promised = PAGE.read_text("utf-8").partition("## Not promised")[0]
    rows = re.findall(r"^\| \*\*(.+?)\.\*\* .* \| (.+) \|$", promised, re.MULTILINE)
    return {promise: re.findall("`(.+?)`", tests) for promise, tests in rows}


def test_the_page_names_the_tests_that_are_proved() -> None:
    page = told()
    assert [row.promise for row in ROWS if not set(row.tests) <= set(page.get(row.promise, ()))] == []


@pytest.fixture(scope="module")
def proofs(request: pytest.FixtureRequest) -> Iterator[dict[Fault, Future[Verdict]]]:
    """The proofs of the faults that this run has selected, one at a time on each processor."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        chosen = [item.callspec.params["fault"] for item in request.session.items if _proves(item)]
        yield {fault: pool.submit(prove, fault) for fault in chosen}
        pool.shutdown(cancel_futures=True)


def _proves(item: pytest.Item) -> bool:
    return getattr(item, "originalname", "") == "test_is_noticed_when_broken"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.removeprefix("test_"))
def test_is_noticed_when_broken(fault: Fault, proofs: dict[Fault, Future[Verdict]]) -> None:
    assert proofs[fault].result().why == ""
