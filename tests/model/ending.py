"""The scripts under a lease: checkpoint, settle, bury, postpone, scrub."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple, NoReturn

from onelane_worker.lanes.types import (
    KEEP,
    Check,
    Checkpointed,
    ContactWrite,
    Ended,
    ExtNote,
    Fenced,
    Keep,
    LaneError,
    Left,
    More,
    Part,
    Postponed,
    PostponedState,
    RegistryPart,
    Settled,
    Step,
    StillOpen,
    StoredEntry,
    TargetEnd,
)

from .granting import Granting
from .state import Contact, Lane, is_marker


class Stale(Fenced):
    """A step below the last one of this lease."""


class Went(NamedTuple):
    """What is remembered of the answer `more`: the grant is made anew for the owner."""

    calls: int


class Open(NamedTuple):
    """What is remembered of a refused bury."""

    commit_until_ms: int | None

    def error(self) -> LaneError:
        return StillOpen(self.commit_until_ms)


class NotTheHead(NamedTuple):
    """What is remembered of an ending that named other intents than the head's."""

    def error(self) -> LaneError:
        return Fenced("not the head's")


_NO: Final = object()
"""No answer is remembered."""


class Ending(Granting):
    """Each method begins with `_enter`, which knows repeats, and ends with `_leave`, which remembers."""

    def _enter(self, step: Step) -> Any:
        """The remembered answer of this step, or `_NO`. Raises `Fenced` if the caller is not the owner."""
        lane, rules = self.lane(step.lane), self.rules
        if lane.step_fence == step.fence and rules.step_repeats:
            if step.number == lane.step:
                return self._remembered(lane, step)
            if step.number < lane.step and rules.step_old_refused:
                raise Stale
        if rules.owner and (lane.token != step.token or lane.fence != step.fence):
            raise Fenced
        return _NO

    def _remembered(self, lane: Lane, step: Step) -> Any:
        answer = lane.answer
        if isinstance(answer, Open | NotTheHead):
            raise answer.error()
        if isinstance(answer, Settled | Postponed):
            return replace(answer, ready=self.any_ready())
        if not isinstance(answer, Went):
            return answer
        owner = lane.token == step.token and lane.fence == step.fence
        if owner or not self.rules.more_owned:
            return Settled("more", self.grant(lane), answer.calls, self.any_ready())
        return Settled("left", ready=self.any_ready())

    def _leave(self, step: Step, answer: Any) -> Any:
        lane = self.lane(step.lane)
        lane.step, lane.step_fence = step.number, step.fence
        went = isinstance(answer, Settled) and answer.word == "more"
        lane.answer = Went(answer.calls) if went else answer
        return answer

    def any_ready(self) -> bool:
        """Is any lane ready?"""
        return any(self.state.ready.values())

    # ── what may commit ──

    def checkpoint(
        self,
        step: Step,
        *,
        open_write: Any,
        journal: Part = KEEP,
        registry: RegistryPart = KEEP,
        contact: ContactWrite | None = None,
        external_id: str | None = None,
    ) -> Checkpointed:
        """Record a write before it is sent."""
        if (known := self._enter(step)) is not _NO:
            return known  # type: ignore[no-any-return]
        lane, rules = self.lane(step.lane), self.rules
        further = external_id if external_id not in lane.exts else None
        if further and self.holder(further, lane) is not None:
            return self._leave(step, Checkpointed("ext_busy", 0))  # type: ignore[no-any-return]
        if rules.ext_checked and any(self.ext(digest).lane != lane.name for digest in lane.exts):
            return self._leave(step, Checkpointed("ext_lost", 0))  # type: ignore[no-any-return]
        if further:
            self.ext(further).lane = lane.name
            lane.exts += (further,)
        self.extend(lane)
        commit = self.now + self.settings.commit_ms
        if rules.recorded:
            lane.commit, lane.open_write, lane.open_step = commit, open_write, (step.fence, step.number)
        if journal is not KEEP:
            lane.journal = journal
        self.store_entry(lane, registry)
        if rules.lock_until_commit:
            for digest in lane.exts:
                self.ext(digest).until = commit
        if contact is not None:
            self._wrote_elsewhere(lane, contact, commit)
        return self._leave(step, Checkpointed("ok", self.now, commit))  # type: ignore[no-any-return]

    def _wrote_elsewhere(self, lane: Lane, write: ContactWrite, commit: int) -> None:
        contact = self.contact(write.digest)
        if contact.writer != lane.name:
            contact.others, contact.writer = contact.wrote, lane.name
        contact.wrote = max(contact.wrote, commit)
        contact.knows.add(lane.name)

    def contact(self, digest: str) -> Contact:
        """What is known of a contact's writes from other lanes."""
        contacts = self.state.contacts
        if digest not in contacts or contacts[digest].until <= self.now:
            contacts[digest] = Contact()
        contacts[digest].until = self.now + self.settings.registry_ttl_ms + self.settings.commit_ms
        return contacts[digest]

    def clear(self, step: Step, journal: Part) -> Checkpointed:
        """The open write was answered, or provably not sent."""
        if (known := self._enter(step)) is not _NO:
            return known  # type: ignore[no-any-return]
        lane = self.lane(step.lane)
        self._nothing_open(lane)
        if journal is not KEEP:
            lane.journal = journal
        self.extend(lane)
        for digest in lane.exts:
            if self.ext(digest).lane == lane.name:
                self.ext(digest).until = 0
        return self._leave(step, Checkpointed("ok", self.now))  # type: ignore[no-any-return]

    def _nothing_open(self, lane: Lane) -> None:
        lane.commit, lane.open_write, lane.open_step = 0, None, None

    def store_entry(self, lane: Lane, registry: RegistryPart) -> None:
        """Store what the lane knows of its contacts, if anything is to be stored."""
        if isinstance(registry, Keep):
            return
        if registry is None:
            lane.registry, lane.about = None, ()
            return
        lane.registry, lane.about = registry.text, registry.about
        lane.registry_until = self.now + self.settings.registry_ttl_ms
        for digest in registry.elsewhere:
            self.contact(digest).knows.add(lane.name)

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
        more: More | None = None,
    ) -> Settled:
        """End the intents, head first, and go on or release."""
        if (known := self._enter(step)) is not _NO:
            return known  # type: ignore[no-any-return]
        lane = self.lane(step.lane)
        ids = [one.id for one in ended]
        if not self.rules.ends_by_id:
            ids = lane.queue[: len(ids)]
        if not ids or lane.queue[: len(ids)] != ids:
            self._refused(step, NotTheHead())
        head = self.state.intents[ids[0]]
        if target is not None and head.target:
            self._store_at_target(self.lane(head.target), target)
        self._nothing_open(lane)
        lane.journal = None
        if not isinstance(registry, Keep) or lane.usable or not self.rules.dirty_stays:
            lane.dirty = False
        self.store_entry(lane, registry)
        if consent is not KEEP:
            lane.consent = consent
        for note in ext:
            self._note_ext(lane, note)
        for one in left:
            self._note_left(one)
        self._add_timeline(lane, timeline)
        self._owe_check(lane, check)
        for one, id in zip(ended, ids, strict=True):
            self.take_out(lane, id, "done", one.outcome)
        self.on_end(lane, step.number, tuple(ids))
        return self._leave(step, self._go_on(lane, more))  # type: ignore[no-any-return]

    def _store_at_target(self, target: Lane, known: TargetEnd) -> None:
        self.store_entry(target, known.registry)
        if known.consent is not KEEP:
            target.consent = known.consent
        target.dirty = False

    def _note_ext(self, lane: Lane, note: ExtNote) -> None:
        ext = self.ext(note.digest)
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

    def _add_timeline(self, lane: Lane, lines: Sequence[str]) -> None:
        if lines:
            lane.timeline = (lane.timeline + list(lines))[-self.settings.timeline_max :]

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
        more: More | None = None,
    ) -> Settled:
        """The head becomes a dead letter. Raises `StillOpen`."""
        if (known := self._enter(step)) is not _NO:
            return known  # type: ignore[no-any-return]
        lane, rules = self.lane(step.lane), self.rules
        if lane.queue[0] != intent_id:
            self._refused(step, NotTheHead())
        mine = answered is not None and lane.open_step == (step.fence, answered)
        if lane.commit > self.now and not mine and rules.bury_only_answered:
            self._refused(step, Open(lane.commit))
        if mine:
            lane.journal = None
        if lane.journal is not None and intent_id in self.named_by(lane.journal) and rules.bury_not_journaled:
            self._refused(step, Open(None))
        self._nothing_open(lane)
        self.store_entry(lane, registry)
        if consent is not KEEP:
            lane.consent = consent
        intent = self.state.intents[intent_id]
        if target_pointer is not None and intent.target and rules.pointer_buried:
            target = self.lane(intent.target)
            if self.entry_of(target) is None or not target.about:
                self.store_entry(target, target_pointer)
        self._add_timeline(lane, timeline)
        intent.error = error
        self.take_out(lane, intent_id, "dead", outcome)
        intent.burials += 1
        self.state.dead[intent_id] = self.now
        self.state.letters.setdefault(lane.name, set()).add(intent_id)
        return self._leave(step, self._go_on(lane, more))  # type: ignore[no-any-return]

    def _refused(self, step: Step, why: Open | NotTheHead) -> NoReturn:
        self._leave(step, why)
        raise why.error()

    def named_by(self, journal: Any) -> Sequence[str]:
        """Ids of the intents that a journal names, or the text in which they stand."""
        return journal if isinstance(journal, str) else journal.ids  # type: ignore[no-any-return]

    def take_out(
        self, lane: Lane, id: str, state: str, outcome: Any, *, withdrawn: bool = False
    ) -> None:
        """An intent leaves the queue; the marker of a change leaves the other queue."""
        rules, intent = self.rules, self.state.intents[id]
        if id in lane.queue:
            index = lane.queue.index(id)
            if index < lane.served:
                lane.served -= 1
            del lane.queue[index]
        self.state.pending -= 1
        intent.state, intent.outcome, intent.ended, intent.next = state, outcome, self.now, 0
        if state == "done":
            intent.payload = intent.error = None
        lane.hot -= not intent.bulk
        lane.erasing -= intent.erases
        if not intent.target or not rules.marker_ends:
            return
        if (state == "dead" and not rules.marker_buried) or (withdrawn and not rules.marker_withdrawn):
            return
        self._take_marker_out(self.lane(intent.target), intent)

    def _take_marker_out(self, target: Lane, intent: Intent) -> None:
        marker = f"~{intent.id}"
        if marker in target.queue:
            first = target.queue[0] == marker
            target.queue.remove(marker)
            target.hot -= not intent.bulk
            self.place_again(target, first)

    # ── going on, or not ──

    def _go_on(self, lane: Lane, more: More | None) -> Settled:
        """The next batch under the same lease, where claim would grant it; else the lane is released."""
        if more is not None and self._may_go_on(lane, more.in_hand):
            if not self.offer(lane, str(lane.token), goes_on=True):
                return Settled("left", ready=self.any_ready())
            calls = 0 if more.in_hand or not self.rules.more_gated else 1
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

    # ── postpone ──

    def postpone(
        self,
        step: Step,
        delay_ms: int,
        state: PostponedState,
        *,
        unknown: bool,
        counted: bool | None,
        error: Part = KEEP,
        journal: Part = KEEP,
        registry: RegistryPart = KEEP,
        consent: Part = KEEP,
        yields: bool = False,
        external_id: str | None = None,
        timeline: Sequence[str] = (),
    ) -> Postponed:
        """Release and look again."""
        if (known := self._enter(step)) is not _NO:
            return known  # type: ignore[no-any-return]
        lane, rules = self.lane(step.lane), self.rules
        head = self.state.intents[lane.queue[0]]
        at = self.now + delay_ms
        if yields:
            lane.yields = True
            if len(lane.queue) > lane.seen:
                at = self.now
        lane.token = None
        if unknown:
            at = max(at, lane.commit) if rules.postponed_until_commit else at
            if not rules.postponed_keeps_locks:
                self.give_back(lane)
        else:
            self._nothing_open(lane)
            self.give_back(lane)
        if not rules.journal_stays:
            lane.journal = None
        elif journal is not KEEP:
            lane.journal = journal
        self.store_entry(lane, registry)
        if consent is not KEEP:
            lane.consent = consent
        if error is not KEEP:
            head.error = error
        self._add_timeline(lane, timeline)
        if external_id and rules.further_ext_kept:
            head.ext2 = external_id
        head.attempts = 0 if counted is None else head.attempts - (not counted)
        head.state, head.next = state, at
        if at <= self.now and rules.zero_delay_ready:
            self.make_ready(lane)
        else:
            self.park(lane, at)
        return self._leave(step, Postponed(at, self.any_ready()))  # type: ignore[no-any-return]

    # ── scrub ──

    def scrub(self, step: Step, outcome: Any, ext: Sequence[str], contacts: Sequence[str]) -> None:
        """Forget the person: dead letters, timeline, what is remembered with external ids and contacts."""
        if self._enter(step) is not _NO:
            return
        lane, state = self.lane(step.lane), self.state
        for id in state.letters.pop(lane.name, set()):
            state.dead.pop(id, None)
            letter = state.intents[id]
            letter.state, letter.outcome, letter.payload, letter.error = "done", outcome, None, None
            if letter.dedupe and state.dedupe.get(letter.dedupe, ("", ""))[0] == id:
                del state.dedupe[letter.dedupe]
            letter.dedupe = ""
        lane.timeline = []
        for digest in ext:
            self.ext(digest).pointer = None
            self.ext(digest).versions = {}
        for digest in contacts:
            self.contact(digest).home, self.contact(digest).moved = "", self.now
        self._leave(step, None)


def _number(version: str) -> int:
    """The number in `number intent ms`; none is below all."""
    return int(version.split(" ", 1)[0]) if version else -(2**63)
