"""Playing the stories: each side in turn has the sandbox to itself, emptied before every story."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from onelane import ContactQueue, Intent, WaitTimeout
from onelane_sandbox.client import SandboxControl
from onelane_worker.cli import stack
from onelane_worker.cli.demo.find_then_create import FindThenCreate
from onelane_worker.cli.demo.judge import Verdict, Watch
from onelane_worker.cli.demo.stories import Story
from onelane_worker.cli.processes import Child, Children

PATIENCE_S = 30.0
"""Longest wait for an outcome. No story needs a third of it."""
_LOOK_UP_S = 0.5
SETTINGS = {
    "ONELANE_HTTP_TIMEOUT_S": "2",
    "ONELANE_WRITE_TAIL_S": "1",
    "ONELANE_SEND_GRACE_S": "0.5",
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
def onelane(redis_url: str, stage: Children, worker: Child) -> Iterator[Side]:
    """The side that enqueues, and its worker writes. Raises `ChildFailed` if that does not come to an end."""
    with ContactQueue.from_url(redis_url) as queue, ThreadPoolExecutor() as threads:

        def apply(intent: Intent) -> None:
            receipt = queue.enqueue(intent)
            until = time.monotonic() + PATIENCE_S
            while time.monotonic() < until:
                with suppress(WaitTimeout):
                    queue.wait(receipt.id, _LOOK_UP_S)
                    return
                stage.check()
            raise worker.failed(f"left {intent.kind} without an outcome for {PATIENCE_S:g} s")

        yield lambda step: _all(threads, apply, step)


def _all(threads: ThreadPoolExecutor, apply: Callable[[Intent], None], step: Step) -> None:
    for done in [threads.submit(apply, intent) for intent in step]:
        done.result()


def start_worker(children: Children, directory: Path, intercom_url: str) -> tuple[Child, str]:
    """Begin to start Onelane's side: an embedded Valkey, whose URL is returned, and a worker process."""
    port = stack.any_free_port()
    valkey, redis_url = stack.start_valkey(children, port, directory), stack.redis_url(port)
    children.wait_until(lambda: stack.redis_answers(redis_url), valkey)
    env = stack.without_onelane_settings() | SETTINGS
    env |= {"ONELANE_REDIS_URL": redis_url}
    env |= {"ONELANE_INTERCOM_URL": intercom_url, "ONELANE_INTERCOM_TOKEN": stack.SANDBOX_TOKEN}
    return stack.start_worker(children, env), redis_url
