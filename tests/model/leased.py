"""Steps under a lease: how repeats are known; checkpoint and postpone."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from onelane_worker.lanes.types import (
    KEEP,
    Checkpointed,
    Fenced,
    Keep,
    LaneError,
    Part,
    Postponed,
    PostponedState,
    RegistryPart,
    Settled,
    Step,
)

from .granting import Granting
from .state import Contact, Lane


class Stale(Fenced):
    """A step below the last one of this lease."""


class Went(NamedTuple):
    """What is remembered of the answer `more`: the grant is made anew for the owner."""

    calls: int


class Open(NamedTuple):
    """What is remembered of a refused bury."""

    def error(self) -> LaneError:
        return Fenced("open")


class NotTheHead(NamedTuple):
    """What is remembered of an ending that named other intents than the head's."""

    def error(self) -> LaneError:
        return Fenced("not the head's")


NO: Final = object()
"""No answer is remembered."""


class Leased(Granting):
    """Each method begins with `enter`, which knows repeats, and ends with `leave`, which remembers."""

    def enter(self, step: Step) -> Any:
        """The remembered answer of this step, or `NO`. Raises `Fenced` if the caller is not the owner."""
        lane, rules = self.lane(step.lane), self.rules
        if lane.step_fence == step.fence and rules.step_repeats:
            if step.number == lane.step:
                return self._remembered(lane, step)
            if step.number < lane.step and rules.step_old_refused:
                raise Stale
        if rules.owner and (lane.token != step.token or lane.fence != step.fence):
            raise Fenced
        return NO

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

    def leave(self, step: Step, answer: Any) -> Any:
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
        contacts: Sequence[str] = (),
        external_id: str | None = None,
    ) -> Checkpointed:
        """Record a write before it is sent."""
        if (known := self.enter(step)) is not NO:
            return known
        lane, rules = self.lane(step.lane), self.rules
        further = external_id if external_id not in lane.exts else None
        if further and self.holder(further, lane) is not None:
            return self.leave(step, Checkpointed("ext_busy"))
        if rules.ext_checked and any(self.ext(digest).lane != lane.name for digest in lane.exts):
            return self.leave(step, Checkpointed("ext_lost"))
        if further:
            self.kept_ext(further).lane = lane.name
            self.ext(further).waiting.pop(lane.name, None)
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
                self.kept_ext(digest).until = commit
        for digest in contacts:
            self._wrote_elsewhere(lane, digest, commit)
        return self.leave(step, Checkpointed("ok", commit))

    def _wrote_elsewhere(self, lane: Lane, digest: str, commit: int) -> None:
        contact = self.contact(digest)
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
        if (known := self.enter(step)) is not NO:
            return known
        lane = self.lane(step.lane)
        self.nothing_open(lane)
        if journal is not KEEP:
            lane.journal = journal
        self.extend(lane)
        for digest in lane.exts:
            if self.ext(digest).lane == lane.name:
                self.ext(digest).until = 0
        return self.leave(step, Checkpointed("ok"))

    def nothing_open(self, lane: Lane) -> None:
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

    def add_timeline(self, lane: Lane, lines: Sequence[str]) -> None:
        if lines:
            known = lane.timeline if lane.timeline_until > self.now else []
            lane.timeline = (known + list(lines))[-self.settings.timeline_max :]
            lane.timeline_until = self.now + self.settings.status_ttl_ms

    def store_consent(self, lane: Lane, consent: Part | Any) -> None:
        """Store what is known of consent, if anything is to be stored."""
        if consent is not KEEP:
            lane.consent = consent
            lane.consent_until = self.now + self.settings.consent_ttl_ms

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
        if (known := self.enter(step)) is not NO:
            return known
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
            self.nothing_open(lane)
            self.give_back(lane)
        if not rules.journal_stays:
            lane.journal = None
        elif journal is not KEEP:
            lane.journal = journal
        self.store_entry(lane, registry)
        self.store_consent(lane, consent)
        if error is not KEEP:
            head.error = error
        self.add_timeline(lane, timeline)
        if external_id and rules.further_ext_kept:
            head.ext2 = external_id
        head.attempts = 0 if counted is None else head.attempts - (not counted)
        head.state, head.next = state, at
        if at <= self.now and rules.zero_delay_ready:
            self.make_ready(lane)
        else:
            self.park(lane, at)
        return self.leave(step, Postponed(at, self.any_ready()))
