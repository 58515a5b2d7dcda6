"""Whatever pool Celery is told to use, the engine serves in the main process, and ends in good order."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from onelane import LeadCapture
from onelane_worker.cli._local_stack import Program, worker_command

from .processes import READY, python, worker_program
from .world import OpenWorld, World

SLOW_S = 8.0
"""A call that is still under way when all is over. Less than HTTP_TIMEOUT_S of these workers."""
SETTINGS = {"STOP_GRACE_S": 0.3, "HTTP_TIMEOUT_S": 20}
Start = Callable[..., Program]


@pytest.fixture
def world(open_world: OpenWorld) -> World:
    return open_world(workers=0)


@pytest.fixture
def start(world: World, tmp_path: Path) -> Start:
    def start(*options: str, **settings: object) -> Program:
        return worker_program(tmp_path / "worker.log", "pool", {**world.settings, **settings}, *options)

    return start


@pytest.mark.parametrize(
    "options",
    [(), ("-P", "solo"), ("-P", "threads", "-c", "4"), ("-P", "processes", "-c", "4")],
    ids=["default", "solo", "threads", "processes"],
)
def test_every_pool_serves_and_stops(options: tuple[str, ...], world: World, start: Start) -> None:
    with start(*options) as worker:
        worker.says(READY)
        receipts = world.queue.enqueue_many(LeadCapture(email=f"{n}@example.test") for n in range(20))
        results = {world.queue.wait(receipt.id, 30).result for receipt in receipts}
        worker.send(signal.SIGTERM)
        assert worker.join() == 0
    assert results == {"created"}
    assert "Traceback" not in worker.text


def test_the_number_of_lanes_is_that_of_the_option_or_the_setting(world: World, start: Start) -> None:
    """With one lane at a time, a second address waits for the first."""
    world.sandbox.fault("slow", seconds=0.5, times=1_000)
    for options, settings in ((("-c", "1"), {}), ((), {"CONCURRENCY": 1})):
        world.sandbox.clear_requests()
        with start(*options, **settings) as worker:
            worker.says(READY)
            receipts = world.queue.enqueue_many(
                LeadCapture(email=f"{n}{len(options)}@example.test") for n in range(2)
            )
            for receipt in receipts:
                world.queue.wait(receipt.id, 30)
        calls = [one for one in world.sandbox.requests() if one["path"] != "/me"]
        ends = [one["at"] + one["duration_ms"] / 1000 for one in calls]
        assert all(end <= after["at"] for end, after in zip(ends, calls[1:], strict=False))


def test_onelanes_own_command_does_the_same(world: World, tmp_path: Path) -> None:
    command = worker_command()[1:]
    with python(tmp_path / "worker.log", *command, settings=world.settings) as worker:
        worker.says(READY)
        receipt = world.queue.enqueue(LeadCapture(email="ann@example.test"))
        assert world.queue.wait(receipt.id, 30).result == "created"
        worker.send(signal.SIGTERM)
        assert worker.join() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once(number: signal.Signals, world: World, start: Start) -> None:
    """A call is under way that would hold up an orderly end."""
    world.sandbox.fault("slow", method="post", path="^/contacts$", seconds=SLOW_S)
    with start(**SETTINGS) as worker:
        worker.says(READY)
        world.queue.enqueue(LeadCapture(email="ann@example.test"))
        world.wait_for_call("POST", "/contacts")
        worker.send(number)
        worker.says("shutdown")
        worker.send(number)
        worker.join(SLOW_S / 2)
        assert "ended at once" in worker.text
