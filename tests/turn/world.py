"""A world without processes: real scripts, real planner and turn loop, the sandbox's rules, one thread.

Turns that are published wait in a list; `run` serves them as a worker would, until nothing is left that may
be done now. Time at Intercom is the world's own (`now`), so an index can lag for as long as a test likes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

from onelane.turns import Turn
from onelane_worker.breaker import Breaker, BulkBreaker
from onelane_worker.ending import Row
from onelane_worker.lease import Heartbeat
from onelane_worker.performer import Performer
from onelane_worker.turn import Dependencies, Timing, serve
from redis import Redis

from onelane import ContactQueue, Outcome, Receipt, keyspace
from onelane.settings import QueueSettings
from onelane_sandbox.rules import Request, Sandbox
from onelane_worker.intercom.wire import to_reply, to_request
from onelane_worker.lanes.model import LaneSettings
from onelane_worker.lanes.store import LaneStore
from onelane_worker.planner import operations as op
from onelane_worker.planner.policy import Policy

TIMING = Timing(
    lease_s=5,
    slice_s=60,
    slice_intents=50,
    max_attempts=20,
    max_kills=3,
    backoff_base_s=0.001,
    backoff_cap_s=0.002,
    parked_retry_s=0.001,
)


class Published:
    """Stands where the broker would: keeps the turns."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []

    def publish(self, turns: list[Turn]) -> bool:
        self.turns += turns
        return True

    def close(self) -> None:
        pass


class Seen:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, Any]] = []

    def ended(self, row: Row, outcome: Outcome) -> None:
        self.events.append(("ended", row.id, outcome))

    def buried(self, row: Row, outcome: Outcome, problem: op.Problem) -> None:
        self.events.append(("buried", row.id, outcome))

    def put_back(self, row: Row, problem: op.Problem, state: str, delay_s: float) -> None:
        self.events.append(("put_back", row.id, (problem, state, delay_s)))


@dataclass
class DirectGateway:
    """The gateway without a network: requests go straight into the sandbox's rules.

    `meddle` may replace the reply of a call, before or after it takes effect.
    """

    sandbox: Sandbox
    clock: Callable[[], float]
    before: Callable[[op.Operation], op.Reply | None] = lambda operation: None
    after: Callable[[op.Operation, op.Reply], op.Reply] = lambda operation, reply: reply
    on_record: Callable[[op.Operation], None] = lambda operation: None
    calls: list[op.Operation] = field(default_factory=list)

    def perform(
        self,
        operation: op.Operation,
        *,
        now_ms: Callable[[], int],
        send_by: float | None = None,
        deadline: float | None = None,
        before_send: Callable[[], float] | None = None,
    ) -> op.Reply:
        if before_send is not None:
            before_send()
            self.on_record(operation)
        self.calls.append(operation)
        instead = self.before(operation)
        if instead is not None:
            return instead
        wire = to_request(operation)
        path, _, query = wire.path.partition("?")
        request = Request.of(wire.method, path, wire.json, query=dict(parse_qsl(query)))
        response = self.sandbox.handle(request, self.clock())
        content = response.content
        reply = to_reply(operation, response.status, response.headers, content, now_ms(), wall_s=self.clock())
        return self.after(operation, reply)


class NoLimit:
    """A limiter that never makes anyone wait; remembers the throttles it was told."""

    def __init__(self) -> None:
        self.throttles: list[float] = []

    def acquire(self, max_wait_s: float = 0.0) -> float | None:
        return None

    def throttle(self, wait_s: float) -> None:
        self.throttles.append(wait_s)


class World:
    """Producers, one worker and Intercom."""

    def __init__(
        self,
        redis: Redis,
        *,
        timing: Timing = TIMING,
        policy: Policy | None = None,
        breaker_pause_ms: int = 1,
    ) -> None:
        self.redis = redis
        self.now = 1_800_000_000.0
        self.sandbox = Sandbox(index_lag=3600.0)
        self.gateway = DirectGateway(self.sandbox, lambda: self.now)
        self.limiter = NoLimit()
        self.broker = Published()
        self.queue = ContactQueue(QueueSettings(), redis=redis, publisher=self.broker)  # type: ignore[arg-type]
        self.seen = Seen()
        self.store = LaneStore(redis, LaneSettings(lease_ms=int(timing.lease_s * 1000)))
        performer = Performer(self.store, self.gateway, self.limiter, commit_ms=0, send_grace_s=1)
        self.deps = Dependencies(
            store=self.store,
            breaker=Breaker(redis, calls=5, lanes=3, pause_ms=breaker_pause_ms),
            bulk=BulkBreaker(redis, rejections=5, pause_ms=breaker_pause_ms),
            performer=performer,
            heartbeat=Heartbeat(self.store, 1.5, 120),
            publish=lambda turn: self.broker.turns.append(turn),
            policy=policy or Policy(),
            timing=timing,
        )

    def close(self) -> None:
        self.deps.heartbeat.stop()

    def enqueue(self, *intents: Any) -> list[Receipt]:
        return [self.queue.enqueue(intent) for intent in intents]

    def do(self, intent: Any) -> Outcome:
        """Enqueue one intent and work until it has ended."""
        receipt = self.queue.enqueue(intent)
        self.run_until(lambda: self.outcome(receipt) is not None)
        outcome = self.outcome(receipt)
        assert outcome is not None
        return outcome

    def outcome(self, receipt: Receipt) -> Outcome | None:
        status = self.queue.status(receipt.id)
        return None if status is None else status.outcome

    def run(self) -> None:
        """Serve every turn that waits now, and those that come of it."""
        while self.broker.turns:
            turn = self.broker.turns.pop(0)
            serve(self.deps, turn.lane, turn.queue, turn.seq, self.seen)

    def tick(self) -> None:
        """What the due timer does: hand out the lanes whose time has come."""
        for partition in keyspace.PARTITIONS:
            self.broker.turns += self.store.hand_out(partition, 100, {})

    def run_until(self, done: Callable[[], bool]) -> None:
        """Serve and tick until `done`; gives up after many rounds without a word of success."""
        for _ in range(2_000):
            self.run()
            if done():
                return
            self.tick()
        raise AssertionError("the world came to no end")

    def contacts(self, email: str) -> list[dict[str, Any]]:
        """The live contacts of an address, as they truly are."""
        return [
            contact
            for contact in self.sandbox.contacts()
            if contact["email"] == email and not (contact["archived"] or contact["deleted"])
        ]

    def seed(self, **body: Any) -> dict[str, Any]:
        """Somebody else makes a contact."""
        response = self.sandbox.handle(Request.of("POST", "/contacts", body), self.now)
        assert response.status == 200, response.body
        return dict(response.body)

    def attributes(self, *names: str) -> None:
        """Make string attributes."""
        for name in names:
            body = {"name": name, "model": "contact", "data_type": "string"}
            response = self.sandbox.handle(Request.of("POST", "/data_attributes", body), self.now)
            assert response.status == 200, response.body

    def calls(self) -> list[str]:
        """Names of the operations performed since the last look."""
        names = [type(operation).__name__ for operation in self.gateway.calls]
        self.gateway.calls.clear()
        return names

    def open_write(self, lane: str) -> dict[str, Any] | None:
        view = self.store.describe(lane)
        return None if view.open_write is None else dict(json.loads(view.open_write))
