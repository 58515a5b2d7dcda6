"""A rolling restart under load: real workers, stopped one after the other while services go on writing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from celery import Celery
from redis import Redis

from onelane import ContactQueue, LeadCapture, Receipt
from onelane.keys import Keys
from onelane_sandbox.client import SandboxControl
from onelane_worker.cli import _local_stack as local
from onelane_worker.cli._local_stack import LocalStack, Program

from .processes import wait_until

PEOPLE = 25
GRACE_S = 20


class Fleet:
    """Two workers on one broker."""

    def __init__(self, stack: LocalStack, env: dict[str, str]) -> None:
        self._stack = stack
        self._env = env
        self._app = Celery("test", broker=env["ONELANE_REDIS_URL"], set_as_current=False)
        self._started = 0  # each has a name of its own: three of them run at once for a moment
        self.workers = [self._start() for _ in range(2)]
        self._wait_for(2)

    def roll(self) -> list[int | None]:
        """Replace each worker by a new one; the exit codes of the old ones."""
        codes = []
        for place, old in enumerate(self.workers):
            self.workers[place] = self._start()
            self._wait_for(3)
            old.stop(GRACE_S)
            codes.append(old.exit_code)
        return codes

    def _start(self) -> Program:
        self._started += 1
        name = f"w{self._started}"
        return local.start_worker(self._stack, self._env, "--name", f"{name}@%h", name=name)

    def _wait_for(self, count: int) -> None:
        wait_until(lambda: len(self._app.control.ping(timeout=0.5)) >= count, 40)


@pytest.fixture
def fleet(valkey: Redis, valkey_url: str, onelane_sandbox: SandboxControl, tmp_path: Path) -> Iterator[Fleet]:
    onelane_sandbox.reset()
    onelane_sandbox.lag(300)
    onelane_sandbox.fault("slow", seconds=0.04, times=1_000_000)
    env = local.environment(
        REDIS_URL=f"{valkey_url}/0",
        INTERCOM_URL=onelane_sandbox.url,
        INTERCOM_TOKEN=onelane_sandbox.token,
        CONCURRENCY=4,
        NEW_REDIS="true",
    )
    with LocalStack(tmp_path, GRACE_S) as stack:
        yield Fleet(stack, env)
    onelane_sandbox.reset()


def test_a_rolling_restart_under_load_loses_and_doubles_nothing(
    fleet: Fleet, valkey: Redis, valkey_url: str, onelane_sandbox: SandboxControl
) -> None:
    # Given services that write to the same people all the time
    people = [f"p{n}@example.test" for n in range(PEOPLE)]
    receipts: list[Receipt] = []
    rolled = threading.Event()

    def produce() -> None:
        with ContactQueue.from_url(f"{valkey_url}/0") as queue:
            while not rolled.wait(0.3):
                name = f"N{len(receipts)}"
                receipts.extend(queue.enqueue_many(LeadCapture(email=one, name=name) for one in people))

    producer = threading.Thread(target=produce)
    producer.start()

    # When each worker is replaced in turn
    wait_until(lambda: len(onelane_sandbox.contacts()) > 3, 20)
    try:
        codes = fleet.roll()
    finally:
        rolled.set()
        producer.join()

    # Then they end in good order, every intent ends, and everybody is one contact with the last name
    assert codes == [0, 0]
    assert len(receipts) > 10 * PEOPLE
    with ContactQueue.from_url(f"{valkey_url}/0") as queue:
        outcomes = [queue.wait(receipt.id, 30) for receipt in receipts]
    assert {outcome.result for outcome in outcomes} <= {"created", "updated", "superseded", "unchanged"}
    contacts = onelane_sandbox.contacts()
    assert sorted(one["email"] for one in contacts) == sorted(people)
    assert {one["name"] for one in contacts} == {f"N{len(receipts) - PEOPLE}"}
    # and nobody was killed, or left a write behind that nobody had an answer to
    prefix = Keys("main").prefix
    assert not [key for key in valkey.scan_iter(f"{prefix}intent:*") if valkey.hexists(key, "kills")]
    lanes = [valkey.hgetall(key) for key in valkey.scan_iter(f"{prefix}lane:*")]
    assert not [lane for lane in lanes if {"token", "open", "journal", "dirty"} & set(lane)]
    assert list(valkey.scan_iter(f"{prefix}queue:*")) == []
