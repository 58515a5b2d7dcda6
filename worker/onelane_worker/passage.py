"""The way of a change of address into the lane of the new one: its gate, and what lies behind it.

The gate was put there when the change was accepted; it is asked, never waited for: a lane that is not free
puts the change back. What that lane believes is read when the gate is open, told anew before the change is
settled, and the gate goes after that. Whoever finds a gate whose change has ended lets the lane go on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar
from uuid import uuid4

from onelane.identity import lane_id
from onelane.submission import gate_id
from onelane.turns import Turn
from onelane_worker.planner.registry import RegistryEntry, ConsentMemory
from onelane_worker.planner.operations import Problem
from onelane_worker.planner.fold import DesiredState
from onelane_worker.lanes.model import Asked, Gate, Part
from onelane_worker.lanes.store import LaneStore
from onelane_worker.lease import Lease
from onelane_worker.payloads import belief_of, memory_of

SOONEST_S, LATEST_S = 0.2, 5.0
"""Bounds of the wait until a busy lane is asked again."""


@dataclass(frozen=True, slots=True)
class Beyond:
    """What the lane of the new address believes and remembers."""

    belief: RegistryEntry
    memory: ConsentMemory


@dataclass(frozen=True, slots=True)
class Closed:
    """That lane has other things to do first."""

    left_s: float
    problem: ClassVar = Problem("new_address_busy", message="the lane of the new address is not free yet")


class Passage:
    """At most one open gate at a time, for one turn."""

    def __init__(self, store: LaneStore, lease: Lease) -> None:
        self._store = store
        self._lease = lease
        self._gate: Gate | None = None
        self.address: str | None = None
        """The new address, once its gate was open."""

    def enter(self, wish: DesiredState) -> Beyond | Closed:
        """Ask the gate of this change; make it, if there is none."""
        change = wish.members[0]
        lane = lane_id(wish.new_email or "")
        gate = Gate(gate_id(change.id, lane), lane, change.id)
        asked = self._store.ask_gate(gate, self._lease.grant, change.accepted_ms)
        if asked.answer == "missing":
            self._store.keep_gate(gate, self._lease.grant, wish.new_email or "", change.accepted_ms)
            asked = self._store.ask_gate(gate, self._lease.grant, change.accepted_ms)
        self._gate = gate
        if asked.answer != "open":
            left_s = ((asked.until_ms or 0) - self._lease.now_ms()) / 1000
            return Closed(min(max(left_s, SOONEST_S), LATEST_S))
        self.address = wish.new_email
        return _beyond(asked)

    def note(self, belief: Part, memory: Part) -> None:
        """Tell the lane of the new address whom it has got. Raises `Fenced`."""
        if self._gate is not None:
            self._store.note_gate(self._gate, self._lease.grant, belief, memory)

    def leave(self) -> Turn | None:
        """The change has ended. A turn to publish, if somebody waits there."""
        gate, self._gate, self.address = self._gate, None, None
        return None if gate is None else self._store.leave_gate(gate, self._lease.op())


def clear(store: LaneStore, gate: Gate) -> Turn | None:
    """A turn has found this gate at the head. If its change has ended, the lane goes on."""
    return store.leave_gate(gate, uuid4().hex) if store.has_ended(gate.change) else None


def _beyond(asked: Asked) -> Beyond:
    belief, memory = belief_of(asked.belief), memory_of(asked.memory)
    return Beyond(belief if asked.facts_usable else belief.without_facts(), memory)
