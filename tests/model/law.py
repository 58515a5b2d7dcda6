"""The state law: what is true of lanes, sets and locks after every script."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from .scripts import Scripts
from .state import ExternalId, Lane, is_marker

EVERYTHING_EVERY = 64
"""Most checks look at what was touched; every so often at all there is."""
LONGEST_LEASE_OVER_MS = 90_000
"""A lease that ran out this long ago should have been ended."""


class Law:
    """Tells violations of the law to `tell`."""

    def __init__(self, scripts: Scripts, tell: Callable[[str], None]) -> None:
        self._scripts = scripts
        self._tell = tell
        self._checks = 0

    def check(self) -> None:
        """After a script."""
        self._checks += 1
        if self._checks % EVERYTHING_EVERY == 0:
            self.check_all()
            return
        touched, exts = self._scripts.touched, self._scripts.touched_exts
        if touched or exts:
            state = self._scripts.state
            lanes = [state.lanes[name] for name in touched if name in state.lanes]
            exts |= {digest for lane in lanes for digest in self._wanted(lane) if digest in state.exts}
            self._check(lanes, [(digest, state.exts[digest]) for digest in exts if digest in state.exts])

    def check_all(self) -> None:
        """All lanes and external ids, and what adds up over all of them."""
        state = self._scripts.state
        self._check(list(state.lanes.values()), list(state.exts.items()))
        listed = {name for lanes in state.ready.values() for name in lanes} | state.due.keys()
        for name in listed - state.lanes.keys():
            self._tell(f"law: unknown lane {name} is listed")
        waiting = sum(1 for lane in state.lanes.values() for one in lane.queue if not is_marker(one))
        if state.pending != waiting:
            self._tell("law: pending does not count the waiting intents")

    def _wanted(self, lane: Lane) -> tuple[str, ...]:
        wanted = lane.exts
        if lane.waits and lane.waits[0] == "ext":
            wanted += (lane.waits[1],)
        if lane.queue and not is_marker(lane.queue[0]):
            wanted += self._scripts.state.intents[lane.queue[0]].exts
        return wanted

    def _check(self, lanes: Iterable[Lane], exts: Iterable[tuple[str, ExternalId]]) -> None:
        for lane in lanes:
            self._where(lane)
            self._queue(lane)
            self._waits(lane)
            self._no_cycle(lane)
        for digest, ext in exts:
            self._waiters(digest, ext)
        self._scripts.touched.clear()
        self._scripts.touched_exts.clear()

    def _where(self, lane: Lane) -> None:
        """A lane with waiting intents is in one ready set or in `due`; a leased one in `due` at its end."""
        scripts, tell, name = self._scripts, self._tell, lane.name
        ready = [kind for kind, lanes in scripts.state.ready.items() if name in lanes]
        due = scripts.state.due.get(name)
        if len(ready) + (due is not None) > 1:
            tell(f"law: {name} is listed twice")
        if lane.queue and not ready and due is None:
            tell(f"law: {name} is forgotten")
        if ready and lane.queue and ready[0] != self._class(lane):
            tell(f"law: {name} is ready as {ready[0]}, and is {self._class(lane)}")
        if lane.token is not None:
            if not lane.queue or ready or is_marker(lane.queue[0]):
                tell(f"law: {name} is leased, and empty or ready or behind a marker")
            if due != lane.until:
                tell(f"law: {name} is leased and not due at the end of its lease")
            if lane.until < scripts.now - LONGEST_LEASE_OVER_MS:
                tell(f"law: the lease of {name} was never ended")
        elif not lane.queue:
            if lane.check is None and (ready or due is not None):
                tell(f"law: {name} is empty and listed")
            if lane.check is not None and not ready and due is None:
                tell(f"law: the settle check of {name} is forgotten")
        self._new_is_ready(lane, due)

    def _class(self, lane: Lane) -> str:
        if self._scripts.kills_of(lane):
            return "suspect"
        return "interactive" if lane.hot else "bulk"

    def _new_is_ready(self, lane: Lane, due: int | None) -> None:
        """An intent that came to an empty lane does not wait for the lane's settle check."""
        if due is None or due != lane.check_at or lane.check is None or len(lane.queue) != 1 or lane.token:
            return
        if is_marker(lane.queue[0]) or lane.waits or lane.commit > self._scripts.now:
            return
        head = self._scripts.state.intents[lane.queue[0]]
        if head.state == "waiting" and not head.attempts and not head.kills and head.schema == 1:
            self._tell(f"law: {lane.name} waits for its settle check")

    def _queue(self, lane: Lane) -> None:
        """Counters and markers agree with the queue, and what waits is whole."""
        intents, tell, name = self._scripts.state.intents, self._tell, lane.name
        hot = erasing = 0
        for element in lane.queue:
            marker = is_marker(element)
            intent = intents[element[1:] if marker else element]
            hot += not intent.bulk
            erasing += intent.erases and not marker
            if intent.ended or intent.payload is None:
                tell(f"law: {element} waits in {name} and has ended")
            if intent.target:
                other = self._scripts.state.lanes.get(intent.lane if marker else intent.target)
                twin = intent.id if marker else f"~{intent.id}"
                if other is None or other.queue.count(twin) != 1:
                    tell(f"law: {element} waits in {name} without {twin}")
        if lane.hot != hot or lane.erasing != erasing:
            tell(f"law: {name} counts its interactive intents, or its erasures, wrong")
        if lane.served > len(lane.queue) or any(is_marker(one) for one in lane.queue[: lane.served]):
            tell(f"law: {name} has served more than its queue, or a marker")
        if lane.token is not None and lane.batch > lane.served:
            tell(f"law: the batch of {name} is not counted as served")
        if lane.queue and is_marker(lane.queue[0]) and lane.commit > self._scripts.now:
            tell(f"law: {name} has a marker at its head, and a write that may commit")

    def _waits(self, lane: Lane) -> None:
        """A blocked lane is due, and whom it waits for knows it."""
        if lane.waits is None:
            return
        if lane.token is not None or self._scripts.ready_class(lane.name):
            self._tell(f"law: {lane.name} waits, and works or is ready")
        kind, what = lane.waits
        if kind == "ext" and lane.name not in self._scripts.state.exts[what].waiting:
            self._tell(f"law: {lane.name} waits for {what}, which does not know it")

    def _waiters(self, digest: str, ext: ExternalId) -> None:
        """A free external id with waiters has one of them in a ready set."""
        state, rules = self._scripts.state, self._scripts.rules
        for name in ext.waiting:
            lane = state.lanes[name]
            if lane.waits == ("ext", digest):
                continue
            wants = bool(lane.queue) and digest in self._scripts.intent_of(lane.queue[0]).exts
            if not rules.waiters_in_order or lane.token is not None or not wants:
                self._tell(f"law: {name} is kept among the waiters for {digest}")
        waiting = any(state.lanes[name].waits == ("ext", digest) for name in ext.waiting)
        if ext.lane is None and waiting and not self._somebody_ready(digest):
            self._tell(f"law: {digest} is free, and who waits for it sleeps")

    def _somebody_ready(self, digest: str) -> bool:
        state = self._scripts.state
        for lanes in state.ready.values():
            for name in lanes:
                queue = state.lanes[name].queue
                if queue and not is_marker(queue[0]) and digest in state.intents[queue[0]].exts:
                    return True
        return False

    def _no_cycle(self, lane: Lane) -> None:
        """A lane waits only for a lane whose head is older."""
        state, at = self._scripts.state, lane
        for _ in range(len(state.lanes) + 1):
            if not at.queue:
                return
            head = self._scripts.intent_of(at.queue[0])
            if is_marker(at.queue[0]):
                following = head.lane
            elif head.target:
                following = head.target
                queue = state.lanes[following].queue if following in state.lanes else []
                if not queue or queue[0] == f"~{head.id}":
                    return
            else:
                return
            if following not in state.lanes:
                return
            at = state.lanes[following]
        self._tell("law: lanes wait for each other in a circle")
