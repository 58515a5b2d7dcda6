"""Shared by the tests of the command line: what a command left behind, and a worker's part by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from redis import Redis
from tests.blocking import AllScripts, finish

from onelane import LeadCapture, QueueSettings
from onelane.email_address import normalise_email
from onelane.keys import READY_CLASSES, Keys
from onelane.submission import prepare
from onelane.workspace import Workspace, open_calls, opened
from onelane_worker.lanes.store import Script, Word
from onelane_worker.lanes.types import KEEP, Check, Grant, LaneSettings, Part, Step, StoredEntry
from onelane_worker.lanes.types import Ended as EndedIntent


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


class _Client:
    """A client of the lanes that does not wait in an event loop."""

    def __init__(self, redis: Redis) -> None:
        self._redis: Any = redis

    async def run(self, script: Script, key: str, args: Sequence[Word]) -> Any:
        return self._redis.eval(script.text, 1, key, *args)

    async def read(self, *command: Word) -> Any:
        return self._redis.execute_command(*command)


class Hand:
    """Does to lanes by hand what a worker would. Its claims begin no failover hold."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        self._steps = count(1)
        self._numbers = count(1)

    @property
    def keys(self) -> Keys:
        return Keys()

    @property
    def workspace(self) -> Workspace:
        pipe: Any = self.redis.pipeline(transaction=False)
        for command in open_calls(self.keys):
            pipe.execute_command(*command)
        return opened(self.keys.workspace, pipe.execute())

    @property
    def store(self) -> AllScripts:
        settings = LaneSettings(new_redis=True, requests_per_10s=100_000)
        return AllScripts(_Client(self.redis), self.workspace, settings)

    def lane(self, email: str) -> str:
        """The lane of an address."""
        return self.workspace.lane(normalise_email(email))

    def alive(self, name: str = "onelane-1@box", id_: str = "e1") -> None:
        """A worker's timer ticks."""
        finish(self.store.tick(id_, name, ()))

    def gone(self) -> None:
        """No worker has ticked for long."""
        self.redis.delete(self.keys.key("engines"))

    def submit(self, email: str) -> str:
        """A producer's intent; its id."""
        settings = QueueSettings()
        submission = prepare(LeadCapture(email=email))
        args = submission.arguments(self.workspace, settings)
        told: Any = finish(self.store.submit(*args))
        return str(told[1])

    def claim(self, email: str) -> Grant:
        """Take this lane, which must be ready, before all others."""
        lane = self.lane(email)
        for name in READY_CLASSES:
            self.redis.zadd(self.keys.key("ready", name), {lane: 0}, xx=True)
        claimed = finish(self.store.claim("e1", self._next_claim(), 1, suspects=(4, 0), wakes=0, in_hand=1))
        [grant] = claimed.grants
        assert grant.lane == lane
        return grant

    def claim_nothing(self) -> None:
        """A claim that finds no lane to grant: those that are ready are parked where they belong."""
        claimed = finish(self.store.claim("e1", self._next_claim(), 16, suspects=(4, 0), wakes=0, in_hand=16))
        assert claimed.grants == ()

    def _next_claim(self) -> int:
        number: Any = self.redis.hget(self.keys.key("engine", "e1"), "number")
        return int(number or 0) + 1

    def step(self, grant: Grant) -> Step:
        return Step(grant.lane, grant.token, grant.fence, next(self._steps))

    def checkpoint(self, grant: Grant, open_write: str, journal: Part = KEEP) -> None:
        """Record a write."""
        finish(self.store.checkpoint(self.step(grant), open_write=open_write, journal=journal))

    def postpone(
        self,
        email: str,
        state: Any,
        error: Any = None,
        delay_ms: int = 60_000,
        *,
        grant: Grant | None = None,
        **more: Any,
    ) -> None:
        text: Part = None if error is None else json.dumps(error)
        options: dict[str, Any] = {"counted": True, "unknown": False, **more}
        step = self.step(grant or self.claim(email))
        finish(self.store.postpone(step, delay_ms, state, error=text, **options))

    def settle(
        self,
        email: str,
        outcome: Any,
        registry: Any = None,
        consent: Any = None,
        *,
        grant: Grant | None = None,
        timeline: Sequence[str] = (),
        check: Check | None = None,
    ) -> None:
        grant = grant or self.claim(email)
        ended = [EndedIntent(intent.id, json.dumps(outcome)) for intent in grant.intents]
        entry = None if registry is None else StoredEntry(json.dumps(registry))
        finish(
            self.store.settle(
                self.step(grant),
                ended,
                registry=entry,
                consent=None if consent is None else json.dumps(consent),
                timeline=timeline,
                check=check,
            )
        )

    def bury(
        self,
        email: str,
        error: Any,
        consent: Any = None,
        timeline: Sequence[str] = (),
    ) -> None:
        grant = self.claim(email)
        outcome = {
            "result": "rejected",
            "reason": error["class"],
            "message": error.get("message"),
            "calls": 1,
        }
        finish(
            self.store.bury(
                self.step(grant),
                grant.head.id,
                json.dumps(error),
                json.dumps(outcome),
                consent=KEEP if consent is None else json.dumps(consent),
                timeline=timeline,
            )
        )

    def check_in(self, delay_ms: int) -> Check:
        """A settle check that a lane owes."""
        return Check("c" * 32, json.dumps({"kind": "settle_check", "email": "ann@example.test"}), delay_ms)

    def late(self, email: str, by_ms: int) -> None:
        """The lane became due so much earlier."""
        self.redis.zincrby(self.keys.key("due"), -by_ms, self.lane(email))
