"""What is done to the fleet while it works. Each event is one function; `EVENTS` names them all."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.checker.history import Span

from onelane import keyspace
from onelane_worker.cli._local_stack import Program, is_ready

from .fleet import START_S, Fleet
from .recovery import Recovery, Scene, watch
from .scale import LEASE_S, SETTLE_WINDOW_S

RECOVERY_TIMEOUT_S = START_S + LEASE_S + 2 * SETTLE_WINDOW_S + 10
"""A lane that has not moved by then is stuck; what is late is judged by its own clock."""
_AGAIN = "again-"
_BROKER_KEYS = (*map(keyspace.broker_queue, keyspace.QUEUES), "unacked", "unacked_index", "unacked_mutex")


@dataclass(slots=True)
class Toll:
    """What has been done so far, noted after it was done."""

    done: Counter[str] = field(default_factory=Counter)
    """Events, by name."""
    killed: Counter[str] = field(default_factory=Counter)
    """Processes ended with SIGKILL, by sort."""
    recoveries: list[Recovery] = field(default_factory=list)
    frozen: list[Span] = field(default_factory=list)
    stalled: list[Span] = field(default_factory=list)
    rollbacks: list[Span] = field(default_factory=list)
    moments_s: list[float] = field(default_factory=list)
    """How much time Redis lost, each time that it lost power."""
    turns_deleted: int = 0
    turns_doubled: int = 0
    troubles: list[str] = field(default_factory=list)
    """What nobody did: processes that ended by themselves, deaf workers, events without a victim."""

    @property
    def blows(self) -> int:
        """Events that were a kill."""
        return sum(count for event, count in self.done.items() if event.startswith("kill_"))


class Nobody(Exception):
    """There is no process that the event could be done to."""


class Tormentor:
    """Does the events, by one stream of chance."""

    def __init__(self, fleet: Fleet, seed: int) -> None:
        self.toll = Toll()
        self._fleet = fleet
        self._dice = Random(f"torment {seed}")
        self._old_turns: list[tuple[str, dict[str, Any]]] = []

    def do(self, event: str) -> None:
        """One event of `EVENTS`."""
        try:
            EVENTS[event](self)
        except Nobody as nobody:
            self.toll.troubles.append(f"{event}: {nobody}")
        else:
            self.toll.done[event] += 1

    # --- processes ---

    def kill_worker(self) -> None:
        """One worker dies; the other takes over."""
        self._await_consumers()
        victim = self._victim(self._fleet.workers)
        self._kill("worker", victim)
        now = time.time()
        self._recover("kill one of two", [victim], now, now)

    def kill_all_workers(self) -> None:
        """Nobody is left until one comes back."""
        self._await_consumers()
        self._kill("worker", *self._fleet.workers)
        self._recover("kill all workers", self._fleet.workers, time.time(), None)

    def _recover(self, event: str, dead: list[Program], killed_at: float, ready_at: float | None) -> None:
        first, *others = dead
        first.start()

        def ready() -> float | None:
            return ready_at or (time.time() if is_ready(first) else None)

        scene = Scene(self._fleet.direct, event, killed_at, ready, self._fleet.stages)
        self.toll.recoveries.append(watch(scene, RECOVERY_TIMEOUT_S))
        for worker in others:
            worker.start()
        for worker in dead:
            self._fleet.await_ready(worker)

    def kill_producer(self) -> None:
        """A producer dies in the middle of whatever it does, and starts again."""
        victim = self._victim(self._fleet.producers)
        self._kill("producer", victim)
        victim.start()

    def freeze_worker(self) -> None:
        """One worker stands still for longer than a lease, and wakes without knowing."""
        victim = self._victim(self._fleet.workers)
        began = time.time()
        victim.send(signal.SIGSTOP)
        time.sleep(LEASE_S + self._dice.uniform(0.2, 2.0))
        victim.send(signal.SIGCONT)
        self.toll.frozen.append(Span(began, time.time()))

    def _kill(self, sort: str, *victims: Program) -> None:
        for victim in victims:
            victim.kill()
        self.toll.killed[sort] += len(victims)

    def _await_consumers(self) -> None:
        """Only whoever listens can take over: after a broken connection Celery takes its time."""
        if not self._fleet.await_consumers():
            self.toll.troubles.append("a worker does not listen to the broker any more")

    # --- Redis and the broker ---

    def kill_redis(self) -> None:
        """The server dies and comes back with its append-only file; without `always` it also loses power."""
        valkey = self._fleet.valkey
        always = valkey.appendfsync == "always"
        lost_from = valkey.kill(0.0 if always else self._dice.uniform(0.2, 1.0))
        lost_to = time.time()
        self.toll.killed["Redis"] += 1
        time.sleep(self._dice.uniform(0.0, 1.0))
        valkey.start()
        if not always:
            self.toll.moments_s.append(lost_to - lost_from)
            self.toll.rollbacks.append(Span(lost_from, time.time()))

    def empty_broker(self) -> None:
        """Every message is gone, those being worked on included."""
        redis = self._fleet.direct
        self.toll.turns_deleted += sum(redis.llen(keyspace.broker_queue(queue)) for queue in keyspace.QUEUES)
        redis.delete(*_BROKER_KEYS)

    def double_turns(self) -> None:
        """Every turn that waits or is being served comes once more, and those of the last time, too late.

        Not what is a double already: on a busy machine the queue would grow beyond all measure.
        """
        redis, waiting = self._fleet.direct, []
        for queue in map(keyspace.broker_queue, keyspace.QUEUES):
            waiting += [(queue, json.loads(message)) for message in redis.lrange(queue, 0, -1)]
        waiting += [(key, message) for message, _, key in map(json.loads, redis.hvals("unacked"))]
        seen = [one for one in waiting if not one[1]["properties"]["delivery_tag"].startswith(_AGAIN)]
        with redis.pipeline(transaction=False) as pipe:
            for queue, message in (*seen, *self._old_turns):
                tag = f"{_AGAIN}{self._dice.getrandbits(64)}"
                again = {**message, "properties": {**message["properties"], "delivery_tag": tag}}
                pipe.rpush(queue, json.dumps(again))
            pipe.execute()
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
        began = time.time()
        for proxy in (self._fleet.lanes_proxy, self._fleet.broker_proxy):
            proxy.stall()
        time.sleep(self._dice.uniform(0.3, 1.5 * LEASE_S))
        for proxy in (self._fleet.lanes_proxy, self._fleet.broker_proxy):
            proxy.resume()
        self.toll.stalled.append(Span(began, time.time()))

    def drop_intercom_replies(self) -> None:
        self._fleet.intercom_proxy.drop_replies(self._dice.randint(1, 5), chance=0.5)

    def cut_intercom(self) -> None:
        self._fleet.intercom_proxy.cut()

    # --- care ---

    def look_after(self) -> None:
        """Whoever ended by itself is noted and started again; who has done its work is left in peace."""
        for program in (*self._fleet.workers, *self._fleet.producers):
            if program.exit_code:
                self.toll.troubles.append(f"{program.name} ended with {program.exit_code}, see {program.log}")
                program.start()

    def _victim(self, programs: list[Program]) -> Program:
        alive = [one for one in programs if one.running]
        if not alive:
            raise Nobody("nobody was there")
        return self._dice.choice(alive)


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
