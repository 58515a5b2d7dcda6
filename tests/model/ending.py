"""Settle, bury and scrub: how intents end under a lease, and whether it goes on."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

import heapq
import json
from collections.abc import Sequence
from typing import Any, NoReturn

from onelane_worker.lanes.types import (
    KEEP,
    Check,
    Ended,
    ExtNote,
    Keep,
    Left,
    Part,
    RegistryPart,
    Settled,
    Step,
    StoredEntry,
    TargetEnd,
)

from .leased import NO, Leased, NotTheHead, Open
from .state import Dedupe, Intent, Lane, is_marker


class Ending(Leased):
    """The scripts that end intents, and those that follow from it."""

    # ── settle ──

    def settle(
        self,
        step: Step,
        ended: Sequence[Ended],
        *,
        registry: RegistryPart,
        consent: Part = KEEP,
        ext: Sequence[ExtNote] = (),
        left: Sequence[Left] = (),
        timeline: Sequence[str] = (),
        check: Check | Keep | None = KEEP,
        target: TargetEnd | None = None,
        more: int | None = None,
    ) -> Settled:
        """End the intents, head first, and go on or release."""
        if (known := self.enter(step)) is not NO:
            return known
        lane = self.lane(step.lane)
        ids = [one.id for one in ended]
        if not self.rules.ends_by_id:
            ids = lane.queue[: len(ids)]
        if not ids or lane.queue[: len(ids)] != ids:
            self.refused(step, NotTheHead())
        head = self.state.intents[ids[0]]
        if target is not None and head.target:
            self._store_at_target(self.lane(head.target), target)
        self.nothing_open(lane)
        lane.journal = None
        if not isinstance(registry, Keep) or lane.usable or not self.rules.dirty_stays:
            lane.dirty = False
        self.store_entry(lane, registry)
        self.store_consent(lane, consent)
        for note in ext:
            self._note_ext(lane, note)
        for one in left:
            self._note_left(one)
        self.add_timeline(lane, timeline)
        self._owe_check(lane, check)
        for done, id in zip(ended, ids, strict=True):
            self.take_out(lane, id, "done", done.outcome)
            self.forget_later(id, brief=done.brief)
        self.on_end(lane, step.number, tuple(ids))
        return self.leave(step, self._go_on(lane, more))

    def _store_at_target(self, target: Lane, known: TargetEnd) -> None:
        self.store_entry(target, known.registry)
        self.store_consent(target, known.consent)
        target.dirty = False

    def _note_ext(self, lane: Lane, note: ExtNote) -> None:
        ext = self.kept_ext(note.digest)
        if ext.lane == lane.name and note.pointer is not KEEP:
            ext.pointer = note.pointer
            ext.pointer_until = self.now + self.settings.registry_ttl_ms if note.pointer is not None else 0
        if not self.rules.versions_grow:
            return
        for source, version in note.versions.items():
            if _number(version) >= _number(ext.versions.get(source, "")):
                ext.versions[source] = version

    def _note_left(self, left: Left) -> None:
        contact = self.contact(left.contact)
        contact.home, contact.moved = left.home, self.now
        contact.knows.add(left.from_lane)

    def _owe_check(self, lane: Lane, check: Check | Keep | None) -> None:
        if isinstance(check, Keep):
            return
        if check is None:
            lane.check = None
            return
        self.look_at_server()
        young = self.rules.epoch_check and self.epoch_is_young(self.settings.settle_window_ms)
        if not check.only_in_new_epoch or young:
            begins = self.state.epoch_since + self.settings.commit_ms if young else 0
            lane.check, lane.check_at = check, max(self.now, begins) + check.delay_ms

    # ── bury ──

    def bury(
        self,
        step: Step,
        intent_id: str,
        error: Any,
        outcome: Any,
        *,
        answered: int | None = None,
        registry: RegistryPart = KEEP,
        consent: Part = KEEP,
        timeline: Sequence[str] = (),
        target_pointer: StoredEntry | None = None,
        more: int | None = None,
    ) -> Settled:
        """The head becomes a dead letter. Raises `Fenced`."""
        if (known := self.enter(step)) is not NO:
            return known
        lane, rules = self.lane(step.lane), self.rules
        if lane.queue[0] != intent_id:
            self.refused(step, NotTheHead())
        mine = answered is not None and lane.open_step == (step.fence, answered)
        if lane.commit > self.now and not mine and rules.bury_only_answered:
            self.refused(step, Open())
        if mine:
            lane.journal = None
        if lane.journal is not None and intent_id in self.named_by(lane.journal) and rules.bury_not_journaled:
            self.refused(step, Open())
        self.nothing_open(lane)
        self.store_entry(lane, registry)
        self.store_consent(lane, consent)
        intent = self.state.intents[intent_id]
        if target_pointer is not None and intent.target and rules.pointer_buried:
            target = self.lane(intent.target)
            if self.entry_of(target) is None or not target.about:
                self.store_entry(target, target_pointer)
        self.add_timeline(lane, timeline)
        intent.error = error
        self.take_out(lane, intent_id, "dead", outcome)
        intent.burials += 1
        self.state.dead[intent_id] = self.now
        self.state.letters.setdefault(lane.name, set()).add(intent_id)
        return self.leave(step, self._go_on(lane, more))

    def refused(self, step: Step, why: Open | NotTheHead) -> NoReturn:
        self.leave(step, why)
        raise why.error()

    def named_by(self, journal: Any) -> Sequence[str]:
        """Ids of the intents that a journal names, or the text in which they stand."""
        return journal if isinstance(journal, str) else journal.ids

    def take_out(self, lane: Lane, id: str, state: str, outcome: Any, *, withdrawn: bool = False) -> None:
        """An intent leaves the queue; the marker of a change leaves the other queue."""
        rules, intent = self.rules, self.state.intents[id]
        if id in lane.queue:
            index = lane.queue.index(id)
            if index < lane.served:
                lane.served -= 1
            del lane.queue[index]
        self.state.pending -= 1
        intent.state, intent.outcome, intent.ended, intent.next = state, outcome, self.now, 0
        self.end_dedupe(intent)
        lane.hot -= not intent.bulk
        lane.erasing -= intent.erases
        if not intent.target or not rules.marker_ends:
            return
        if (state == "dead" and not rules.marker_buried) or (withdrawn and not rules.marker_withdrawn):
            return
        self._take_marker_out(self.lane(intent.target), intent)

    def forget_later(self, id: str, *, brief: bool = False) -> None:
        """Of an intent that has ended for good only how it ended is kept, for a while."""
        intent, settings = self.state.intents[id], self.settings
        intent.payload = intent.error = None
        intent.forget_at = self.now + (settings.unchanged_ttl_ms if brief else settings.status_ttl_ms)
        heapq.heappush(self.state.forgets, (intent.forget_at, id))

    def own_dedupe(self, intent: Intent) -> Dedupe | None:
        """The dedupe key, if it stands for this intent and not for a later one."""
        known = self.state.dedupe.get(intent.dedupe)
        return known if known is not None and known.id == intent.id and not self._is_over(known) else None

    def _is_over(self, known: Dedupe) -> bool:
        return 0 < known.until <= self.now

    def end_dedupe(self, intent: Intent) -> None:
        """The intent ended: its dedupe key lives on for a while."""
        if known := self.own_dedupe(intent):
            self.state.dedupe[intent.dedupe] = known._replace(until=self.now + self.settings.dedupe_ttl_ms)

    def _take_marker_out(self, target: Lane, intent: Intent) -> None:
        marker = f"~{intent.id}"
        if marker in target.queue:
            first = target.queue[0] == marker
            target.queue.remove(marker)
            target.hot -= not intent.bulk
            self.place_again(target, first)

    # ── going on, or not ──

    def _go_on(self, lane: Lane, more: int | None) -> Settled:
        """The next batch under the same lease, where claim would grant it; else the lane is released."""
        if more is not None and self._may_go_on(lane, more):
            if not self.offer(lane, str(lane.token), goes_on=True):
                return Settled("left", ready=self.any_ready())
            calls = 0 if more or not self.rules.more_gated else 1
            if calls:
                self.take_calls(calls)
            return Settled("more", self.grant(lane), calls, self.any_ready())
        self._release(lane)
        self.place(lane)
        return Settled("left", ready=self.any_ready())

    def _may_go_on(self, lane: Lane, in_hand: int) -> bool:
        rules = self.rules
        if rules.epoch_in_more:
            self.look_at_server()
        if not lane.queue or is_marker(lane.queue[0]) or self.class_of(lane) == "suspect":
            return False
        if self.now >= lane.fence / 1000 + self.settings.max_hold_ms and rules.hold_refuses_more:
            return False
        if not rules.more_gated:
            return True
        self.load_bucket()
        if self.state.breaker.state != "closed" or self.in_hold():
            return False
        if self.class_of(lane) == "bulk" and (self.is_low() or self.state.bulk_breaker.state == "open"):
            return False
        return in_hand > 0 or self.calls_left() > 0

    def _release(self, lane: Lane) -> None:
        lane.token = None
        self.give_back(lane)

    # ── scrub ──

    def scrub(self, step: Step, outcome: Any, ext: Sequence[str], contacts: Sequence[str]) -> None:
        """Forget the person: dead letters, timeline, what is remembered with external ids and contacts."""
        if self.enter(step) is not NO:
            return
        lane, state = self.lane(step.lane), self.state
        for id in state.letters.pop(lane.name, set()):
            state.dead.pop(id, None)
            self._forget_dedupe(state.intents[id])
            state.intents[id].state, state.intents[id].outcome = "done", outcome
            self.forget_later(id)
        for event in lane.timeline if lane.timeline_until > self.now else ():
            intent = state.intents.get(json.loads(event).get("id", ""))
            if intent is not None and intent.lane == lane.name and intent.state == "done":
                self._forget_dedupe(intent)
                intent.outcome = _without_contact(intent.outcome)
        lane.timeline = []
        for digest in ext:
            self.ext(digest).pointer, self.ext(digest).versions = None, {}
        for digest in contacts:
            self.contact(digest).home, self.contact(digest).moved = "", self.now
        self.leave(step, None)

    def _forget_dedupe(self, intent: Intent) -> None:
        if self.own_dedupe(intent):
            del self.state.dedupe[intent.dedupe]
        intent.dedupe = ""


def _without_contact(outcome: str | None) -> str:
    """Only words of our own are kept."""
    known = json.loads(outcome or "{}")
    kept = {name: known[name] for name in ("result", "role", "reason", "superseded_by") if name in known}
    return json.dumps(kept, separators=(",", ":"))


def _number(version: str) -> int:
    """The number in `number intent ms`; none is below all."""
    return int(version.split(" ", 1)[0]) if version else -(2**63)
