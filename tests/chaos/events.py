"""What is done to the fleet while it works. Each event is one function; `EVENTS` names them all."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from tests.checker.history import Span

from onelane.keys import DEFAULT_WORKSPACE, wake_queue
from onelane.wakeup import Waker
from onelane_worker.cli._local_stack import Program, is_ready

from .fleet import START_S, Fleet
from .recovery import Recovery, Scene, watch

_QUEUE = wake_queue(DEFAULT_WORKSPACE)
_MOST_COPIES = 20


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
    away: list[Span] = field(default_factory=list)
    """From each kill of Redis until it served again."""
    rollbacks: list[Span] = field(default_factory=list)
    moments_s: list[float] = field(default_factory=list)
    """How much time Redis lost, each time that it lost power."""
    wakes_deleted: int = 0
    wakes_doubled: int = 0
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

    def __init__(self, fleet: Fleet, seed: int, hold_s: float) -> None:
        self.toll = Toll()
        self._hold_s = hold_s
        self._fleet = fleet
        self._dice = Random(f"torment {seed}")

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

        windows = self._fleet.scale.windows
        fleet, lease_s = self._fleet, windows.lease_s
        scene = Scene(fleet.direct, event, killed_at, ready, fleet.stages, lease_s, self._hold_s)
        # A lane that has not moved by then is stuck; what is late is judged by its own clock.
        patience_s = START_S + windows.lease_s + windows.hold_s + 2 * windows.settle_window_s
        self.toll.recoveries.append(watch(scene, patience_s))
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
        time.sleep(self._fleet.scale.windows.lease_s + self._dice.uniform(0.2, 2.0))
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
        self.toll.away.append(Span(lost_to, time.time()))
        if not always:
            self.toll.moments_s.append(lost_to - lost_from)
            self.toll.rollbacks.append(Span(lost_from, time.time()))

    def empty_broker(self) -> None:
        """Every message is gone, those being worked on included."""
        redis = self._fleet.direct
        self.toll.wakes_deleted += redis.llen(_QUEUE)
        redis.delete(_QUEUE)

    def double_wakes(self) -> None:
        """Wake-ups that no script has counted: copies, as a broker delivers them."""
        copies = self._dice.randint(1, _MOST_COPIES)
        waker = Waker(self._fleet.broker_url, DEFAULT_WORKSPACE)
        if waker.wake(copies):
            self.toll.wakes_doubled += copies
        waker.close()

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
        time.sleep(self._dice.uniform(0.3, 1.5 * self._fleet.scale.windows.lease_s))
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
    "double_wakes": Tormentor.double_wakes,
    "drop_broker_replies": Tormentor.drop_broker_replies,
    "cut_redis": Tormentor.cut_redis,
    "stall_redis": Tormentor.stall_redis,
    "drop_intercom_replies": Tormentor.drop_intercom_replies,
    "cut_intercom": Tormentor.cut_intercom,
}
