"""Where a lane stands, and the locks of external ids: what several scripts share."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from typing import Any

from onelane_worker.lanes.types import LaneSettings

from .rules import ALL, Rules
from .state import ExternalId, Intent, Lane, State, is_marker

BLOCKED_MS = 300_000
"""A lane that waits for an event is looked at without one, too, after this time."""
FIRST_WAITER_MS = 1_000
"""How long after the end of a lock its first waiter looks again."""


def _nothing(*_: Any) -> None:
    """The default of the hooks below."""


class Placing:
    """The data of a workspace, the clock, and the moves of lanes between the sets."""

    def __init__(self, settings: LaneSettings, rules: Rules = ALL) -> None:
        self.settings = settings
        self.rules = rules
        self.state = State()
        self.now = 0
        """ms"""
        self.now_us = 0
        self.server = "server-0"
        self.touched: set[str] = set()
        """Lanes that a script has looked at since the state law was last checked."""
        self.touched_exts: set[str] = set()
        self.on_grant: Callable[[Lane, bool], None] = _nothing
        """The lane, and whether its lease goes on."""
        self.on_pop: Callable[[str], None] = _nothing
        self.on_move: Callable[[Lane, bool], None] = _nothing
        """A tick makes a lane ready that was due and not leased; is it a blocked one, without its event?"""
        self.on_kill: Callable[[Lane], None] = _nothing
        self.on_end: Callable[[Lane, int, tuple[str, ...]], None] = _nothing
        """A settle: the lane, the step, the intents."""

    def set_clock(self, now_us: int) -> None:
        """Redis' clock."""
        self.now_us = now_us
        self.now = now_us // 1000
        forgets = self.state.forgets
        while forgets and forgets[0][0] <= self.now:
            at, id = heapq.heappop(forgets)
            if id in self.state.intents and self.state.intents[id].forget_at == at:
                del self.state.intents[id]

    def lane(self, name: str) -> Lane:
        """The lane of this name; a lane that was never used is empty."""
        self.touched.add(name)
        lanes = self.state.lanes
        if name not in lanes:
            lanes[name] = Lane(name)
        return lanes[name]

    def ext(self, digest: str) -> ExternalId:
        """The external id of this digest."""
        self.touched_exts.add(digest)
        exts = self.state.exts
        if digest not in exts:
            exts[digest] = ExternalId()
        elif exts[digest].kept_until <= self.now:
            waiting, exts[digest] = exts[digest].waiting, ExternalId()
            exts[digest].waiting = waiting
        return exts[digest]

    def kept_ext(self, digest: str) -> ExternalId:
        """The external id, about which something is stored now."""
        ext, settings = self.ext(digest), self.settings
        life_ms = max(settings.version_ttl_ms, settings.max_hold_ms + settings.commit_ms)
        ext.kept_until = self.now + life_ms
        return ext

    def intent_of(self, element: str) -> Intent:
        """The intent that an element of a queue stands for; of a marker, the change."""
        return self.state.intents[element[1:] if is_marker(element) else element]

    def next_order(self) -> int:
        """A number above all that were given before."""
        self.state.order += 1
        return self.state.order

    # ── where a lane stands ──

    def kills_of(self, lane: Lane) -> int:
        """Kills of the lane's head."""
        if not lane.queue or is_marker(lane.queue[0]):
            return 0
        return self.state.intents[lane.queue[0]].kills

    def class_of(self, lane: Lane) -> str:
        """The ready set that the lane belongs to."""
        if self.rules.suspects_apart and self.kills_of(lane):
            return "suspect"
        return "interactive" if lane.hot > 0 and self.rules.hot_counted else "bulk"

    def ready_class(self, name: str) -> str | None:
        """The ready set in which the lane is."""
        for kind, lanes in self.state.ready.items():
            if name in lanes:
                return kind
        return None

    def unready(self, name: str) -> None:
        for lanes in self.state.ready.values():
            lanes.pop(name, None)

    def make_ready(self, lane: Lane) -> None:
        """Put the lane at the tail of its class; where it is already it keeps its place."""
        state, kind = self.state, self.class_of(lane)
        state.due.pop(lane.name, None)
        if lane.name in state.ready[kind]:
            return
        self.unready(lane.name)
        state.ready[kind][lane.name] = self.next_order()
        self.stop_waiting(lane)

    def park(self, lane: Lane, at: int) -> None:
        """Look at the lane again at this time."""
        self.unready(lane.name)
        self.state.due[lane.name] = at

    def stop_waiting(self, lane: Lane) -> None:
        """The lane does not stand blocked any more. Its place among the waiters goes with the grant only."""
        if not self.rules.waiters_in_order and lane.waits and lane.waits[0] == "ext":
            self.ext(lane.waits[1]).waiting.pop(lane.name, None)
        lane.waits = None

    def place(self, lane: Lane) -> None:
        """Where a lane without a lease stands now, by its head."""
        if not lane.queue:
            self.fall_asleep(lane)
        elif is_marker(lane.queue[0]):
            self.park(lane, self.now + BLOCKED_MS)
            source = self.lane(self.intent_of(lane.queue[0]).lane)
            lane.waits = ("lane", source.name)
            if self.rules.marker_wakes and source.waits == ("lane", lane.name):
                self.make_ready(source)
        else:
            self.make_ready(lane)

    def fall_asleep(self, lane: Lane) -> None:
        """An empty lane is in no set, but for an owed settle check."""
        self.unready(lane.name)
        self.state.due.pop(lane.name, None)
        self.stop_waiting(lane)
        if lane.check is not None:
            self.state.due[lane.name] = lane.check_at

    def place_again(self, lane: Lane, head_left: bool) -> None:
        """An element left the queue of a lane that may have no lease."""
        if lane.token is not None:
            return
        if head_left:
            self.stop_waiting(lane)
            self.place(lane)
        elif self.ready_class(lane.name):
            self.make_ready(lane)  # only its class may be another

    # ── external ids ──

    def holder(self, digest: str, lane: Lane | None) -> Lane | None:
        """The other lane that holds the external id now."""
        ext = self.ext(digest)
        if ext.lane is None or (lane is not None and ext.lane == lane.name) or not self.rules.ext_locked:
            return None
        other = self.lane(ext.lane)
        leased = other.token is not None and other.until > self.now and digest in other.exts
        return other if leased or ext.until > self.now else None

    def lock_ends(self, digest: str) -> int:
        """When the lock of an external id ends, if nobody renews it."""
        ext = self.ext(digest)
        holder = self.lane(ext.lane) if ext.lane is not None else None
        leased = holder is not None and holder.token is not None and digest in holder.exts
        return max(ext.until, holder.until if leased and holder is not None else 0)

    def wait_for_ext(self, lane: Lane, digest: str) -> None:
        """Stand behind those who wait for the external id."""
        ext = self.ext(digest)
        lane.waits = ("ext", digest)
        mine = ext.waiting.setdefault(lane.name, 0) or self.next_order()
        ext.waiting[lane.name] = mine
        first = not any(
            order < mine and self._still_waits(name, digest) for name, order in ext.waiting.items()
        )
        if first and self.rules.first_waits_less:
            self.park(lane, self.lock_ends(digest) + FIRST_WAITER_MS)
        else:
            self.park(lane, self.now + BLOCKED_MS)

    def _still_waits(self, name: str, digest: str) -> bool:
        return self.ready_class(name) is not None or self.lane(name).waits == ("ext", digest)

    def wake_waiter(self, digest: str, *, though_held: bool = False) -> None:
        """Make the first waiter ready, unless one is ready already."""
        if not self.rules.ext_waiter_woken or not (ext := self.ext(digest)).waiting:
            return
        if not though_held and self.holder(digest, None) is not None:
            return
        for name in sorted(ext.waiting, key=ext.waiting.__getitem__):
            if self.ready_class(name) and self.rules.one_waiter:
                return
            lane = self.lane(name)
            if lane.waits == ("ext", digest):
                self.make_ready(lane)
                if self.rules.one_waiter:
                    return

    def take_locks(self, lane: Lane, wanted: tuple[str, ...]) -> None:
        """Lock what the head names, and give back what it does not name."""
        self.give_back(lane, wanted)
        for digest in wanted:
            ext = self.kept_ext(digest)
            ext.lane = lane.name
            ext.waiting.pop(lane.name, None)
            if ext.until <= self.now:
                ext.until = 0
        lane.exts = wanted

    def give_back(self, lane: Lane, kept: Iterable[str] = ()) -> None:
        """Release the lane's locks but for those that are kept, and wake who waits."""
        held = lane.exts
        lane.exts = tuple(digest for digest in held if digest in kept)
        for digest in held:
            ext = self.ext(digest)
            if digest not in kept and ext.lane == lane.name:
                ext.lane, ext.until = None, 0
                self.wake_waiter(digest)
