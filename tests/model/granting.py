"""Claim and tick: who gets which lane, and what becomes of leases that run out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import itemgetter
from typing import Any, Final

from onelane_worker.lanes.types import Claimed, Grant, Ticked

from .offering import Offering
from .state import EngineRecord, Lane

EXTRA_POPS: Final = 4
"""A claim of n lanes pops at most 2n + this many."""
TURN: Final = 8
"""Every so many pops a bulk lane goes first."""
MOVED_AT_ONCE: Final = 200
MOVER_MS: Final = 1_000
"""An engine that has not moved lanes for so long is replaced."""
SPARED_MS: Final = 2_000
"""How long leases are spared after nobody ticked."""
HEAL_MS: Final = 1_000


class Granting(Offering):
    """The scripts claim and tick, and `more`, which grants by the same rules."""

    def engine_record(self, engine: str) -> EngineRecord:
        engines = self.state.engines
        if engine not in engines:
            engines[engine] = EngineRecord()
        return engines[engine]

    # ── claim ──

    def claim(
        self,
        engine: str,
        number: int,
        most: int,
        *,
        suspects: tuple[int, int],
        wakes: int,
        in_hand: int,
    ) -> Claimed:
        """Grant up to `most` lanes."""
        self.look_at_server()
        state, record = self.state, self.engine_record(engine)
        token = f"{engine}:{number}"
        if number < record.number and self.rules.claim_old_refused:
            return self._claimed("stale")
        if number == record.number and self.rules.claim_repeats:
            return self._claimed("again", [self.grant(lane) for lane in self._granted_before(record, token)])
        record.number, record.grants = number, ()
        state.tokens = max(0, state.tokens - wakes)
        if self.is_shut():
            return self._claimed("hold" if self.in_hold() else "open")
        half = state.breaker.state == "half" and self.rules.half_one_lane and self.rules.breaker_gates
        if half:
            if self.is_tried(state.breaker):
                return self._claimed("half")
            most = min(most, 1)
        self.load_bucket()
        most = min(most, in_hand + self.calls_left())
        granted = self._pop_lanes(most, suspects, in_hand, token)
        record.grants = tuple((lane.name, lane.fence) for lane in granted)
        if half and granted:
            state.breaker.trial = record.grants[0]
        reserved = max(0, len(granted) - in_hand)
        if reserved:
            self.take_calls(reserved)
        more, wait_ms = (False, 0) if half else self._what_is_left(suspects, granted, in_hand)
        grants = [self.grant(lane) for lane in granted]
        return self._claimed("ok", grants, more=more, calls=reserved, wait_ms=wait_ms)

    def _what_is_left(
        self, suspects: tuple[int, int], granted: Sequence[Lane], in_hand: int
    ) -> tuple[bool, int]:
        """Would another claim be granted something now? If only calls are missing, ms until it would."""
        ready = self.state.ready
        suspect = self._suspect_may_go(*self._suspects_after(suspects, granted))
        bulk = bool(ready["bulk"]) and self.bulk_may_go()
        if not (ready["interactive"] or bulk or suspect):
            return False, 0
        can_call = in_hand > len(granted) or self.calls_left()
        if can_call and (ready["interactive"] or suspect or (bulk and not self.is_low())):
            return True, 0
        return False, math.ceil(self.wait_for(max(1.0, self.bucket_size / 2)))

    def _claimed(self, word: Any, grants: Sequence[Grant] = (), **more: Any) -> Claimed:
        return Claimed(
            word,
            tuple(grants),
            epoch_ms=self.state.epoch_since or None,
            breaker=self.breaker_state(),
            bulk=self.breaker_state(True),
            **more,
        )

    def _granted_before(self, record: EngineRecord, token: str) -> list[Lane]:
        lanes = [(self.lane(name), fence) for name, fence in record.grants]
        return [
            lane
            for lane, fence in lanes
            if (lane.token == token and lane.fence == fence) or not self.rules.claim_repeats_owned
            if lane.queue
        ]

    def _suspects_after(self, suspects: tuple[int, int], granted: Sequence[Lane]) -> tuple[int, int]:
        """How many suspects may still come, and how many the engine has, after these grants."""
        room, here = suspects
        for kills in filter(None, map(self.kills_of, granted)):
            here += 1
            room = room - 1 if kills < 2 or not self.rules.suspect_engine_alone else 0
        return room, here

    def _pop_lanes(self, most: int, suspects: tuple[int, int], in_hand: int, token: str) -> list[Lane]:
        state, rules = self.state, self.rules
        granted: list[Lane] = []
        for _ in range(2 * most + EXTRA_POPS):
            if len(granted) >= most:
                break
            kind = "suspect"
            if not self._suspect_may_go(*self._suspects_after(suspects, granted)):
                promised = max(0, len(granted) - in_hand)
                if (chosen := self._interactive_or_bulk(promised)) is None:
                    break
                kind = chosen
            name = next(iter(state.ready[kind]))
            del state.ready[kind][name]
            self.on_pop(kind)
            lane = self.lane(name)
            if not self.offer(lane, token):
                continue
            granted.append(lane)
            if kind == "bulk" and state.bulk_breaker.state == "open":
                state.bulk_breaker.trial = (lane.name, lane.fence)
                if rules.bulk_trial_waits:
                    state.bulk_breaker.next = self.now + self.settings.bulk_pause_ms
        return granted

    def _suspect_may_go(self, room: int, here: int) -> bool:
        """Suspects go in their order: one that must be alone waits until the others have ended."""
        waiting = self.state.ready["suspect"]
        if not waiting:
            return False
        alone = self.rules.suspect_engine_alone and self.kills_of(self.lane(next(iter(waiting)))) >= 2
        return room > 0 and not (here and alone)

    def _interactive_or_bulk(self, promised: int) -> str | None:
        """Bulk lanes go while the bucket is above half and nothing interactive is ready, or at every eighth
        pop."""
        state, rules = self.state, self.rules
        state.pops += 1
        low = self.is_low(promised)
        turn = rules.eighth_pop and state.pops % TURN == 0 and not (low and not rules.eighth_pop_always)
        interactive = state.ready["interactive"]
        if state.ready["bulk"] and (turn or not (interactive or low)) and self.bulk_may_go():
            return "bulk"
        return "interactive" if interactive else None

    # ── tick ──

    def tick(self, engine: str, name: str, leases: Sequence[Grant]) -> Ticked:
        """Renew the engine's leases; one engine also moves what is due."""
        state, rules = self.state, self.rules
        record = self.engine_record(engine)
        lost = self._renew(leases) if rules.renewed else frozenset()
        if self.now - state.ticked > self.settings.lease_ms / 2:
            state.spare = self.now + SPARED_MS
        state.ticked = record.seen = self.now
        record.name = name
        if rules.wake_heals and state.tokens > 0 and self.now - state.healed >= HEAL_MS:
            state.tokens -= 1
            state.healed = self.now
        more = False
        if state.mover in (None, engine) or self.now - state.moved_at >= MOVER_MS or not rules.one_mover:
            state.mover, state.moved_at = engine, self.now
            self.look_at_server()
            more = self._move_what_is_due()
        return Ticked(
            lost,
            any(state.ready.values()),
            self.breaker_state(),
            self.breaker_state(True),
            self.take_probe(),
            0 if more else min((at - self.now for at in state.due.values() if at > self.now), default=None),
        )

    def _renew(self, leases: Sequence[Grant]) -> frozenset[tuple[str, int]]:
        lost = []
        for lease in leases:
            lane = self.lane(lease.lane)
            if not self.rules.renewed_by_owner:
                lane.token, lane.fence = lease.token, lease.fence
                self.unready(lane.name)
            if lane.token == lease.token and lane.fence == lease.fence:
                self.extend(lane)
            else:
                lost.append((lease.lane, lease.fence))
        return frozenset(lost)

    def _move_what_is_due(self) -> bool:
        """Make due lanes ready; end leases that ran out. Returns whether more may be due."""
        shut = self.is_shut() and self.rules.shut_moves_leases_only
        due = sorted((at, name) for name, at in self.state.due.items() if at <= self.now)
        moved = 0
        for _, name in due[:MOVED_AT_ONCE]:
            lane = self.lane(name)
            was_leased = lane.token is not None
            if (shut and not was_leased) or (was_leased and not self._end_lease(lane)):
                continue
            moved += 1
            by_backstop = self._is_backstop(lane)
            self.state.backstops += by_backstop
            if not was_leased:
                self.on_move(lane, by_backstop)
            if self.rules.due_made_ready:
                self.make_ready(lane)
            else:
                self.state.due.pop(name)
        return moved == MOVED_AT_ONCE

    def _is_backstop(self, lane: Lane) -> bool:
        """Does the lane wait for an event that has not come? Not so the first in line for an external id: it
        looks when the lock ends."""
        if lane.waits is None:
            return False
        kind, what = lane.waits
        return kind == "lane" or min(self.ext(what).waiting.items(), key=itemgetter(1))[0] != lane.name

    def _end_lease(self, lane: Lane) -> bool:
        """The lease ran out. Its head is charged if the holder's process is gone."""
        if lane.until > self.now and self.rules.lease_living_stays:
            self.state.due[lane.name] = lane.until
            return False
        if self.rules.outage_not_charged and self.now < self.state.spare:
            return False
        holder = str(lane.token).rpartition(":")[0]
        seen = self.engine_record(holder).seen
        lives = self.rules.living_not_charged and seen >= lane.until - self.settings.lease_ms / 2
        young = self.rules.epoch_not_charged and self.epoch_is_young()
        if self.rules.kill_charged and lane.queue and not lives and not young:
            self.intent_of(lane.queue[0]).kills += 1
            self.on_kill(lane)
        lane.token = None
        return True
