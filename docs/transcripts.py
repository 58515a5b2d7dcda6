"""Fill in what docs/operating.md shows of the commands: `python docs/transcripts.py`, run by hand; a minute.

A whole Onelane is started (an embedded Valkey, the sandbox, a Celery worker), things go wrong in it, and the
commands are typed into a terminal of 100 columns (tmux must be there). What stood on the screen is what the
page shows; another run differs in ids and times only.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from build import filled

from onelane import ContactQueue, Intent, LeadCapture, NewsletterOptIn, ProductSignUp, Receipt
from onelane_sandbox.client import SandboxControl
from onelane_sandbox.serve import RunningSandbox
from onelane_worker.cli import _local_stack as local
from onelane_worker.cli._local_stack import LocalStack, Program

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "operating.md"
COLUMNS, ROWS = 100, 200
PATIENCE_S = 90.0
INDEX_LAG_S = "2"
REDIS_PORT, SANDBOX_PORT = 6379, 8089
EVERYSEC = {"appendonly": "yes", "appendfsync": "everysec", "save": ""}
WORKER_NAME = "onelane-1@worker-1"  # nobody cares what this machine is called


def wait_until(condition: Callable[[], Any], what: str) -> Any:
    """The condition's first true value."""
    until = time.monotonic() + PATIENCE_S
    while not (value := condition()):
        if time.monotonic() > until:
            sys.exit(f"not within {PATIENCE_S:g} s: {what}")
        time.sleep(0.05)
    return value


class Terminal:
    """A shell in a terminal of its own, in which `onelane` is this source tree's."""

    def __init__(self, directory: Path, settings: Mapping[str, str]) -> None:
        self._ended = directory / "ended"
        shim = directory / "bin" / "onelane"
        shim.parent.mkdir()
        shim.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m onelane_worker "$@"\n')
        shim.chmod(0o755)
        self._rc = directory / "bashrc"
        self._rc.write_text(f"PS1='$ '\nPROMPT_COMMAND='touch {shlex.quote(str(self._ended))}'\n")
        self._env = {
            **local.environment(),
            **settings,
            "PATH": f"{shim.parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "NO_COLOR": "1",
            "PYTHONWARNINGS": "ignore",  # Celery's, if root makes the page
            "TZ": "UTC",
            "LC_ALL": "C.UTF-8",
        }

    def __enter__(self) -> Terminal:
        size = ("-x", str(COLUMNS), "-y", str(ROWS))
        shell = f"bash --noprofile --rcfile {shlex.quote(str(self._rc))} -i"
        self._tmux("-f", os.devnull, "new-session", "-d", *size, shell)
        wait_until(self._is_at_prompt, "a prompt")
        return self

    def __exit__(self, *_: object) -> None:
        self._tmux("kill-server")

    def shows(self, command: str, answers: Mapping[str, str]) -> str:
        """Type the command, answer what it asks, and read the screen when it has ended."""
        self.run("clear")
        self._ended.unlink(missing_ok=True)
        self._type(command)
        for question, answer in answers.items():
            wait_until(lambda question=question: question in self._screen(), question)
            self._type(answer)
        wait_until(self._is_at_prompt, command)
        lines = [line.rstrip() for line in self._screen().splitlines()]
        return "\n".join(lines).strip().removesuffix("\n$")

    def run(self, command: str) -> None:
        """Type the command, and wait for its end."""
        self._ended.unlink(missing_ok=True)
        self._type(command)
        wait_until(self._is_at_prompt, command)

    def _is_at_prompt(self) -> bool:
        """The command has ended, and the next would not be typed before the prompt is there."""
        return self._ended.exists() and self._screen().rstrip().endswith("$")

    def _type(self, line: str) -> None:
        self._tmux("send-keys", "-l", line)
        self._tmux("send-keys", "Enter")

    def _screen(self) -> str:
        return self._tmux("capture-pane", "-p", "-J")

    def _tmux(self, *words: str) -> str:
        command = ["tmux", "-L", "onelane-docs", *words]
        done = subprocess.run(command, env=self._env, capture_output=True, text=True, check=True)
        return done.stdout


@dataclass
class World:
    """What the commands look at."""

    queue: ContactQueue
    sandbox: SandboxControl
    terminal: Terminal
    worker: Program
    told: dict[str, str] = field(default_factory=dict)

    def show(self, marker: str, *commands: str, answers: Mapping[str, str] | None = None) -> None:
        """Run commands on the screen, and keep what it shows under the marker."""
        print(f"  {marker}", file=sys.stderr)
        screens = [self.terminal.shows(command, answers or {}) for command in commands]
        self.told[marker] = "\n\n".join(screens)

    def enqueue(self, intent: Intent) -> str:
        """Its id."""
        receipt: Receipt = self.queue.enqueue(intent)
        return receipt.id

    def end(self, intent: Intent) -> str:
        """Its id, once it has ended."""
        id_ = self.enqueue(intent)
        self.queue.wait(id_, PATIENCE_S)
        return id_

    def state(self, id_: str, *states: str) -> None:
        """Wait until the intent is in one of the states."""
        wait_until(lambda: getattr(self.queue.status(id_), "state", None) in states, f"{states}")

    def contact(self, **body: str) -> None:
        """What somebody else makes, past all lanes."""
        status, answer = self.sandbox.call("POST", "/contacts", body)
        assert status == 200, answer


# ── what goes wrong, and what one looks at ────────────────────────────────────────────────────────────────


def a_poison_intent(world: World) -> None:
    """Leads name a custom attribute that the workspace does not have; another intent is a test entry."""
    first = world.end(LeadCapture(email="bob@example.test", name="Bob", custom_attributes={"plan": "pro"}))
    world.end(LeadCapture(email="cleo@example.test", name="Cleo", custom_attributes={"plan": "free"}))
    test = world.end(
        ProductSignUp(email="test@example.test", external_id="0", custom_attributes={"shoe_size": 44})
    )
    world.end(LeadCapture(email="bob@example.test", name="Robert"))
    world.show("status", f"onelane status {first}")
    world.show("status-json", f"onelane status {first} --json | python -m json.tool")
    world.show(
        "dead-list", "onelane dead list", "onelane dead list --kind lead-capture --newer-than 2h --limit 1"
    )
    world.show("dead-show", f"onelane dead show {first}")
    created = world.sandbox.call(
        "POST", "/data_attributes", {"name": "plan", "model": "contact", "data_type": "string"}
    )
    assert created[0] == 200, created
    words = "--error parameter_invalid --kind lead-capture"
    world.show("dead-replay-dry-run", f"onelane dead replay {words} --dry-run")
    question = {"Replay 2 dead letters?": "y"}
    reason = "--reason 'the attribute plan exists now'"
    world.show("dead-replay", f"onelane dead replay {words} {reason}", answers=question)
    world.state(first, "done")
    discard = f"onelane dead discard {test} --reason 'entered as a test' --yes"
    world.show("dead-discard", discard, f"onelane status {test}")
    world.show("lane-replayed", "onelane lane bob@example.test")


def a_lost_answer(world: World) -> str:
    """A lead is created, and the answer never comes; a long call keeps a worker busy."""
    world.sandbox.fault("lose_response", method="POST", path="^/contacts$")
    dora = world.enqueue(NewsletterOptIn(email="dora@example.test", name="Dora"))
    world.state(dora, "reconciling")
    for name in ("Dora Ray", "Dora Ray-Lee"):
        world.enqueue(LeadCapture(email="dora@example.test", name=name))
    world.sandbox.fault("slow", path="^/contacts/search$", seconds=10)
    eric = world.enqueue(LeadCapture(email="eric@example.test", name="Eric"))
    world.state(eric, "working")
    world.show("lanes", "onelane lanes")
    world.show("lane-held", "onelane lane dora@example.test")
    world.state(eric, "done")
    return dora


def people_twice(world: World) -> None:
    """A browser SDK makes a user beside a lead; a colleague makes two leads."""
    world.contact(role="lead", email="fay@example.test")
    world.contact(role="user", email="fay@example.test", external_id="f-1")
    for _ in range(2):
        world.contact(role="lead", email="gus@example.test")
    world.sandbox.catch_up()
    world.show("repair-dry-run", "onelane repair --dry-run")


def a_pause(world: World) -> None:
    """Somebody needs Intercom's budget for something else."""
    world.show("pause", "onelane pause --reason 'nightly import'")
    held = world.enqueue(LeadCapture(email="hal@example.test", name="Hal"))
    world.show("lanes-paused", "onelane lanes")
    world.show("repair-paused", "onelane repair")
    world.show("doctor", "onelane doctor")
    world.show("resume", "onelane resume")
    world.state(held, "done")


def after_all(world: World, dora: str) -> None:
    """What was in doubt is known; what can be merged is merged."""
    world.state(dora, "done")
    world.show("lane", f"onelane lane {dora}")
    world.show("repair", "onelane repair", answers={"It cannot be undone.": "y"})
    world.sandbox.catch_up()
    world.show("repair-json", "onelane repair --dry-run --json | python -m json.tool")
    away = "ONELANE_REDIS_URL=redis://127.0.0.1:1/0 onelane lanes --json"
    world.show("failed", "onelane lane nobody@example.test", away)


def another_workspace(world: World) -> None:
    """Somebody changes the token, by mistake and then on purpose."""
    world.show("workspace-show", "onelane workspace show")
    with RunningSandbox(seed=1) as other:
        world.terminal.run(f"export ONELANE_INTERCOM_URL={other.url}")
        world.show("workspace-refused", "onelane worker > /dev/null")
        world.worker.stop(PATIENCE_S)
        world.enqueue(LeadCapture(email="ida@example.test"))
        world.show("workspace-move", "onelane workspace move", answers={"It cannot be undone.": "y"})


def play(world: World) -> None:
    """The whole of it."""
    a_poison_intent(world)
    a_pause(world)
    dora = a_lost_answer(world)
    people_twice(world)
    after_all(world, dora)
    another_workspace(world)


# ── the stack ─────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def started() -> Iterator[World]:
    """Everything that `onelane up` starts, but for Flower."""
    with tempfile.TemporaryDirectory(prefix="onelane-docs-") as place:
        directory = Path(place)
        sandbox = local.http_url(SANDBOX_PORT)
        settings = {
            "ONELANE_REDIS_URL": local.redis_url(REDIS_PORT),
            "ONELANE_INTERCOM_URL": sandbox,
            "ONELANE_INTERCOM_TOKEN": local.SANDBOX_TOKEN,
            "ONELANE_SETTLE_CHECK": "false",  # one more line in every timeline, ten minutes later
            "ONELANE_NEW_REDIS": "true",  # nothing can have been lost: no failover hold at the start
        }
        with LocalStack(directory) as stack:
            redis = local.start_valkey(stack, REDIS_PORT, directory, EVERYSEC)
            child = local.start_sandbox(stack, SANDBOX_PORT, INDEX_LAG_S)
            stack.wait_until(lambda: local.sandbox_answers(sandbox), child)
            worker = local.start_worker(stack, local.environment() | settings, "--name", WORKER_NAME)
            stack.wait_until(lambda: local.is_ready(worker), worker)
            queue = ContactQueue.from_url(redis)
            with queue, Terminal(directory, settings) as terminal:
                yield World(queue, SandboxControl(sandbox), terminal, worker)


def main() -> None:
    text = PAGE.read_text()
    with started() as world:
        play(world)
    for marker, screen in world.told.items():
        if f"<!-- {marker} -->" not in text:
            sys.exit(f"{PAGE.name} has no place for {marker}")
        text = filled(text, marker, f"```console\n{screen}\n```")
    PAGE.write_text(text)


if __name__ == "__main__":
    main()
