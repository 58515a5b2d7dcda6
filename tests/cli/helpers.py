"""Shared by the tests of the command line: what a command left behind, and a worker's part by hand."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from onelane_worker.lanes.model import Grant
from onelane_worker.lanes.store import LaneStore


@dataclass(frozen=True)
class Ended:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its one JSON document."""
        [document] = self.lines
        return document

    @property
    def lines(self) -> list[Any]:
        """Its JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


Onelane = Callable[..., Ended]


@dataclass
class Hand:
    """Does to lanes by hand what a worker would."""

    store: LaneStore
    steps: int = 0

    def step(self) -> str:
        """A new token, or the name of a new step."""
        self.steps += 1
        return f"step{self.steps}"

    def claim(self, lane: str) -> Grant:
        grant = self.store.claim(lane, "interactive", 0, self.step())
        assert isinstance(grant, Grant), grant
        return grant

    def postpone(self, lane: str, state: Any, error: Any = None, delay_ms: int = 60_000, **more: Any) -> None:
        options: dict[str, Any] = {"count_attempt": True, "unknown_write": False, "yields": False, **more}
        text = None if error is None else json.dumps(error)
        self.store.postpone(self.claim(lane), self.step(), delay_ms, state, text, **options)

    def settle(self, lane: str, outcome: Any, belief: Any = None, memory: Any = None) -> None:
        grant = self.claim(lane)
        ended = [(intent.id, json.dumps(outcome)) for intent in grant.intents]
        known = [None if part is None else json.dumps(part) for part in (belief, memory)]
        self.store.settle(grant, self.step(), ended, *known, want_more=False)

    def bury(self, lane: str, error: Any) -> None:
        outcome = {
            "result": "rejected",
            "reason": error["class"],
            "message": error.get("message"),
            "calls": 1,
        }
        self.store.bury(
            self.claim(lane), self.step(), json.dumps(error), json.dumps(outcome), want_more=False
        )


def sessions_of(pid: int) -> set[int]:
    """The processes that it has started: each leads a session of its own."""
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return {int(word) for word in found.stdout.split()}


def is_alive(session: int) -> bool:
    found = subprocess.run(["ps", "-o", "stat=", "-s", str(session)], capture_output=True, text=True)
    return any(not one.startswith("Z") for one in found.stdout.split())
