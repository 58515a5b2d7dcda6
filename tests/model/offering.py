"""Whether a lane is granted or parked, and what a grant tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from onelane_worker.lanes.types import Grant, GrantedIntent, Lock, Target

from .guards import Guards
from .placing import BLOCKED_MS
from .state import Intent, Lane, is_marker

CHECK_KIND: Final = "settle_check"


class Offering(Guards):
    """One lane: granted, or parked where it belongs."""

    # ── one lane ──

    def offer(self, lane: Lane, token: str, *, goes_on: bool = False) -> bool:
        """Grant the lane, or park it where it belongs. `goes_on`: under the same lease."""
        rules, settings = self.rules, self.settings
        self.stop_waiting(lane)
        if not lane.queue and not (not goes_on and self._begin_check(lane)):
            self._refuse(lane)
            self.fall_asleep(lane)
            return False
        if lane.commit > self.now and rules.unknown_holds and not goes_on:
            self._refuse(lane, keeps_locks=rules.unknown_keeps_locks)
            self.park(lane, lane.commit)
            return False
        if is_marker(lane.queue[0]):
            self._refuse(lane)
            self.place(lane)
            return False
        head = self.state.intents[lane.queue[0]]
        if head.schema > settings.schema and rules.newer_waits:
            self._refuse(lane)
            self.park(lane, self.now + settings.newer_ms)
            return False
        for digest in head.exts:
            if self.holder(digest, lane) is not None:
                self._refuse(lane)
                self.wait_for_ext(lane, digest)
                return False
        if head.target and rules.marker_first:
            target = self.lane(head.target)
            if not target.queue or target.queue[0] != f"~{head.id}":
                self._refuse(lane)
                lane.waits = ("lane", target.name)
                self.park(lane, self.now + BLOCKED_MS)
                return False
        self._grant_it(lane, head, token, goes_on)
        return True

    def _begin_check(self, lane: Lane) -> bool:
        """The settle check that is due becomes an intent."""
        check = lane.check
        if check is None or lane.check_at > self.now:
            return False
        lane.check = None
        self.state.intents[check.id] = Intent(
            check.id, lane.name, CHECK_KIND, check.payload, 1, True, self.now
        )
        self.state.pending += 1
        lane.queue.append(check.id)
        return True

    def _refuse(self, lane: Lane, *, keeps_locks: bool = False) -> None:
        """The lane is parked: what it holds, and what it wanted, may go to the next."""
        if not keeps_locks:
            self.give_back(lane)
        lane.token = None
        if self.rules.parked_wakes_next and lane.queue and not is_marker(lane.queue[0]):
            for digest in self.state.intents[lane.queue[0]].exts:
                self.wake_waiter(digest)

    def _grant_it(self, lane: Lane, head: Intent, token: str, goes_on: bool) -> None:
        rules = self.rules
        self.take_locks(lane, head.exts)
        self.unready(lane.name)
        if not goes_on:
            lane.token = token
            lane.fence = max(lane.fence + 1, self.now_us) if rules.fence_by_clock else lane.fence + 1
        lane.usable = not lane.dirty or not rules.dirty
        lane.dirty = True
        self.extend(lane)
        if not rules.lease_due:
            self.state.due.pop(lane.name, None)
        head.attempts += 1
        head.state, head.next = "working", 0
        lane.yields = False
        lane.batch = self._batch(lane, head)
        lane.seen = len(lane.queue)
        lane.served = max(lane.served, lane.batch)
        self.on_grant(lane, goes_on)

    def extend(self, lane: Lane) -> None:
        """The lease lives for its full time from now on."""
        lane.until = self.now + self.settings.lease_ms
        self.state.due[lane.name] = lane.until

    def _batch(self, lane: Lane, head: Intent) -> int:
        """Length of the queue's prefix that is granted; the planner decides how much of it folds."""
        rules, settings = self.rules, self.settings
        if head.target or (head.kills >= 2 and rules.suspect_batch_alone):
            return 1
        size, count = self.size_of(head.payload), 1
        for element in lane.queue[1 : settings.fold_max]:
            if is_marker(element):
                if rules.batch_before_marker:
                    break
                count += 1
                continue
            intent = self.state.intents[element]
            size += self.size_of(intent.payload)
            if size > settings.batch_bytes or (intent.schema > settings.schema and rules.batch_known_schema):
                break
            count += 1
        return count

    def size_of(self, payload: Any) -> int:
        """Bytes."""
        return len(payload.encode()) if isinstance(payload, str) else 1

    # ── what a grant tells ──

    def grant(self, lane: Lane) -> Grant:
        """What the holder is told."""
        state = self.state
        head = self.intent_of(lane.queue[0])
        outdated, moved = self._done_by_others(lane)
        return Grant(
            lane.name,
            str(lane.token),
            lane.fence,
            self.now,
            tuple(self._granted(state.intents[i]) for i in lane.queue[: lane.batch] if not is_marker(i)),
            lane.usable,
            error=head.error,
            registry=self.entry_of(lane),
            consent=self.consent_of(lane),
            journal=lane.journal,
            open_write=lane.open_write,
            commit_until_ms=lane.commit or None,
            locks=tuple(self._lock(digest) for digest in lane.exts),
            outdated=outdated,
            moved=moved,
            target=self._target(self.lane(head.target)) if head.target else None,
        )

    def entry_of(self, lane: Lane) -> Any:
        """The registry entry's text, while it lives."""
        return lane.registry if lane.registry_until > self.now else None

    def consent_of(self, lane: Lane) -> Any:
        """What is known of consent, while it lives."""
        return lane.consent if lane.consent_until > self.now else None

    def _granted(self, intent: Intent) -> GrantedIntent:
        return GrantedIntent(
            intent.id,
            intent.payload,
            intent.accepted,
            intent.attempts,
            intent.kills,
            intent.again or None,
            intent.whole,
            intent.burials,
            intent.bulk,
        )

    def _lock(self, digest: str) -> Lock:
        ext = self.ext(digest)
        pointer = ext.pointer if ext.pointer_until > self.now else None
        return Lock(digest, pointer, dict(ext.versions))

    def _target(self, lane: Lane) -> Target:
        outdated, moved = self._done_by_others(lane)
        return Target(lane.name, not lane.dirty, self.entry_of(lane), self.consent_of(lane), outdated, moved)

    def _done_by_others(self, lane: Lane) -> tuple[Mapping[str, int], Mapping[str, int]]:
        """Since when what the lane knows of its contacts is outdated, and which have moved away from it."""
        outdated, moved = {}, {}
        for digest in lane.about:
            contact = self.state.contacts.get(digest)
            if contact is None or contact.until <= self.now:
                continue
            since = contact.others if contact.writer == lane.name else contact.wrote
            if contact.home is not None and contact.home != lane.name:
                moved[digest] = contact.moved
                since = max(since, contact.moved)
            if since and self.rules.foreign_noted:
                outdated[digest] = since
        return outdated, moved
