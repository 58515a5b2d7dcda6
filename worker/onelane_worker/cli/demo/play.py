"""Playing the stories: each side in turn has the sandbox to itself, emptied before every story."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from onelane import ContactQueue, Intent, WaitTimeout
from onelane_sandbox.client import SandboxControl
from onelane_worker.cli import _local_stack as local
from onelane_worker.cli._local_stack import LocalStack, Program
from onelane_worker.cli.demo.find_then_create import FindThenCreate
from onelane_worker.cli.demo.judge import Verdict, Watch
from onelane_worker.cli.demo.stories import Story

PATIENCE_S = 30.0
"""Longest wait for an outcome. No story needs a third of it."""
_LOOK_UP_S = 0.5
SETTINGS = {
    "HTTP_TIMEOUT_S": "2",
    "WRITE_TAIL_S": "1",
    "SEND_GRACE_S": "0.5",
    "NEW_REDIS": "true",
}
"""The sandbox is on this machine: a call that is not answered in two seconds will not be. So a lost answer
costs seconds here instead of half a minute. The settle window and all other settings are the defaults."""

Step = Sequence[Intent]
Side = Callable[[Step], None]


def play(story: Story, sandbox: SandboxControl, side: Side, index_lag_s: float) -> Verdict:
    """One story by one side, in an empty workspace."""
    sandbox.reset()
    sandbox.lag(index_lag_s if story.max_lag_s is None else min(index_lag_s, story.max_lag_s))
    story.before(sandbox)
    sandbox.clear_requests()
    with Watch(sandbox, story.people) as watch:
        for number, step in enumerate(story.steps, 1):
            if number == len(story.steps):
                watch.last_step_begins()
            side(step)
    return watch.verdict()


@contextmanager
def find_then_create(sandbox: SandboxControl) -> Iterator[Side]:
    """The side that writes to Intercom at once, each intent in a thread of its own."""
    client = FindThenCreate(sandbox)
    with ThreadPoolExecutor() as threads:
        yield lambda step: _all(threads, client.apply, step)


@contextmanager
def onelane(redis_url: str, stack: LocalStack, worker: Program) -> Iterator[Side]:
    """The side that enqueues, and its worker writes. Raises `ChildFailed` if that does not come to an end."""
    with ContactQueue.from_url(redis_url) as queue, ThreadPoolExecutor() as threads:

        def apply(intent: Intent) -> None:
            receipt = queue.enqueue(intent)
            until = time.monotonic() + PATIENCE_S
            while time.monotonic() < until:
                with suppress(WaitTimeout):
                    queue.wait(receipt.id, _LOOK_UP_S)
                    return
                stack.check()
            raise worker.failed(f"left {intent.kind} without an outcome for {PATIENCE_S:g} s")

        yield lambda step: _all(threads, apply, step)


def _all(threads: ThreadPoolExecutor, apply: Callable[[Intent], None], step: Step) -> None:
    for done in [threads.submit(apply, intent) for intent in step]:
        done.result()


def start_worker(stack: LocalStack, directory: Path, intercom_url: str) -> tuple[Program, str]:
    """Begin to start Onelane's side: an embedded Valkey, whose URL is returned, and a worker process."""
    redis_url = local.start_valkey(stack, local.free_port(), directory, local.IN_MEMORY)
    where = {"REDIS_URL": redis_url, "INTERCOM_URL": intercom_url, "INTERCOM_TOKEN": local.SANDBOX_TOKEN}
    return local.start_worker(stack, local.environment(**SETTINGS, **where)), redis_url
