"""What can go wrong with one call, as data; who decides it is a function from the call to its fault."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from .loop import Process

Place = Literal["redis", "tick", "intercom", "wake", "producer"]


@dataclass(frozen=True, slots=True)
class Fault:
    """`kind` is a word of the place: see `link.py`, `intercom.py` and `broker.py`."""

    kind: str
    delay_s: float = 0.0
    status: int = 0
    """HTTP status that is answered in place of Intercom's."""
    reply: Any = None
    """What the client answers in place of Intercom, without sending anything."""


Strike = Callable[[Place, Process | None, object], Fault | None]
"""Place, who calls, and what: the name of a script or an operation."""


@dataclass(slots=True)
class Planned:
    """Faults that a test has planned: each meets the next calls that fit."""

    waiting: list[tuple[Place, Callable[[object], bool], Fault]] = field(default_factory=list)

    def add(self, place: Place, fits: Callable[[object], bool], fault: Fault, times: int = 1) -> None:
        """The next `times` calls of the place that fit meet the fault."""
        self.waiting += [(place, fits, fault)] * times

    def strike(self, place: Place, process: Process | None, what: object) -> Fault | None:
        """The fault that meets this call, if one does."""
        for number, (at, fits, fault) in enumerate(self.waiting):
            if at == place and fits(what):
                del self.waiting[number]
                return fault
        return None
