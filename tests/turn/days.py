"""The same small world on a clock of its own, with the settings of production: hours pass in seconds.

The due timer, the limiter, the breaker, and all waiting times are the real ones. Intercom is the sandbox
behind its own faults, with a log of every request, so that the independent checker may judge how it went.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qsl

import time_machine
from onelane_worker.breaker import Breaker, BulkBreaker
from onelane_worker.performer import Performer
from onelane_worker.services import lane_settings, policy, timing
from onelane_worker.timer import DueTimer
from redis import Redis
from tests.checker.checker import check
from tests.checker.history import Accepted, Declared
from tests.checker.report import Report

from onelane import Outcome, Receipt, keyspace
from onelane_sandbox.rules import Request, Sandbox
from onelane_worker.intercom.limiter import Limiter
from onelane_worker.intercom.wire import to_reply, to_request
from onelane_worker.lanes.store import LaneStore
from onelane_worker.planner import operations as op
from onelane_worker.settings import Settings

from .world import World

START_S = 1_800_000_000
LAG_S = 120.0
LOOK_S = 0.5
"""The least step of the clock: how often the due timer looks."""


@dataclass(frozen=True, slots=True)
class Planned:
    """An intent that a producer will enqueue at its time (epoch seconds)."""

    at_s: float
    intent: Any


@dataclass
class FaultyGateway:
    """The gateway in front of the sandbox's faults; the network itself may be away as well."""

    sandbox: Sandbox
    network_away: Callable[[], bool] = lambda: False
    before_call: Callable[[op.Operation], None] = lambda operation: None
    before_send: Callable[[op.Operation], None] = lambda operation: None
    """The same for a write, when it is on record."""
    refused: int = 0
    """Connections that were refused."""

    def perform(
        self,
        operation: op.Operation,
        *,
        now_ms: Callable[[], int],
        send_by: float | None = None,
        deadline: float | None = None,
        before_send: Callable[[], float] | None = None,
    ) -> op.Reply:
        """See onelane_worker.intercom.gateway."""
        self.before_call(operation)
        if self.network_away():
            self.refused += 1
            return op.NotSent(op.Problem("network", message="connection refused"))
        if before_send is not None:
            before_send()
            self.before_send(operation)
        wire, started_ms, now_s = to_request(operation), now_ms(), time.time()
        path, _, query = wire.path.partition("?")
        request = Request.of(wire.method, path, wire.json, query=dict(parse_qsl(query)))
        exchange = self.sandbox.arrive(request, now_s)
        answer = self.sandbox.execute(exchange, now_s)
        self.sandbox.depart(exchange, now_s, answer)
        response = answer.response
        if response is None:
            return op.Unknown(op.Problem("network", message="connection reset"))
        return to_reply(
            operation, response.status, response.headers, response.content, started_ms, wall_s=now_s
        )


class Days(World):
    """A world that lives through hours. Time stands still unless `live` moves it."""

    def __init__(self, redis: Redis, clock: time_machine.Traveller) -> None:
        super().__init__(redis)
        settings = Settings(intercom_token="token")  # type: ignore[arg-type]  # pydantic wraps it
        self.settings = settings
        self._clock = clock
        self.sandbox = Sandbox(index_lag=LAG_S)
        self.attributes("seq")
        self.intercom = FaultyGateway(self.sandbox)
        self.store = LaneStore(redis, lane_settings(settings))
        limiter = Limiter(redis, settings.requests_per_10s, wall_s=time.time, sleep=clock.shift)
        performer = Performer(
            self.store,
            self.intercom,
            limiter,
            commit_ms=settings.commit_ms,
            send_grace_s=settings.send_grace_s,
            clock=time.time,
        )
        pause_ms = round(settings.parked_retry_s * 1000)
        self.deps = replace(
            self.deps,
            store=self.store,
            breaker=Breaker(
                redis, calls=settings.breaker_calls, lanes=settings.breaker_lanes, pause_ms=pause_ms
            ),
            bulk=BulkBreaker(redis, rejections=settings.bulk_rejections, pause_ms=pause_ms),
            performer=performer,
            policy=policy(settings),
            timing=timing(settings),
            clock=time.time,
        )
        self.timer = DueTimer(
            self.store,
            self.deps.breaker.look,
            self.broker.turns.append,
            self._waiting,
            LOOK_S,
            look_bulk=lambda: self.deps.bulk.look(),  # type: ignore[union-attr]
        )
        self.receipts: list[tuple[Receipt, Planned]] = []

    @property
    def now(self) -> float:
        """Everybody's clock."""
        return time.time()

    @now.setter
    def now(self, value: float) -> None:
        """The small world sets its own; here there is only one."""

    def live(self, until_s: float, plan: Sequence[Planned] = ()) -> None:
        """Go through the hours: enqueue what is planned, serve what is due."""
        waiting = sorted(plan, key=lambda one: one.at_s)
        while self.now < until_s:
            while waiting and waiting[0].at_s <= self.now:
                self.enqueue_now(waiting.pop(0).intent)
            self.timer.tick()
            self.run()
            times = [until_s, *(one.at_s for one in waiting[:1]), self._next_due_s()]
            self._clock.move_to(max(self.now + LOOK_S, min(times)))

    def sleep_until(self, at_s: float) -> None:
        """Let time pass in which nobody does anything."""
        self._clock.move_to(at_s)

    def enqueue_now(self, intent: Any) -> None:
        """Enqueue, and keep the receipt for the checker."""
        self.receipts.append((self.queue.enqueue(intent), Planned(self.now, intent)))

    def live_until_rest(self, within_s: float) -> float:
        """Go on until every receipt has ended; how long that took. Fails if it takes longer."""
        began = self.now
        while self.unended():
            assert self.now - began < within_s, f"not at rest after {within_s} s"
            self.live(self.now + 5)
        return self.now - began

    def attempts(self) -> dict[str, int]:
        """Attempts counted so far of what has not ended."""
        statuses = (self.queue.status(receipt.id) for receipt, _ in self.receipts)
        return {one.id: one.attempts for one in statuses if one is not None and one.outcome is None}

    def unended(self) -> int:
        """How many receipts wait for their outcome."""
        return sum(self.outcome(receipt) is None for receipt, _ in self.receipts)

    def calls_made(self) -> int:
        """Calls to Intercom so far, also those that found no connection."""
        return len(self.sandbox.requests()) + self.intercom.refused

    def judged(self) -> Report:
        """What the independent checker makes of it all."""
        ranks: dict[str, int] = {}
        accepted = []
        for receipt, planned in self.receipts:
            rank = ranks[receipt.lane] = ranks.get(receipt.lane, -1) + 1
            status = self.queue.status(receipt.id)
            outcome: Outcome | None = None if status is None else status.outcome
            intent = planned.intent.model_dump(mode="json", exclude_unset=True)
            told = None if outcome is None else outcome.model_dump()
            email, kind = planned.intent.email, planned.intent.kind
            accepted.append(Accepted(receipt.id, kind, email, intent, rank, planned.at_s, told))
        window_s = self.settings.http_timeout_s + self.settings.write_tail_s
        declared = Declared(commit_window_s=window_s)
        return check(accepted, self.sandbox.contacts(), self.sandbox.requests(), declared)

    def _waiting(self) -> dict[keyspace.QueueName, int]:
        """How many messages stand in each queue."""
        return {queue: sum(t.queue == queue for t in self.broker.turns) for queue in keyspace.QUEUES}

    def _next_due_s(self) -> float:
        """When there is something to look at again: the next trial, or the first lane that is due."""
        gate = self.deps.breaker.look()
        if gate.shut:
            return gate.next_ms / 1000
        firsts = [
            self.redis.zrange(keyspace.due(each), 0, 0, withscores=True) for each in keyspace.PARTITIONS
        ]
        return min((found[0][1] / 1000 for found in firsts if found), default=float("inf"))  # type: ignore[index]
