"""One queue writes to one workspace, whatever tokens its workers have."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from onelane import LeadCapture
from onelane.keys import Keys
from onelane_sandbox.client import SandboxControl
from onelane_sandbox.serve import RunningSandbox

from .conftest import OpenWorld
from .processes import READY, worker_program


@pytest.fixture
def other() -> Iterator[SandboxControl]:
    """Another workspace than that of the acceptance worlds."""
    with RunningSandbox(seed=7, token="of-the-other") as running:
        yield running.control


def test_a_worker_of_another_workspace_does_not_start(
    open_world: OpenWorld, other: SandboxControl, tmp_path: Path
) -> None:
    world = open_world(workers=1)
    for worker in world.workers:
        worker.stop()
    world.queue.enqueue(LeadCapture(email="ann@example.test"))
    settings = {**world.settings, "INTERCOM_URL": other.url, "INTERCOM_TOKEN": other.token}

    with worker_program(tmp_path / "other.log", "other", settings) as program:
        assert program.join() == 1

    assert "this queue belongs to the workspace Sandbox (sandbox-0), the token to Sandbox (sandbox-7-" in (
        program.text
    )
    assert "onelane workspace move" in program.text
    assert "Traceback" not in program.text
    assert " ready." not in program.text
    assert other.contacts() == []
    assert {one["path"] for one in other.requests()} == {"/me"}


def test_a_worker_that_learns_late_whose_token_it_has_ends_without_a_write(
    open_world: OpenWorld, other: SandboxControl, tmp_path: Path
) -> None:
    """It had to start while Intercom was away."""
    world = open_world(workers=1)
    for worker in world.workers:
        worker.stop()
    other.fault("status_503", path="/me", times=1)
    settings = {**world.settings, "INTERCOM_URL": other.url, "INTERCOM_TOKEN": other.token}

    with worker_program(tmp_path / "other.log", "other", settings) as program:
        program.says(READY)
        receipt = world.queue.enqueue(LeadCapture(email="ann@example.test"))
        assert program.join() == 1

    assert "this worker ends" in program.text
    assert other.contacts() == []
    assert {one["path"] for one in other.requests()} == {"/me"}

    world.start_workers()
    assert world.queue.wait(receipt.id, 20).result == "created"
    assert len(world.sandbox.contacts()) == 1


def test_a_queue_that_is_moved_ends_the_workers_of_its_former_workspace(open_world: OpenWorld) -> None:
    world = open_world(workers=1)
    other = {"intercom_id": "other", "intercom_name": "Other"}
    world.redis.hset(Keys("main").key("meta"), mapping=other)
    [worker] = world.workers
    assert worker.join() == 1
    assert "this queue belongs to the workspace Other (other), the token to Sandbox" in worker.text
