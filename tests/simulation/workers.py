"""Workers, and the broker that brings them turns: the product's own code on simulated ground."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

import onelane_worker.turn
from onelane.keyspace import QueueName
from onelane.turns import Turn
from onelane_worker.breaker import Breaker
from onelane_worker.lease import Heartbeat, Lease
from onelane_worker.performer import Performer
from onelane_worker.timer import DueTimer
from onelane_worker.turn import Dependencies, Timing
from redis.exceptions import RedisError

from onelane import keyspace
from onelane_worker import services
from onelane_worker.lanes.model import LaneSettings
from onelane_worker.lanes.store import LaneStore
from onelane_worker.planner.policy import Policy
from onelane_worker.settings import Settings

from .intercom import HTTP_TIMEOUT_S, SEND_GRACE_S, WRITE_TAIL_S, Gateway, Intercom
from .network import Faults, Network
from .scheduler import Process, Scheduler
from .script import Conditions
from .servers import Client, Server

RENEW_S = 1.5
MAX_HOLD_S = 120.0
TIMER_S = 0.5


@dataclass(frozen=True)
class Knobs:
    """The product's own reading of the settings."""

    lanes: LaneSettings
    policy: Policy
    timing: Timing
    commit_ms: int
    breaker_calls: int
    breaker_lanes: int
    breaker_pause_ms: int


@cache
def knobs(
    settle_window_s: float,
    lost_after_turns: int,
    slice_intents: int,
    fold_max: int,
    newsletter_types: tuple[str, ...],
    max_kills: int,
) -> Knobs:
    settings = Settings(
        unchanged_ttl_s=7 * 86_400,  # a history is judged at its end
        settle_window_s=settle_window_s,
        settle_margin_s=30,
        registry_ttl_s=settle_window_s + 30,
        lost_after_turns=lost_after_turns,
        slice_intents=slice_intents,
        fold_max=fold_max,
        newsletter_subscription_types=newsletter_types,
        max_kills=max_kills,
        http_timeout_s=HTTP_TIMEOUT_S,
        write_tail_s=WRITE_TAIL_S,
        send_grace_s=SEND_GRACE_S,
    )
    return Knobs(
        services.lane_settings(settings),
        services.policy(settings),
        services.timing(settings),
        settings.commit_ms,
        settings.breaker_calls,
        settings.breaker_lanes,
        round(settings.parked_retry_s * 1000),
    )


def knobs_of(conditions: Conditions) -> Knobs:
    return knobs(
        conditions.settle_window_s,
        conditions.lost_after_turns,
        conditions.slice_intents,
        conditions.fold_max,
        conditions.newsletter_types,
        conditions.max_kills,
    )


class NoLimit:
    """A limiter that never makes anyone wait."""

    def acquire(self, max_wait_s: float = 0.0) -> float | None:
        return None

    def throttle(self, wait_s: float) -> None: ...


class Nobody:
    """An observer that looks away."""

    def ended(self, *_: Any) -> None: ...

    buried = put_back = ended


class VirtualHeartbeat(Heartbeat):
    """The real renewals, on virtual time in place of a thread's."""

    def __init__(self, scheduler: Scheduler, process: Process, store: LaneStore) -> None:
        super().__init__(store, RENEW_S, MAX_HOLD_S, lambda: scheduler.now)
        self._scheduler = scheduler
        self._process = process

    @contextmanager
    def hold(self, lease: Lease) -> Iterator[Lease]:
        self._leases[lease] = self._scheduler.now + MAX_HOLD_S
        self._scheduler.after(RENEW_S, lambda: self._beat(lease))
        try:
            yield lease
        finally:
            self._leases.pop(lease, None)

    def _beat(self, lease: Lease) -> None:
        if not self._process.alive or self._scheduler.now >= self._leases.get(lease, 0.0):
            return
        self._scheduler.spawn(self._process, lambda: self._renew(lease), "heartbeat")
        self._scheduler.after(RENEW_S, lambda: self._beat(lease))


class Worker:
    """One process: its turns, its heartbeat, its due timer."""

    def __init__(
        self,
        number: int,
        conditions: Conditions,
        scheduler: Scheduler,
        server: Server,
        network: Network,
        intercom: Intercom,
        broker: Broker,
    ) -> None:
        self.number = number
        self.process = Process(f"worker{number}")
        self.free = conditions.slots
        self.turns: list[Turn] = []
        settings, clock = knobs_of(conditions), lambda: scheduler.now
        redis: Any = Client(server, network, self.process)
        store = LaneStore(redis, settings.lanes)
        breaker = Breaker(
            redis,
            calls=settings.breaker_calls,
            lanes=settings.breaker_lanes,
            pause_ms=settings.breaker_pause_ms,
        )
        performer = Performer(
            store,
            Gateway(intercom, self.process),
            NoLimit(),
            commit_ms=settings.commit_ms,
            send_grace_s=SEND_GRACE_S,
            clock=clock,
        )
        self._dependencies = Dependencies(
            store=store,
            breaker=breaker,
            performer=performer,
            heartbeat=VirtualHeartbeat(scheduler, self.process, store),
            publish=broker.publish,
            policy=settings.policy,
            timing=settings.timing,
            clock=clock,
            sleep=scheduler.sleep,
        )
        self.timer = DueTimer(store, breaker.look, broker.publish, broker.lengths, TIMER_S)

    def serve(self, turn: Turn) -> None:
        """One turn, as a Celery task does it."""
        with suppress(RedisError):  # the task is told to come again; the lane was given back
            onelane_worker.turn.serve(self._dependencies, turn.lane, turn.queue, turn.seq, Nobody())
        self.turns.remove(turn)
        self.free += 1

    def look(self) -> None:
        """One tick of the due timer."""
        with suppress(RedisError):
            self.timer.tick()


class Broker:
    """Turns on their way. It loses, doubles and delays them as the script says."""

    def __init__(
        self, scheduler: Scheduler, faults: Faults, dice: Random, dispatch: Callable[[], None], note: Any
    ) -> None:
        self._scheduler = scheduler
        self._faults = faults
        self._dice = dice
        self._dispatch = dispatch
        self._note = note
        self.waiting: list[Turn] = []

    def publish(self, turn: Turn) -> None:
        fault = self._faults.strike("turn", self._scheduler.now)
        kind = fault.kind if fault else ""
        self._note("turn", turn.lane[:6], turn.queue, turn.seq, kind or "sent")
        if kind == "lost":
            return
        if kind not in ("late", "doubled_late"):
            self._deliver(turn, 0.0)
        if kind in ("late", "doubled", "doubled_late") and fault is not None:
            self._deliver(turn, 0.0 if kind == "doubled" else fault.delay_s)
        if kind == "doubled_late":
            self._deliver(turn, 0.0)

    def _deliver(self, turn: Turn, delay_s: float) -> None:
        self._scheduler.after(delay_s + self._dice.uniform(0.001, 0.02), lambda: self.put(turn))

    def put(self, turn: Turn) -> None:
        """The turn has arrived, or has come back from a worker that died."""
        self.waiting.append(turn)
        self._dispatch()

    def take(self) -> Turn:
        """The next turn: interactive ones first."""
        chosen = next((turn for turn in self.waiting if turn.queue == keyspace.INTERACTIVE), self.waiting[0])
        self.waiting.remove(chosen)
        return chosen

    def lengths(self) -> dict[QueueName, int]:
        """How many turns wait in each queue."""
        return {queue: sum(turn.queue == queue for turn in self.waiting) for queue in keyspace.QUEUES}
