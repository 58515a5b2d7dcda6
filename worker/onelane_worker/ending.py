"""How a wish leaves the turn: settled, buried, or put back. Step 5 of an intent's life.

Facts go into the registry only by a settle; a bury and a postpone leave pointers (R2). The external id's lock
is given back before the lane, and kept when a write may still commit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import structlog

from onelane.identity import lane_id
from onelane.intents import SettleCheck
from onelane.receipts import Outcome
from onelane.submission import new_intent_id
from onelane.turns import Turn
from onelane_worker.planner import erasure, email_change, replay, duplicate_check
from onelane_worker.planner.registry import RegistryEntry, ConsentMemory
from onelane_worker.planner.knowledge import Knowledge, ended, record
from onelane_worker.planner.operations import Operation, Problem, Reply
from onelane_worker.planner.outcomes import later, outcomes, rejected, superseded
from onelane_worker.planner.planner import Erased, Finish, Reject, Skip
from onelane_worker.planner.policy import Policy
from onelane_worker.planner.fold import Superseded, DesiredState, applied_versions, remembered
from onelane_worker.lanes.model import KEEP, Check, Grant, GrantedIntent, Keep, Part, PostponedState, Settled
from onelane_worker.lanes.store import LaneStore
from onelane_worker.leaf import Leaf, forget
from onelane_worker.lease import Lease
from onelane_worker.passage import Beyond, Passage
from onelane_worker.payloads import accepted, error_json, journal_json, memory_of, to_json, to_store

log = structlog.get_logger(__name__)
MOST_CHECKS = 5
"""How often a settle check is tried."""
LEAF_LOST = Problem("external_id_busy", message="the external id's lock ran out")


@dataclass(frozen=True, slots=True)
class Made:
    """One call that was made: what it was and how it went, without any value."""

    name: str
    said: str
    ms: int

    @classmethod
    def of(cls, operation: Operation, reply: Reply, seconds: float) -> Made:
        problem: Problem | None = getattr(reply, "problem", None)
        detail = f" {problem.http_status or problem.kind}" if problem else ""
        said = type(reply).__name__.lower() + detail
        return cls(type(operation).__name__.lower(), said, round(seconds * 1000))


@dataclass(frozen=True, slots=True)
class Row:
    """One intent as a person sees it: what Flower shows in a row."""

    id: str
    kind: str
    lane: str
    who: str
    """The masked address."""
    attempts: int
    accepted_ms: int = 0
    at_ms: int = 0
    """When it is told."""
    bulk: bool = False
    fence: int = 0
    """Of the grant under which it was served: a turn with an older one came before."""
    calls: tuple[Made, ...] = ()
    """The calls of this attempt; of a fold they are told with its first."""


def leaves_no_trace(bulk: bool, outcome: Outcome) -> bool:
    """A nightly comparison that found all in place: a million such endings must cost next to nothing."""
    return bulk and outcome.result == "unchanged"


class Observer(Protocol):
    """Is told how each intent fares, as it happens."""

    def ended(self, row: Row, outcome: Outcome) -> None: ...

    def buried(self, row: Row, outcome: Outcome, problem: Problem) -> None: ...

    def put_back(self, row: Row, problem: Problem, state: PostponedState, delay_s: float) -> None: ...


@dataclass(slots=True)
class Attempt:
    """One wish on its way, and what is known."""

    wish: DesiredState
    know: Knowledge
    memory: ConsentMemory
    operations: int = 0
    """Calls of this attempt; those of all attempts are among the deeds that are known."""
    beyond: Beyond | None = None
    """Of a change of address: what the lane of the new one believes."""
    trouble: Problem | None = None
    """What went wrong with the create that is being reconciled, if it was made in this attempt."""
    costs: bool = False
    """A call got no answer, and not because nobody's do: however this ends, the attempt counts."""


def announce(publish: Callable[[Turn], None], turn: Turn) -> None:
    """Publish, if that is possible. What was settled stays settled: the timer finds a lane without a turn."""
    try:
        publish(turn)
    except Exception as error:  # whatever broker it is, with errors of its own
        log.warning("turn not published", lane=turn.lane, error=type(error).__name__)


class Endings:
    """The endings of one turn's wishes. Every method returns the grant to go on with, or None."""

    def __init__(
        self,
        store: LaneStore,
        lease: Lease,
        leaf: Leaf,
        passage: Passage,
        policy: Policy,
        observer: Observer,
        publish: Callable[[Turn], None],
        wants_more: Callable[[int], bool],
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._lease = lease
        self._leaf = leaf
        self._passage = passage
        self._policy = policy
        self._observer = observer
        self._publish = publish
        self._wants_more = wants_more
        self._clock = clock
        self._ended = 0
        self.buried = False
        """A head was buried in this turn: facts are not to be trusted any more (R2)."""
        self.made: list[Made] = []
        """The calls made for the wish at hand."""

    def settle(self, attempt: Attempt, verdict: Finish | Skip | Erased) -> Grant | None:
        """The wish holds, or nothing is to be done."""
        if isinstance(verdict, Erased):
            return self._erased(attempt, verdict)
        if attempt.beyond is not None:
            return self._moved(attempt, attempt.beyond, verdict)
        now_ms = self._lease.now_ms()
        finished = isinstance(verdict, Finish)
        if finished and not self._note_versions(attempt.wish, now_ms):
            return self.postpone(attempt, 0.0, "retrying", LEAF_LOST, counted=False)
        target = verdict.target if isinstance(verdict, Finish) else None
        told = outcomes(attempt.wish, attempt.know, verdict, self._policy)
        carried_out = finished and not attempt.wish.mode.checks
        memory = remembered(attempt.memory, attempt.wish, carried_out, self._policy, now_ms)
        known = attempt.know.contacts.get(target) if target else None
        deeds, role = attempt.know.log if finished else None, known.role if known else None
        memory = replay.ended(memory, attempt.wish, deeds, role)
        for contact_id, address in attempt.know.log.left.items():
            forget(self._store, lane_id(address), contact_id)
        know = ended(attempt.know)
        self._leaf.give(know.contacts.get(target) if target else None)
        belief = record(know, target, self._policy, now_ms)
        owed = self._policy.settle_check and duplicate_check.is_owed(attempt.know)
        return self._settled(told, belief, to_store(memory), self._check(1) if owed else KEEP)

    def _note_versions(self, wish: DesiredState, now_ms: int) -> bool:
        """All writes were answered: from now on an older version is refused, by whatever address it comes.
        False: the external id's lock was lost, so it is not certain that this is how things stand."""
        versions = applied_versions(self._leaf.versions, wish, self._policy, now_ms)
        return self._leaf.note(versions, self._policy.version_memory_ms)

    def _check(self, tries: int) -> Check:
        """The look that this lane owes, when the index must show everybody who is there now."""
        lane, email = self._lease.grant.lane, accepted(self._lease.grant.head).intent.email
        payload = SettleCheck(email=email, tries=tries).to_json()
        return Check(new_intent_id(lane), payload, self._policy.settle_window_ms)

    def _check_later(self, know: Knowledge, *, again: bool, counted: bool = True) -> Grant | None:
        """A check that cannot be made now never holds the lane: it is owed once more, a few times.

        `counted`: it was tried. While the line is stopped nothing is, for as long as that lasts.
        """
        head = self._lease.grant.head
        tries = getattr(accepted(head).intent, "tries", MOST_CHECKS) + counted
        owed = self._check(tries) if again and tries <= MOST_CHECKS else KEEP
        told = ((head.id, later(know.log)),)
        return self._settled(told, self.pointers(ended(know)), KEEP, owed)

    def _moved(self, attempt: Attempt, beyond: Beyond, verdict: Finish | Skip) -> Grant | None:
        """A change of address has ended: first the lane of the new one is told, then this one settles."""
        wish, know, policy, now_ms = attempt.wish, attempt.know, self._policy, self._lease.now_ms()
        target = verdict.target if isinstance(verdict, Finish) else None
        belief = email_change.here(know, wish, target, beyond.belief, policy, now_ms)
        if isinstance(verdict, Skip):
            self._leaf.give()
            told = outcomes(wish, know, verdict, policy)
            return self._settled(told, belief, KEEP)
        elsewhere = email_change.there(know, wish, verdict.target, beyond.belief, policy, now_ms)
        memory = email_change.moved_memory(attempt.memory, beyond.memory)
        self._passage.note(to_store(elsewhere), to_store(memory))
        self._leaf.give(know.contacts.get(verdict.target))
        told = ((wish.ids[0], email_change.outcome(wish, know, verdict)),)
        return self._settled(told, belief, to_store(replay.ended(attempt.memory, wish, know.log, None)))

    def _erased(self, attempt: Attempt, verdict: Erased) -> Grant | None:
        """Nobody is there any more; what is kept of the person goes, too, last the intent's own words."""
        know = attempt.know
        for contact_id, address in know.log.left.items():
            forget(self._store, lane_id(address), contact_id)
        self._store.scrub(self._lease.grant, to_json(Outcome(result="rejected", reason="erased")))
        for contact_id in erasure.gone(know):
            for lane in self._store.lanes_knowing(contact_id):
                forget(self._store, lane, contact_id)
        for external_id in erasure.identities(attempt.wish, know):
            self._store.forget_leaf(external_id)
        self._leaf.give()
        belief = erasure.belief_after(know, self._policy, self._lease.now_ms())
        told = ((attempt.wish.ids[0], erasure.outcome(verdict, know)),)
        return self._settled(told, belief, None, None)

    def supersede(self, verdict: Superseded, know: Knowledge) -> Grant | None:
        """The head came too late to matter."""
        self._leaf.give()
        belief = record(ended(know), None, self._policy, self._lease.now_ms())
        return self._settled([(verdict.id, superseded(verdict, know.log))], belief, KEEP)

    def bury(self, verdict: Reject, know: Knowledge) -> Grant | None:
        """The head becomes a dead letter."""
        if isinstance(accepted(self._lease.grant.head).intent, SettleCheck):
            return self._check_later(know, again=False)
        self.buried = True
        self._ended += 1
        if self._passage.address is not None:
            know = email_change.apart(know, self._passage.address)
        self._leaf.give()
        self.clear_open_write(know)
        outcome = rejected(verdict, know.log)
        problem = replace(verdict.problem or Problem(verdict.reason), kind=verdict.reason)
        head, asked_at = self._lease.grant.head, self._clock()
        settled = self._store.bury(
            self._lease.grant,
            self._lease.op(),
            error_json(problem),
            to_json(outcome),
            self._wants_more(self._ended),
            belief=to_store(self.pointers(ended(know))),
            memory=to_store(replay.buried(memory_of(self._lease.grant.memory), head.id, again=head.again)),
        )
        self._observer.buried(self._row(head, first=True), outcome, problem)
        return self._go_on(settled, asked_at)

    def postpone(
        self,
        attempt: Attempt,
        delay_s: float,
        state: PostponedState,
        problem: Problem,
        *,
        counted: bool,
        may_commit: bool = False,
        yields: bool = False,
        failed: bool = True,
        forgiven: bool = False,
    ) -> Grant | None:
        """The head stays; the lane is due after the delay, or when its open write can commit no more.

        `counted`: it costs an attempt. A call without an answer does in any case, but for an outage's.
        `failed`: the problem is this attempt's; else `status` goes on showing that of an earlier one.
        `forgiven`: earlier attempts do not count any more, either.
        """
        now_ms = self._lease.now_ms()
        unknown = may_commit or attempt.know.journal is not None
        if attempt.wish.mode.checks and not unknown:
            tried = state != "parked"
            return self._check_later(attempt.know, again=True, counted=tried)
        if not unknown:
            self._leaf.give()
        memory: Part = KEEP
        if yields and state != "parked":  # who waits for a second look has spoken already
            memory = to_store(remembered(attempt.memory, attempt.wish, False, self._policy, now_ms))
        due_ms = self._store.postpone(
            self._lease.grant,
            self._lease.op(),
            delay_ms=round(delay_s * 1000),
            state=state,
            error=error_json(problem) if failed else KEEP,
            count_attempt=counted or (attempt.costs and state != "parked"),
            unknown_write=unknown,
            yields=yields,
            journal=journal_json(attempt.know.journal),
            belief=to_store(self.pointers(attempt.know)),
            memory=memory,
            forgive=forgiven,
        )
        row = self._row(self._lease.grant.head, first=True)
        self._observer.put_back(row, problem, state, max(0.0, (due_ms - now_ms) / 1000))
        return None

    def leave_to_others(self, problem: Problem, delay_ms: int) -> None:
        """The head waits, and says why, until a worker comes that can go on with it. What is stored stays."""
        if self._lease.grant.open_write is None:
            self._leaf.give()
        self._store.postpone(
            self._lease.grant,
            self._lease.op(),
            delay_ms,
            "parked",
            error_json(problem),
            count_attempt=False,
            unknown_write=True,
            yields=False,
        )
        head = self._lease.grant.head
        try:
            row = self._row(head, first=True)
        except (ValueError, RecursionError):  # that is why
            row = Row(head.id, "unknown", self._lease.grant.lane, "", head.attempts)
        self._observer.put_back(row, problem, "parked", delay_ms / 1000)

    def clear_open_write(self, know: Knowledge) -> None:
        """The write was answered: nothing is open any more, but perhaps a create still to be reconciled."""
        asked_at = self._clock()
        self._store.checkpoint(
            self._lease.grant, self._lease.op(), journal=journal_json(know.journal), open_write=None
        )
        self._lease.extended(asked_at)

    def pointers(self, know: Knowledge) -> RegistryEntry:
        """Who, but not what: the belief to store anywhere but in a settle."""
        return record(know, None, self._policy, self._lease.now_ms()).without_facts()

    def _settled(
        self,
        told: Sequence[tuple[str, Outcome]],
        belief: RegistryEntry,
        memory: Part,
        check: Check | Keep | None = KEEP,
    ) -> Grant | None:
        self._ended += len(told)
        rows = {granted.id: granted for granted in self._lease.grant.intents}
        asked_at = self._clock()
        settled = self._store.settle(
            self._lease.grant,
            self._lease.op(),
            [(intent_id, to_json(outcome)) for intent_id, outcome in told],
            to_store(belief),
            memory,
            self._wants_more(self._ended),
            check,
            unchanged=[
                id_ for id_, outcome in told if leaves_no_trace(accepted(rows[id_]).intent.bulk, outcome)
            ],
        )
        for intent_id, outcome in told:
            row = self._row(rows[intent_id], first=intent_id == told[0][0])
            self._observer.ended(row, outcome)
        return self._go_on(settled, asked_at)

    def _go_on(self, settled: Settled, asked_at: float) -> Grant | None:
        beyond = self._passage.leave()
        if beyond is not None:
            announce(self._publish, beyond)
        if settled.grant is not None:
            self._lease.extended(asked_at)
        if settled.turn is not None:
            announce(self._publish, settled.turn)
        return settled.grant

    def _row(self, granted: GrantedIntent, *, first: bool) -> Row:
        intent = accepted(granted).intent
        return Row(
            id=granted.id,
            kind=intent.kind,
            lane=self._lease.grant.lane,
            who=intent.masked,
            attempts=granted.attempts,
            accepted_ms=granted.accepted_at_ms,
            at_ms=self._lease.now_ms(),
            bulk=intent.bulk,
            fence=self._lease.grant.fence,
            calls=tuple(self.made) if first else (),
        )
