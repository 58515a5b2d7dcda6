"""Between a process and Redis: where calls are lost, doubled, delayed, and where processes die.

A call is two events: it takes effect, and its reply arrives. Whoever made it waits in between, so every other
worker may act before it took effect and before its reply.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError

from .scheduler import Alarm, Process, Scheduler, Unwind
from .script import Fault, Place

CLIENT_TIMEOUT_S = 5.0
Effect = Callable[[], Any]


class Faults:
    """Deals the script's faults to the calls as they come."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self._by_call: dict[tuple[Place, int], list[Fault]] = {}
        for fault in faults:
            self._by_call.setdefault((fault.place, fault.index), []).append(fault)
        self._calls: Counter[Place] = Counter()
        self.struck: list[Fault] = []
        self.last_s = 0.0

    def strike(self, place: Place, now_s: float) -> Fault | None:
        """The fault that meets this call, if one does."""
        number = self._calls[place]
        self._calls[place] += 1
        waiting = self._by_call.get((place, number))
        if not waiting:
            return None
        fault = waiting[0]
        self.struck.append(fault)
        self.last_s = now_s + fault.delay_s
        return fault


class Network:
    """The way to Redis, for all processes."""

    def __init__(
        self,
        scheduler: Scheduler,
        faults: Faults,
        dice: Random,
        *,
        crash: Callable[[Process], None],
        freeze: Callable[[Process, float], None],
        after_effect: Callable[[], None],
        note: Callable[..., None],
    ) -> None:
        self._scheduler = scheduler
        self._faults = faults
        self._dice = dice
        self._crash = crash
        self._freeze = freeze
        self._after_effect = after_effect
        self._note = note

    def latency_s(self) -> float:
        return self._dice.uniform(0.0002, 0.002)

    # --- workers: blocking

    def call(self, process: Process, what: str, effect: Effect) -> Any:
        """Make one call from the running task; what Redis answers. Raises Unwind if the process dies."""
        if not process.alive:
            raise Unwind
        place: Place = "timer" if self._scheduler.current.label == "timer" else "redis"
        fault = self._faults.strike(place, self._scheduler.now)
        self._note(process.name, "→ redis", what, fault.kind if fault else "")
        alarm = Alarm(self._scheduler)
        if fault is None:
            self._plain(effect, alarm)
        else:
            getattr(self, f"_{fault.kind}")(process, fault, effect, alarm)
        answer = alarm.wait()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _plain(self, effect: Effect, alarm: Alarm, delay_s: float = 0.0) -> None:
        self._scheduler.after(delay_s + self.latency_s(), lambda: self._reply(alarm, self._take(effect)))

    def _reply(self, alarm: Alarm, answer: Any) -> None:
        self._scheduler.after(self.latency_s(), lambda: alarm.ring(answer))

    def _unheard(self, effect: Effect, delay_s: float) -> None:
        """It takes effect, and nobody listens."""
        self._scheduler.after(delay_s + self.latency_s(), lambda: self._take(effect))

    def _take(self, effect: Effect) -> Any:
        answer = effect()
        self._note("redis", answer)
        self._after_effect()
        return answer

    def _crash_before(self, process: Process, fault: Fault, effect: Effect, alarm: Alarm) -> None:
        self._crash(process)
        raise Unwind

    def _crash_after(self, process: Process, fault: Fault, effect: Effect, alarm: Alarm) -> None:
        self._unheard(effect, 0.0)
        self._crash(process)
        raise Unwind

    def _freeze_before(self, process: Process, fault: Fault, effect: Effect, alarm: Alarm) -> None:
        self._freeze(process, fault.delay_s)
        self._scheduler.sleep(fault.delay_s)
        self._plain(effect, alarm)

    def _freeze_after(self, process: Process, fault: Fault, effect: Effect, alarm: Alarm) -> None:
        self._freeze(process, fault.delay_s)
        self._plain(effect, alarm)

    def _reply_lost(self, process: Process, fault: Fault, effect: Effect, alarm: Alarm) -> None:
        self._unheard(effect, 0.0)
        self._plain(effect, alarm, fault.delay_s)

    def _delayed_and_resent(self, process: Process, fault: Fault, effect: Effect, alarm: Alarm) -> None:
        self._unheard(effect, fault.delay_s)
        self._plain(effect, alarm, min(CLIENT_TIMEOUT_S, fault.delay_s / 2))

    def _delivered_twice(self, process: Process, fault: Fault, effect: Effect, alarm: Alarm) -> None:
        self._plain(effect, alarm)
        self._unheard(effect, fault.delay_s)

    def _down_before(self, process: Process, fault: Fault, effect: Effect, alarm: Alarm) -> None:
        self._scheduler.after(0.2, lambda: alarm.ring(RedisConnectionError("simulated")))

    def _down_after(self, process: Process, fault: Fault, effect: Effect, alarm: Alarm) -> None:
        self._unheard(effect, 0.0)
        self._down_before(process, fault, effect, alarm)

    # --- producers: they only wait for an answer

    def submit(self, effect: Effect, answered: Callable[[Any], None]) -> None:
        """One call whose answer goes to `answered`, unless the producer has died."""
        fault = self._faults.strike("producer", self._scheduler.now)
        kind, delay_s = (fault.kind, fault.delay_s) if fault else ("", 0.0)
        repeats = {"delivered_twice": delay_s, "delayed_and_resent": delay_s, "reply_lost": 0.0}
        if kind in repeats:
            self._unheard(effect, repeats[kind])
        if kind == "gone_after":
            self._unheard(effect, 0.0)
            return
        waits_s = {"reply_lost": delay_s, "delayed_and_resent": min(CLIENT_TIMEOUT_S, delay_s / 2)}
        start_s = waits_s.get(kind, 0.0) + self.latency_s()
        self._scheduler.after(start_s, lambda: answered(self._take(effect)))
