"""The broker: it carries anonymous wake-ups to some worker, and loses, doubles and delays them as told."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from .faults import Strike
from .loop import VirtualLoop


class Broker:
    """What the SDK takes for its waker."""

    def __init__(
        self,
        loop: VirtualLoop,
        strike: Strike,
        dice: Random,
        deliver: Callable[[], bool],
        note: Callable[..., None],
    ) -> None:
        self.waiting = 0
        """Wake-ups that no worker has taken yet."""
        self.sent = 0
        self._loop = loop
        self._strike = strike
        self._dice = dice
        self._deliver = deliver
        self._note = note

    def wake(self, count: int = 1) -> None:
        """Send wake-ups."""
        for _ in range(count):
            self.sent += 1
            self._send()

    def hand_out(self) -> None:
        """Give what waits to workers that take it."""
        while self.waiting and self._deliver():
            self.waiting -= 1

    def close(self) -> None: ...

    def _send(self) -> None:
        fault = self._strike("wake", None, "wake")
        kind, delay_s = (fault.kind, fault.delay_s) if fault else ("", 0.0)
        self._note("wake-up", kind or "sent")
        delays_s = {"lost": (), "late": (delay_s,), "doubled": (0.0, 0.0), "doubled_late": (0.0, delay_s)}
        for after_s in delays_s.get(kind, (0.0,)):
            self._loop.after(after_s + self._dice.uniform(0.001, 0.02), self._arrive)

    def _arrive(self) -> None:
        self.waiting += 1
        self.hand_out()
