"""What is done to the fleet while it works. Each event is one function; `EVENTS` names them all."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from producers import keyspace
from tests.promise.history import Span

from .fleet import Fleet
from .processes import Program
from .recovery import Recovery, watch
from .scale import LEASE_S, SETTLE_WINDOW_S

RECOVERY_TIMEOUT_S = LEASE_S + 2 * SETTLE_WINDOW_S + 10
_BROKER_KEYS = (*map(keyspace.broker_queue, keyspace.QUEUES), "unacked", "unacked_index", "unacked_mutex")


@dataclass(slots=True)
class Toll:
    """What has been done so far."""

    recoveries: list[Recovery] = field(default_factory=list)
    frozen: list[Span] = field(default_factory=list)
    rollbacks: list[Span] = field(default_factory=list)
    turns_deleted: int = 0
    turns_doubled: int = 0
    crashes: list[str] = field(default_factory=list)
    """Processes that ended without having been killed."""


class Tormentor:
    """Does the events, by one stream of chance."""

    def __init__(self, fleet: Fleet, seed: int) -> None:
        self.toll = Toll()
        self._fleet = fleet
        self._dice = Random(f"torment {seed}")
        self._old_turns: list[tuple[str, dict[str, Any]]] = []

    def do(self, event: str) -> None:
        """One event of `EVENTS`."""
        EVENTS[event](self)

    # --- processes ---

    def kill_worker(self) -> None:
        """One worker dies; the other takes over."""
        self._fleet.await_consumers()
        victim = self._victim(self._fleet.workers)
        if victim is not None:
            victim.kill()
            self._recover("kill one worker", [victim], time.time(), time.time())

    def kill_all_workers(self) -> None:
        """Nobody is left until one comes back."""
        self._fleet.await_consumers()
        for worker in self._fleet.workers:
            worker.kill()
        self._recover("kill the only worker", self._fleet.workers, time.time(), None)

    def _recover(self, event: str, dead: list[Program], killed_at: float, ready_at: float | None) -> None:
        first, *others = dead
        first.start()

        def ready() -> float | None:
            return ready_at or (time.time() if first.said("ready.") else None)

        redis = self._fleet.direct
        self.toll.recoveries.append(watch(redis, event, killed_at, ready, RECOVERY_TIMEOUT_S))
        for worker in others:
            worker.start()
        for worker in dead:
            self._fleet.await_ready(worker)

    def kill_producer(self) -> None:
        """A producer dies in the middle of whatever it does, and starts again."""
        victim = self._victim(self._fleet.producers)
        if victim is not None:
            victim.kill()
            victim.start()

    def freeze_worker(self) -> None:
        """One worker stands still for longer than a lease, and wakes without knowing."""
        victim = self._victim(self._fleet.workers)
        if victim is None:
            return
        began = time.time()
        victim.freeze()
        time.sleep(LEASE_S + self._dice.uniform(0.2, 2.0))
        victim.wake()
        self.toll.frozen.append(Span(began, time.time()))

    # --- Redis and the broker ---

    def kill_redis(self) -> None:
        """The server dies and comes back with its append-only file; without `always` it also loses power."""
        valkey = self._fleet.valkey
        always = valkey.appendfsync == "always"
        lost_from = valkey.kill(0.0 if always else self._dice.uniform(0.2, 1.0))
        time.sleep(self._dice.uniform(0.0, 1.0))
        valkey.start()
        if not always:
            self.toll.rollbacks.append(Span(lost_from, time.time()))

    def empty_broker(self) -> None:
        """Every message is gone, those being worked on included."""
        redis = self._fleet.direct
        self.toll.turns_deleted += sum(redis.llen(keyspace.broker_queue(queue)) for queue in keyspace.QUEUES)
        redis.delete(*_BROKER_KEYS)

    def double_turns(self) -> None:
        """Every turn that waits or is being served comes once more, and those of the last time, too late."""
        redis, seen = self._fleet.direct, []
        for queue in map(keyspace.broker_queue, keyspace.QUEUES):
            seen += [(queue, json.loads(message)) for message in redis.lrange(queue, 0, -1)]
        seen += [(key, message) for message, _, key in map(json.loads, redis.hvals("unacked"))]
        for queue, message in (*seen, *self._old_turns):
            message["properties"]["delivery_tag"] = f"again-{self._dice.getrandbits(64)}"
            redis.rpush(queue, json.dumps(message))
        self.toll.turns_doubled += len(seen) + len(self._old_turns)
        self._old_turns = seen

    # --- the network ---

    def drop_broker_replies(self) -> None:
        self._fleet.broker_proxy.drop_replies(self._dice.randint(1, 3), chance=0.3)

    def cut_redis(self) -> None:
        for proxy in (self._fleet.lanes_proxy, self._fleet.broker_proxy):
            proxy.cut()

    def stall_redis(self) -> None:
        """Nothing passes for a while, perhaps for longer than a lease."""
        for proxy in (self._fleet.lanes_proxy, self._fleet.broker_proxy):
            proxy.stall()
        time.sleep(self._dice.uniform(0.3, 1.5 * LEASE_S))
        for proxy in (self._fleet.lanes_proxy, self._fleet.broker_proxy):
            proxy.resume()

    def drop_intercom_replies(self) -> None:
        self._fleet.intercom_proxy.drop_replies(self._dice.randint(1, 5), chance=0.5)

    def cut_intercom(self) -> None:
        self._fleet.intercom_proxy.cut()

    # --- care ---

    def look_after(self) -> None:
        """Whoever ended by itself is noted and started again; who has done its work is left in peace."""
        for program in (*self._fleet.workers, *self._fleet.producers):
            if program.exit_code:
                self.toll.crashes.append(f"{program.name} ended with {program.exit_code}, see {program.log}")
                program.start()

    def _victim(self, programs: list[Program]) -> Program | None:
        alive = [one for one in programs if one.running]
        return self._dice.choice(alive) if alive else None


EVENTS: dict[str, Callable[[Tormentor], None]] = {
    "kill_worker": Tormentor.kill_worker,
    "kill_all_workers": Tormentor.kill_all_workers,
    "kill_producer": Tormentor.kill_producer,
    "kill_redis": Tormentor.kill_redis,
    "freeze_worker": Tormentor.freeze_worker,
    "empty_broker": Tormentor.empty_broker,
    "double_turns": Tormentor.double_turns,
    "drop_broker_replies": Tormentor.drop_broker_replies,
    "cut_redis": Tormentor.cut_redis,
    "stall_redis": Tormentor.stall_redis,
    "drop_intercom_replies": Tormentor.drop_intercom_replies,
    "cut_intercom": Tormentor.cut_intercom,
}
