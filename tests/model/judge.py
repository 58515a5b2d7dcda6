"""What must never happen in a history. What must have happened in the end is in `verdict`.

After a rollback of Redis some things cannot be judged (rate, skips, withdrawals, the last value), and two are
excused: an older value of intents whose ends were lost, until they end again; and a lead made for lost
intents beside a later create with an external id, which must be merged in the end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from onelane_worker.lanes.types import BreakerView

from .faults import COMMIT_MS, HAND_MS, HTTP_MS, MAX_KILLS, TAIL_MS
from .intercom import Contact, Write
from .state import Lane, is_marker

if TYPE_CHECKING:
    from .engines import Engine, Job
    from .history import History

CLOCK_MS = 1.0
"""Redis' clock is cut to whole ms."""
WINDOW_MS = 10_000.0
TICK_MS = 1_500
"""How long a tick takes at most, also if its reply is lost."""


class Settling(NamedTuple):
    """What a settle says about a contact."""

    contact: str
    value: int
    external_id: str
    version: int | None
    skipped_at: float | None
    """When the grant was made whose facts were enough for a skip."""


def address_of(lane: str) -> int:
    """The address behind a lane's name."""
    return int(lane.partition("@")[0])


class Judge:
    """Tells violations to the history."""

    def __init__(self, history: History) -> None:
        self._h = history
        self.order: dict[str, int] = {}
        """Intent → place in the order of acceptance, or of its last replay."""
        self.accepted: dict[int, list[str]] = {}
        self.withdrawn: set[str] = set()
        self.written: set[str] = set()
        """Intents of which a write has left."""
        self.in_flight: dict[int, dict[int, str]] = {}
        self.ext_in_flight: dict[str, dict[int, str]] = {}
        self.settling: dict[tuple[str, int, int], Settling] = {}
        self.spared_kills: dict[str, int] = {}
        """Kills that are not the intent's own doing."""
        self.ends_lost: set[str] = set()
        self.lost: set[str] = set()
        self.pairs: list[tuple[str, str]] = []
        """Excused: (lead, the contact created beside it)."""
        self.rollback_at = 0.0
        self.hold_ended_at = 0.0
        """When an operator ended the hold: overlaps are their doing then."""
        self.muted: tuple[float, float] = (0.0, 0.0)
        self.failed_calls = 0
        self.probes = 0
        self.half_begun = 0
        self.bulk_not_before = 0.0
        self._place = 0
        self._latest: dict[int, int] = {}
        self._versions: dict[str, int] = {}
        self._sent: deque[float] = deque()
        self._half_grants: list[tuple[str, int]] = []
        self._was_half, self._failing = False, "reads"
        self._bulk_trials: list[tuple[str, int]] = []
        self._kind = ""
        self._backstopped: set[str] = set()
        """Blocked lanes that a tick made ready."""
        self._first_waited: dict[tuple[str, str, str], float] = {}
        """Lane, external id, the lane's head → since when it waits."""
        self._passed: dict[tuple[str, str, str], set[str]] = {}
        self._since_bulk = 0

    def takes_place(self, intent: str) -> None:
        """The intent is accepted, or replayed: it comes after all others."""
        self._place += 1
        self.order[intent] = self._place

    def hold_was_ended(self) -> bool:
        """By an operator, while a write may still commit that Redis has forgotten."""
        return self.hold_ended_at > 0 and self._h.now < self.rollback_at + 2 * COMMIT_MS

    # ── grants ──

    def popped(self, kind: str) -> None:
        """A claim took a lane of this class."""
        self._kind = kind
        state = self._h.scripts.state
        if kind == "interactive" and state.ready["bulk"] and state.bulk_breaker.state != "open":
            self._since_bulk += 1
            if self._since_bulk > 8:
                self._h.violation("a bulk lane is passed by more than eight pops")
        else:
            self._since_bulk = 0

    def granted(self, lane: Lane, goes_on: bool) -> None:
        """A lane was granted."""
        history, state = self._h, self._h.scripts.state
        head = state.intents[lane.queue[0]]
        if state.breaker.state in ("open", "paused"):
            history.violation("granted while the breaker is open", lane.name)
        if history.rolled_back and not self.hold_ended_at:
            if history.scripts.now < int(self.rollback_at) + COMMIT_MS:
                history.violation("granted in the hold", lane.name)
        if lane.name in self._backstopped:
            history.violation("blocked, and no event made it ready", lane.name)
        self._half_open(lane)
        self._bulk(lane, goes_on)
        if goes_on and head.kills:
            history.violation("a suspect goes on", lane.name)
        if goes_on and history.scripts.now - lane.fence // 1000 >= history.settings.max_hold_ms:
            history.violation("goes on after the maximum hold", lane.name)
        self._waiters(lane, goes_on)

    def _out(self, grants: Sequence[tuple[str, int]], mine: str) -> bool:
        lanes = self._h.scripts.state.lanes
        for name, fence in grants:
            lane = lanes.get(name)
            if name != mine and lane and lane.token is not None and lane.fence == fence:
                if lane.until > self._h.scripts.now:
                    return True
        return False

    def moved(self, lane: Lane, by_backstop: bool) -> None:
        """A tick made a lane ready that was not leased."""
        if by_backstop:
            self._backstopped.add(lane.name)
        if self._h.scripts.is_shut():
            self._h.violation("moved while nothing is granted", lane.name)

    def claimed(self) -> None:
        """A claim is over: who was taken and is not granted has been parked again."""
        self._backstopped = {name for name in self._backstopped if self._h.scripts.ready_class(name)}

    def told(self, word: str, named: Mapping[str, Any], view: BreakerView) -> None:
        """A breaker was told something."""
        if named.get("bulk"):
            if view.state != "open":
                self._bulk_trials = []
            return
        sort = named.get("sort", "reads")
        if word == "refused" and view.state not in ("open", "paused"):
            self._h.violation("a refused token does not open the breaker")
        if (
            word == "ok"
            and self._was_half
            and view.state == "closed"
            and self._failing not in ("reads", sort)
        ):
            self._h.violation("closed by a call of another sort", sort, self._failing)
        if view.state == "closed":
            self._half_grants = []
        self._was_half, self._failing = view.state == "half", view.sort

    def _half_open(self, lane: Lane) -> None:
        if self._h.scripts.state.breaker.state != "half":
            return
        if self._out(self._half_grants, lane.name):
            self._h.violation("two lanes while half open", lane.name)
        self._half_grants.append((lane.name, lane.fence))

    def _bulk(self, lane: Lane, goes_on: bool) -> None:
        """While bulk intents are stopped one lane of them is tried at a time, and not at once."""
        breaker = self._h.scripts.state.bulk_breaker
        if breaker.state != "open":
            return
        if goes_on and self._h.scripts.class_of(lane) == "bulk":
            self._h.violation("a bulk lane goes on while they are stopped")
        if not goes_on and self._kind == "bulk":
            if self._h.now < self.bulk_not_before - CLOCK_MS:
                self._h.violation("bulk is tried again too early")
            if self._out(self._bulk_trials, lane.name):
                self._h.violation("two bulk lanes while they are stopped")
            self._bulk_trials.append((lane.name, lane.fence))

    def _waiters(self, lane: Lane, goes_on: bool) -> None:
        """Nobody who waits for an external id is passed by many who came later."""
        history, state = self._h, self._h.scripts.state
        head = state.intents[lane.queue[0]]
        for digest in () if goes_on or head.attempts > 1 else head.exts:
            mine = self._first_waited.pop((lane.name, digest, head.id), history.now)
            for waiter, since in list(self._first_waited.items()):
                name, other, its_head = waiter
                if other != digest or name not in state.lanes:
                    continue
                if its_head not in state.lanes[name].queue[:1]:
                    del self._first_waited[waiter]
                elif state.lanes[name].waits != ("ext", digest):
                    if not history.scripts.ready_class(name):
                        del self._first_waited[waiter]
                elif since < mine:
                    self._passed.setdefault(waiter, set()).add(head.id)
                    if len(self._passed[waiter]) > history.suite.most_passed:
                        history.violation("a waiter is passed for ever", name)
            self._passed.pop((lane.name, digest, head.id), None)
        for digest, ext in state.exts.items():
            for name in ext.waiting:
                if state.lanes[name].waits == ("ext", digest):
                    waiter = (name, digest, state.lanes[name].queue[0])
                    self._first_waited.setdefault(waiter, history.now)

    def killed(self, lane: Lane) -> None:
        """The head of a lease that ran out is charged."""
        history = self._h
        engine = str(lane.token).rpartition(":")[0]
        happened = history.faults.happened
        excused = happened.count("flap") >= 2 or "freeze" in happened or (
            history.rolled_back and history.now >= self.rollback_at + COMMIT_MS
        )  # fmt: skip
        if engine not in history.deaths and not excused:
            history.violation("a living holder is charged", lane.name, engine)
        if history.deaths.get(engine) != "poison":
            id = lane.queue[0].lstrip("~")
            self.spared_kills[id] = self.spared_kills.get(id, 0) + 1

    def renewed(self, lease_lane: str, fence: int) -> None:
        """A tick renewed a lease."""
        history = self._h
        lane = history.scripts.state.lanes.get(lease_lane)
        longest = history.settings.max_hold_ms + history.settings.lease_ms + TICK_MS
        delayed = {"flap", "freeze"} & set(history.faults.happened)
        if lane is not None and lane.fence == fence and lane.until - fence // 1000 > longest and not delayed:
            history.violation("a lease is renewed after the maximum hold", lease_lane)

    # ── requests ──

    def asks(self) -> None:
        """A request leaves: no ten seconds see more than the limit, whatever their phase."""
        history, sent = self._h, self._sent
        sent.append(history.now)
        while sent[0] <= history.now - WINDOW_MS:
            sent.popleft()
        if history.rolled_back:
            return
        if len(sent) > history.settings.requests_per_10s:
            history.violation("more calls than the limit", len(sent))
        if self.muted[0] + HAND_MS + 50 < history.now < self.muted[1]:
            history.violation("sent in the wait of a 429")

    def sends(self, engine: Engine, job: Job, write: Write, addresses: set[int], ids: Sequence[str]) -> None:
        """A write leaves."""
        history = self._h
        self.asks()
        self.written.update(ids)
        head = history.scripts.state.intents.get(ids[0]) if ids else None
        if head is not None and head.kills >= MAX_KILLS:
            history.violation("a write at the last chance", ids[0])
        if write.verb in ("create", "update") and any(self._is_of_another(id, write) for id in ids):
            history.violation("written under another external id", job.lane)
        if not history.rolled_back and any(id in self.withdrawn for id in ids):
            history.violation("written after it was withdrawn", job.lane)
        if self.rollback_at < job.checkpointed_at and job.server == history.scripts.server:
            lane = history.scripts.state.lanes.get(job.lane)
            if lane is None or lane.token != job.token or lane.fence != job.fence:
                history.violation("sent without the lease", job.lane, write.verb)
            elif lane.commit < history.now + HTTP_MS + TAIL_MS - CLOCK_MS:
                history.violation("sent without a record", job.lane, write.verb)
        if self.hold_was_ended():
            return
        for address in addresses:
            if self.in_flight.get(address):
                history.violation("two writes at once", address, write.verb, self.in_flight[address])
        if write.external_id and self.ext_in_flight.get(write.external_id):
            history.violation("two writes at once with one external id", write.external_id)

    def _is_of_another(self, id: str, write: Write) -> bool:
        intent = self._h.scripts.state.intents.get(id)
        return intent is not None and intent.payload and intent.payload.external_id != write.external_id

    def departs(self, number: int, write: Write, addresses: set[int], external_id: str) -> None:
        """A write is on its way."""
        for address in addresses:
            self.in_flight.setdefault(address, {})[number] = write.verb
        if external_id:
            self.ext_in_flight.setdefault(external_id, {})[number] = write.verb

    def arrives(self, number: int, addresses: set[int], external_id: str) -> None:
        """It can have no effect any more."""
        for address in addresses:
            self.in_flight[address].pop(number, None)
        if external_id:
            self.ext_in_flight[external_id].pop(number, None)

    def commits(
        self, write: Write, place: int | None, addresses: set[int], ids: Sequence[str], version: int | None
    ) -> None:
        """A write takes effect."""
        history = self._h
        excused = self.hold_was_ended() or (ids and all(id in self.ends_lost for id in ids))
        for address in addresses:
            latest = self._latest.get(address, 0)
            if place is not None and place < latest and not excused:
                history.violation("an effect goes back", address, place, latest)
            self._latest[address] = max(latest, place or 0)
        if write.external_id and version is not None and write.verb in ("create", "update"):
            if version < self._versions.get(write.external_id, -1) and not self.hold_was_ended():
                history.violation("a version goes back", write.external_id, version)

    def creates(self, contact: Contact) -> None:
        """Intercom is about to have one contact more."""
        for other in self._h.intercom.live_at(contact.address):
            if (
                contact.external_id
                and not other.external_id
                and other.made_for
                and other.made_for <= self.lost
            ):
                self.pairs.append((other.id, contact.id))
            elif not (contact.external_id and other.external_id) and not self.hold_was_ended():
                self._h.violation("a second contact of one person", contact.id, other.id)

    # ── ends ──

    def settled(self, lane: Lane, step: int, ids: tuple[str, ...]) -> None:
        """Intents ended."""
        history = self._h
        history.active()
        self.ends_lost.difference_update(ids)
        said = self.settling.pop((lane.name, lane.fence, step), None)
        if said is None:
            return
        contact = history.intercom.contacts.get(said.contact)
        if said.external_id and said.version is not None:
            self._versions[said.external_id] = max(self._versions.get(said.external_id, -1), said.version)
        if contact is None or self.hold_ended_at:
            return
        if said.skipped_at is not None and contact.lives and contact.value != said.value:
            if contact.valued_at < said.skipped_at - CLOCK_MS:
                history.violation("a skip against an old value", contact.id, contact.value, said.value)
        if not history.rolled_back:
            if contact.address != address_of(lane.name):
                contact.mixed = True
            contact.want = said.value

    def rolled_back(self, before: set[str], state_ids: dict[str, bool]) -> None:
        """Redis forgot a moment. `before`: what it knew; `state_ids`: ids that it knows → do they wait?"""
        history = self._h
        old = history.scripts.state.intents
        self.lost |= before - state_ids.keys()
        self.ends_lost |= {id for id, waits in state_ids.items() if waits and old[id].ended}
        self.rollback_at = history.now
        self.hold_ended_at = 0.0
        self._latest, self._versions = {}, {}
        for contact in history.intercom.contacts.values():
            contact.want = None
        for ids in self.accepted.values():
            ids[:] = [id for id in ids if id not in self.lost]

    def buries(self, id: str, poison: bool, kills: int) -> None:
        """A head is buried for its kills."""
        own = kills - self.spared_kills.get(id, 0)
        if not poison and (own > 1 or not self._h.faults.happened):
            self._h.violation("an innocent is buried", id, kills)


def elements(lane: Lane) -> list[str]:
    """Intents that wait in a lane, without markers."""
    return [one for one in lane.queue if not is_marker(one)]
