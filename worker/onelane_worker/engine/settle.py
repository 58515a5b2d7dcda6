"""How an attempt ends: settled, dead-lettered, or postponed.

Facts go into the registry only by a settle; a dead letter and a postponement leave pointers (R2). A write
whose result is unknown keeps its record, and the locks of its external ids, until it can no longer commit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

import structlog
from msgspec.structs import replace

from onelane import Outcome, display
from onelane.intents import SettleCheck
from onelane.workspace import Workspace
from onelane_worker.engine import external_ids, timeline
from onelane_worker.engine.codec import (
    accepted,
    entry_of,
    error_json,
    journal_json,
    memory_of,
    to_json,
    to_store,
    versions_of,
    versions_text,
    without_contact,
)
from onelane_worker.engine.lease import Lease
from onelane_worker.engine.timeline import Made, Observer, Row, leaves_no_trace
from onelane_worker.lanes.store import LaneStore
from onelane_worker.lanes.types import (
    KEEP,
    Check,
    Ended,
    ExtNote,
    GrantedIntent,
    Keep,
    Left,
    Part,
    PostponedState,
    Settled,
    StoredEntry,
    TargetEnd,
)
from onelane_worker.planner import duplicate_check, email_change, erasure, replay
from onelane_worker.planner.fold import DesiredState, Superseded, applied_versions, remembered
from onelane_worker.planner.knowledge import Knowledge, elsewhere, ended, record
from onelane_worker.planner.operations import Problem
from onelane_worker.planner.outcomes import later, outcomes, rejected, superseded
from onelane_worker.planner.policy import Policy
from onelane_worker.planner.registry import ConsentMemory, RegistryEntry
from onelane_worker.planner.verdicts import Erased, Finish, Reject, Skip

log = structlog.get_logger(__name__)
MOST_CHECKS = 5
"""How often a settle check is tried."""


@dataclass(slots=True)
class Attempt:
    """One desired state on its way, and what is known."""

    desired: DesiredState
    know: Knowledge
    memory: ConsentMemory
    target: RegistryEntry | None = None
    """Of a change of address: what the lane of the new address knows."""
    target_memory: ConsentMemory | None = None
    operations: int = 0
    """Calls of this attempt; those of all attempts are in the attempt log."""
    trouble: Problem | None = None
    """What went wrong with the create that is being reconciled, if it was made in this attempt."""
    costs: bool = False
    """A call got no answer, and not because nobody's do: however this ends, the attempt counts."""


@dataclass(frozen=True, slots=True)
class PutBack:
    """How a head goes back into its lane, and why."""

    delay_s: float
    state: PostponedState
    problem: Problem
    counted: bool = False
    """It costs an attempt. A call without an answer does in any case, but for an outage's."""
    may_commit: bool = False
    """A write may take effect still."""
    yields: bool = False
    """An interactive intent that comes here is served."""
    failed: bool = True
    """The problem is this attempt's; else `status` goes on showing that of an earlier one."""
    forgiven: bool = False
    """Earlier attempts do not count any more, either: they were an outage's."""
    external_id: str | None = None
    """Digest of a further external id that the next grant must lock."""


class Endings:
    """The endings of one lane's attempts. Each returns the answer of its script, or None after a
    postponement."""

    def __init__(
        self,
        store: LaneStore,
        lease: Lease,
        workspace: Workspace,
        policy: Policy,
        observer: Observer,
        more: Callable[[int], int | None],
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._lease = lease
        self._workspace = workspace
        self._policy = policy
        self._observer = observer
        self._more = more
        self._clock = clock
        self._ended = 0
        self.made: list[Made] = []
        """The calls made in the attempt at hand."""
        self.answered: int | None = None
        """Number of the step whose write was answered, or provably not sent; None: no write in this
        attempt."""
        self.ready = True
        """Lanes were ready when the lane was released."""
        self.recorded = False
        """A write was recorded in this attempt."""

    def begin(self) -> None:
        """An attempt begins."""
        self.made, self.answered, self.recorded = [], None, False

    async def settle(self, attempt: Attempt, verdict: Finish | Skip | Erased) -> Settled:
        """The desired state holds, or nothing is to be done."""
        if isinstance(verdict, Erased):
            return await self._erased(attempt, verdict)
        if attempt.target is not None:
            return await self._moved(attempt, attempt.target, verdict)
        desired, know, now_ms = attempt.desired, attempt.know, self._lease.now_ms()
        finished = isinstance(verdict, Finish)
        target = verdict.target if isinstance(verdict, Finish) else None
        contact = know.contacts.get(target) if target else None
        carried_out = finished and not desired.mode.checks
        memory = remembered(attempt.memory, desired, carried_out, self._policy, now_ms)
        memory = replay.ended(
            memory, desired, know.log if finished else None, contact.role if contact else None
        )
        locks = self._lease.grant.locks
        entry = self._stored(record(ended(know), target, self._policy, now_ms))
        return await self._settled(
            outcomes(desired, know, verdict, self._policy),
            entry,
            to_store(memory),
            ext=self._ext_notes(attempt, verdict, target),
            left=external_ids.left(know, contact, locks[0] if locks else None, self._workspace),
            check=self._check_after(know) if finished else KEEP,
        )

    def _ext_notes(self, attempt: Attempt, verdict: Finish | Skip, target: str | None) -> tuple[ExtNote, ...]:
        """What the external id that the intents name has seen: its contact, and newer versions."""
        desired, locks = attempt.desired, self._lease.grant.locks
        if desired.external_id is None or not locks or not isinstance(verdict, Finish):
            return ()
        lock = locks[0]
        known = versions_of(lock)
        versions = applied_versions(known, desired, self._policy, self._lease.now_ms())
        contact = attempt.know.contacts.get(target) if target else None
        pointer: Part = external_ids.pointer_to(contact, lock, self._workspace) if contact else KEEP
        return (ExtNote(lock.digest, pointer, {} if versions == known else versions_text(versions)),)

    def _check_after(self, know: Knowledge) -> Check | Keep:
        """A create owes a settle check where it can find something: if nothing but the address guarded it;
        and one that an external id guarded only after Redis may have lost a moment."""
        if know.log.created is None or not self._policy.settle_check:
            return KEEP
        return self._check(1, know.log.created, only_in_new_epoch=not duplicate_check.is_owed(know))

    def _check(self, tries: int, made: str | None, *, only_in_new_epoch: bool = False) -> Check:
        """The look that this lane owes, when the index must show everybody who is there now."""
        email = accepted(self._lease.grant.head).intent.email
        payload = SettleCheck(email=email, tries=tries, made=made).to_json()
        return Check(token_hex(16), payload, self._policy.settle_window_ms, only_in_new_epoch)

    async def check_later(self, know: Knowledge, *, again: bool, counted: bool = True) -> Settled:
        """A check that cannot be made now never holds the lane: it is owed once more, a few times.

        `counted`: it was tried. While the circuit breaker is open nothing is, for as long as that lasts.
        """
        head = self._lease.grant.head
        intent = accepted(head).intent
        tries = getattr(intent, "tries", MOST_CHECKS) + counted
        owed = self._check(tries, getattr(intent, "made", None)) if again and tries <= MOST_CHECKS else KEEP
        return await self._settled(
            ((head.id, later(know.log)),), self.pointers(ended(know)), KEEP, check=owed
        )

    async def _moved(self, attempt: Attempt, target: RegistryEntry, verdict: Finish | Skip) -> Settled:
        """A change of address has ended: both lanes are told by one script."""
        desired, know, policy, now_ms = attempt.desired, attempt.know, self._policy, self._lease.now_ms()
        new_id = verdict.target if isinstance(verdict, Finish) else None
        entry = self._stored(email_change.here(know, desired, new_id, target, policy, now_ms))
        if isinstance(verdict, Skip):
            return await self._settled(outcomes(desired, know, verdict, policy), entry, KEEP)
        there = email_change.there(know, desired, verdict.target, target, policy, now_ms)
        memory = email_change.moved_memory(attempt.memory, attempt.target_memory or ConsentMemory())
        return await self._settled(
            ((desired.ids[0], email_change.outcome(desired, know, verdict)),),
            entry,
            to_store(replay.ended(attempt.memory, desired, know.log, None)),
            target=TargetEnd(self._stored(there, desired.new_email), to_store(memory)),
            ext=self._ext_notes(attempt, verdict, verdict.target),
        )

    async def _erased(self, attempt: Attempt, verdict: Erased) -> Settled:
        """Nobody is there any more; what is kept of the person goes, too, last the intent's own words."""
        know = attempt.know
        contacts = [self._workspace.contact(contact_id) for contact_id in erasure.gone(know)]
        ext = [self._workspace.external_id(one) for one in erasure.identities(attempt.desired, know)]
        told = to_json(Outcome(result="rejected", reason="erased"))
        await self._store.scrub(self._lease.step, told, ext, contacts)
        for contact_id, digest in zip(erasure.gone(know), contacts, strict=True):
            for lane in await self._store.lanes_knowing(digest):
                await self._forget(lane, contact_id)
        for contact_id, address in know.log.left.items():
            await self._forget(self._workspace.lane(address), contact_id)
        entry = self._stored(erasure.entry_after(know, self._policy, self._lease.now_ms()))
        outcome = erasure.outcome(verdict, know)
        return await self._settled(((attempt.desired.ids[0], outcome),), entry, None, check=None)

    async def _forget(self, lane: str, contact_id: str) -> None:
        """Another lane must not know this contact any more. That lane may change its entry meanwhile."""
        while (text := await self._store.registry_of(lane)) is not None:
            if await self._store.revise(lane, text, without_contact(text, contact_id)):
                return

    async def supersede(self, verdict: Superseded, know: Knowledge) -> Settled:
        """The head came too late to matter."""
        entry = self._stored(record(ended(know), None, self._policy, self._lease.now_ms()))
        return await self._settled(((verdict.id, superseded(verdict, know.log)),), entry, KEEP)

    async def bury(self, verdict: Reject, attempt: Attempt) -> Settled:
        """The head becomes a dead letter."""
        know, grant = attempt.know, self._lease.grant
        if attempt.desired.mode.checks:
            return await self.check_later(know, again=False)
        self._ended += 1
        pointer: StoredEntry | None = None
        if attempt.target is not None and attempt.desired.new_email is not None:
            if grant.open_write is not None or self.answered is None:  # it may have moved: both lanes look
                pointer = self._pointer_there(know, attempt.desired.new_email)
            know = email_change.apart(know, attempt.desired.new_email)
        outcome = rejected(verdict, know.log)
        problem = replace(verdict.problem or Problem(verdict.reason), kind=verdict.reason)
        row = self._row(grant.head, first=True)
        if grant.journal is not None and self.answered is None:
            await self.clear(know)
        memory = replay.buried(memory_of(grant.consent), grant.head.id, again=grant.head.again_ms is not None)
        sent_at = self._clock()
        settled = await self._store.bury(
            self._lease.step(),
            grant.head.id,
            error_json(problem),
            to_json(outcome),
            answered=self.answered,
            registry=self.pointers(ended(know)),
            consent=to_store(memory),
            timeline=(timeline.buried(row, outcome),),
            target_pointer=pointer,
            more=self._more(self._ended),
        )
        self._observer.buried(row, outcome, problem)
        return self._went_on(settled, sent_at)

    def _pointer_there(self, know: Knowledge, new_email: str) -> StoredEntry | None:
        """The contacts that may have arrived at the new address, to be read before they are believed."""
        doubted = tuple(
            replace(contact, confirmed=False, facts=None, email=new_email)
            for contact in know.contacts.values()
        )
        return self._stored(RegistryEntry(contacts=doubted), new_email) if doubted else None

    async def postpone(self, attempt: Attempt, back: PutBack) -> Settled | None:
        """The head stays; the lane is due after the delay, or when its open write can no longer commit."""
        parked = back.state == "parked"
        unknown = back.may_commit or attempt.know.journal is not None
        if attempt.desired.mode.checks and not unknown:
            return await self.check_later(attempt.know, again=True, counted=not parked)
        memory: Part = KEEP
        if back.yields and not parked:  # who waits for a second look has spoken already
            now_ms = self._lease.now_ms()
            memory = to_store(remembered(attempt.memory, attempt.desired, False, self._policy, now_ms))
        counted = back.counted or (attempt.costs and not parked)
        await self._put_back(
            self._row(self._lease.grant.head, first=True),
            back,
            unknown=unknown,
            counted=None if back.forgiven else counted,
            error=error_json(back.problem) if back.failed else KEEP,
            journal=journal_json(attempt.know.journal),
            registry=self.pointers(attempt.know),
            consent=memory,
        )
        return None

    async def leave_to_others(self, problem: Problem, delay_s: float, *, counted: bool = False) -> None:
        """The head waits, and says why, until a worker comes that can go on with it. What is stored stays."""
        grant = self._lease.grant
        head = grant.head
        try:
            row = self._row(head, first=True)
        except (ValueError, RecursionError):  # that is why
            row = Row(head.id, "unknown", grant.lane, "", head.attempts, at_ms=self._lease.now_ms())
        unknown = self.recorded or grant.open_write is not None or grant.journal is not None
        back = PutBack(delay_s, "parked", problem)
        await self._put_back(row, back, unknown=unknown, counted=counted, error=error_json(problem))

    async def _put_back(self, row: Row, back: PutBack, **stored: Any) -> None:
        now_ms = self._lease.now_ms()
        postponed = await self._store.postpone(
            self._lease.step(),
            round(back.delay_s * 1000),
            back.state,
            yields=back.yields,
            external_id=back.external_id,
            timeline=(timeline.put_back(row, back.problem, back.state, back.delay_s),),
            **stored,
        )
        self.ready = postponed.ready
        wait_s = max(0.0, (postponed.due_ms - now_ms) / 1000)
        self._observer.put_back(row, back.problem, back.state, wait_s)

    async def clear(self, know: Knowledge) -> None:
        """The write was answered: nothing is open any more, but perhaps a create still to be reconciled."""
        sent_at = self._clock()
        await self._store.checkpoint(self._lease.step(), open_write=None, journal=journal_json(know.journal))
        self._lease.extended(sent_at)

    def pointers(self, know: Knowledge) -> StoredEntry | None:
        """Who, but not what: the entry to store anywhere but in a settle."""
        return self._stored(record(know, None, self._policy, self._lease.now_ms()).without_facts())

    def _stored(self, entry: RegistryEntry, email: str | None = None) -> StoredEntry | None:
        text = to_store(entry)
        if text is None:
            return None
        home = email or accepted(self._lease.grant.head).intent.address
        about = tuple(self._workspace.contact(contact.id) for contact in entry.contacts)
        away = tuple(self._workspace.contact(contact_id) for contact_id in elsewhere(entry, home))
        return StoredEntry(text, about, away)

    async def _settled(
        self,
        told: Sequence[tuple[str, Outcome]],
        entry: StoredEntry | None,
        consent: Part,
        *,
        ext: Sequence[ExtNote] = (),
        left: Sequence[Left] = (),
        check: Check | Keep | None = KEEP,
        target: TargetEnd | None = None,
    ) -> Settled:
        self._ended += len(told)
        granted = {one.id: one for one in self._lease.grant.intents}
        ends, rows, events = [], [], []
        for n, (intent_id, outcome) in enumerate(told):
            quiet = leaves_no_trace(granted[intent_id].bulk, outcome)
            ends.append(Ended(intent_id, to_json(outcome), quiet))
            if not quiet:
                row = self._row(granted[intent_id], first=n == 0)
                rows.append((row, outcome))
                events.append(timeline.ended(row, outcome))
        sent_at = self._clock()
        settled = await self._store.settle(
            self._lease.step(),
            ends,
            registry=entry,
            consent=consent,
            ext=ext,
            left=left,
            timeline=events,
            check=check,
            target=target,
            more=self._more(self._ended),
        )
        for row, outcome in rows:
            self._observer.ended(row, outcome)
        return self._went_on(settled, sent_at)

    def _went_on(self, settled: Settled, sent_at: float) -> Settled:
        self.ready = settled.ready
        if settled.grant is not None:
            self._lease.extended(sent_at)
        return settled

    def _row(self, granted: GrantedIntent, *, first: bool) -> Row:
        intent = accepted(granted).intent
        return Row(
            id=granted.id,
            kind=intent.kind,
            lane=self._lease.grant.lane,
            who=display.mask(intent.address),
            attempts=granted.attempts,
            accepted_ms=granted.again_ms or granted.accepted_ms,
            at_ms=self._lease.now_ms(),
            bulk=granted.bulk,
            calls=tuple(self.made) if first else (),
        )


def target_of(lease: Lease, workspace: Workspace) -> tuple[RegistryEntry, ConsentMemory]:
    """What the lane of the new address knows; without facts where its last holder did not settle cleanly."""
    target = lease.grant.target
    if target is None:
        return RegistryEntry(), ConsentMemory()
    entry = external_ids.without_outdated(entry_of(target.registry), target, workspace)
    return entry if target.usable else entry.without_facts(), memory_of(target.consent)
