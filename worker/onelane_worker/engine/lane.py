"""Serve one lane under its lease: the life of an intent in six steps.

1. claim       (engine.py) the lease, the waiting intents, and what is known of the person
2. fold        the head, and the followers that go with it, become one desired state
3. plan        the next step: an operation, or a verdict
4. execute     budget, connection, record in Redis, send; the reply is absorbed, and back to 3
5. settle      the desired state holds: outcomes and registry are stored, the intents leave the lane
   postpone    not now: the head stays the head, and the lane is due again later
   bury        never: the head becomes a dead letter, kept whole
6. go on       with the next batch under the same lease, for one slice; else the lane is released
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from msgspec.structs import replace

from onelane_worker.engine import external_ids
from onelane_worker.engine.codec import (
    Unreadable,
    batch_of,
    entry_of,
    journal_json,
    journal_of,
    memory_of,
    problem_of,
    versions_of,
)
from onelane_worker.engine.execute import LockBusy, Performed, WriteRecord
from onelane_worker.engine.lease import Lease
from onelane_worker.engine.settle import Attempt, Endings, PutBack, target_of
from onelane_worker.engine.timeline import Made
from onelane_worker.lanes.types import Grant, LaneError, Part, Settled
from onelane_worker.planner import email_change
from onelane_worker.planner import operations as op
from onelane_worker.planner.absorb import absorb
from onelane_worker.planner.fold import Accepted, Superseded, fold, refold
from onelane_worker.planner.knowledge import Knowledge, recall
from onelane_worker.planner.planner import plan
from onelane_worker.planner.reconcile import as_journal
from onelane_worker.planner.retry_policy import (
    Absorb,
    Blame,
    Denied,
    GiveUp,
    Handling,
    ProbeFirst,
    StopTheLine,
    TryAgain,
    WaitFor,
    after_probe,
    handle,
)
from onelane_worker.planner.verdicts import Erased, Finish, Reject, Retry, Skip, Wait

if TYPE_CHECKING:
    from onelane_worker.engine.engine import Engine

log = structlog.get_logger(__name__)
ALIKE = frozenset({"refused", "forbidden", "unknown_subscription_type"})
"""Reasons that many intents may share: what they bring is at fault, and not whom they are about."""
BUSY_S = 0.2
"""Wait of an intent that needs an external id which another lane holds, before the lane is claimed again."""


@dataclass(frozen=True, slots=True)
class Timing:
    """The knobs of an engine; meaning and defaults are those of the settings of the same names."""

    lease_s: float = 5.0
    commit_s: float = 31.0
    send_grace_s: float = 1.0
    slice_s: float = 2.0
    slice_intents: int = 50
    max_hold_s: float = 120.0
    max_attempts: int = 20
    max_kills: int = 4
    backoff_base_s: float = 1.0
    backoff_cap_s: float = 300.0
    parked_retry_s: float = 15.0
    max_operations: int = 40
    """Calls after which an attempt is put back: no rule needs that many."""


@dataclass(frozen=True, slots=True)
class _Over:
    """The attempt is over; the answer of its script, if it settled."""

    settled: Settled | None


async def serve(shared: Engine, lease: Lease) -> bool:
    """Serve the lane for one slice; returns whether other lanes are ready by then.

    Redis' errors that time does not heal go through; the lease then runs out.
    """
    job = _LaneJob(shared, lease)
    try:
        await job.serve()
    except LaneError as error:  # somebody else has the lane: whatever is left is theirs
        log.warning("lane lost", lane=lease.grant.lane, error=type(error).__name__, detail=str(error))
    return job.lanes_are_ready


class _LaneJob:
    """One lane at work."""

    def __init__(self, shared: Engine, lease: Lease) -> None:
        self._shared = shared
        self._lease = lease
        self._until = shared.clock() + shared.timing.slice_s
        self._alone: frozenset[str] = frozenset()
        """Members of a fold that was refused: they go one by one (R95)."""
        self._end = Endings(
            shared.store,
            lease,
            shared.workspace,
            shared.policy,
            shared.observer,
            self._more,
            shared.clock,
        )

    @property
    def lanes_are_ready(self) -> bool:
        """By the last answer of Redis."""
        return self._end.ready

    async def serve(self) -> None:
        grant: Grant | None = self._lease.grant
        while grant is not None:
            self._lease.grant = grant
            sent_at = self._shared.clock()
            settled = await self._one_attempt()
            grant = None
            if settled is not None:
                self._shared.budget.add(settled.calls, sent_at)
                grant = settled.grant

    def _more(self, ended: int) -> int | None:
        shared = self._shared
        if (
            shared.clock() >= self._until
            or ended >= shared.timing.slice_intents
            or self._lease.lost
            or self._lease.lapsed
            or shared.shutdown.asked
            or shared.budget.short
        ):
            return None
        return shared.budget.in_hand()

    # ── fold ──────────────────────────────────────────────────────────────────────────────────────────────

    async def _one_attempt(self) -> Settled | None:
        """Fold, work, and end or postpone. Whatever is stored, the lane is not held for nothing."""
        self._end.begin()
        try:
            return await self._fold_and_work()
        except Unreadable as error:
            why = f"this worker cannot read it; a newer one may: {error}"
            await self._end.leave_to_others(op.Problem("unreadable", message=why), self._parked_s)
        except LaneError:
            raise
        except Exception as error:
            if _is_of_redis(error):
                raise
            log.exception("a rule failed", lane=self._lease.grant.lane)
            problem = op.Problem("internal_error", message=type(error).__name__)
            await self._end.leave_to_others(problem, self._parked_s, counted=True)
        return None

    async def _fold_and_work(self) -> Settled | None:
        shared, grant, now_ms = self._shared, self._lease.grant, self._lease.now_ms()
        memory = memory_of(grant.consent)
        batch = batch_of(grant, memory)
        know = self._recalled(batch[0])
        policy = replace(shared.policy, fold_max=1) if batch[0].id in self._alone else shared.policy
        desired = fold(batch, memory, policy, now_ms)
        if isinstance(desired, Superseded):
            return await self._end.supersede(desired, know)
        attempt = Attempt(desired, know, memory)
        if desired.mode.moves:
            attempt.target, attempt.target_memory = target_of(self._lease, shared.workspace)
            attempt.know = email_change.joined(know, desired, attempt.target, shared.policy, now_ms)
            if grant.open_write is not None:  # an earlier attempt may have moved it: it is read first
                attempt.know = _all_doubted(attempt.know)
        if shared.shutdown.asked:
            return await self._hand_back(attempt)
        if grant.journal is None and (hopeless := self._hopeless()) is not None:
            return await self._give_up(attempt, hopeless)
        if desired.external_id is not None and grant.locks:
            lock = grant.locks[0]
            attempt.know = external_ids.pointed(
                attempt.know, lock, desired.external_id, shared.workspace, now_ms
            )
            attempt.desired = refold(desired, batch, memory, versions_of(lock), policy, now_ms)
        return await self._work(attempt)

    def _recalled(self, head: Accepted) -> Knowledge:
        shared, grant, intent = self._shared, self._lease.grant, head.intent
        entry = external_ids.without_outdated(entry_of(grant.registry), grant, shared.workspace)
        if not grant.usable:
            entry = entry.without_facts()
        since_ms = shared.epoch_ms
        safe_ms = None if since_ms is None else since_ms + round(shared.timing.commit_s * 1000)
        return recall(
            intent.address,
            intent.external_id,
            entry,
            journal_of(grant),
            shared.policy,
            self._lease.now_ms(),
            safe_ms,
        )

    def _hopeless(self) -> Reject | None:
        """The head had its chances. Asked only when nothing of it is in doubt: when a grant begins without a
        journal, and else when the doubt has ended with nobody found and the create would be sent again."""
        timing, grant = self._shared.timing, self._lease.grant
        if grant.head.kills >= timing.max_kills:
            problem = op.Problem("killed_worker", message=f"its worker died {grant.head.kills} times")
            return Reject("killed_worker", problem)
        if grant.head.attempts > timing.max_attempts:
            last = problem_of(grant.error)
            said = f"gave up after {grant.head.attempts - 1} attempts: {last.message or last.kind}"
            return Reject("upstream_error", replace(last, message=said))
        return None

    # ── plan and execute ──────────────────────────────────────────────────────────────────────────────────

    async def _work(self, attempt: Attempt) -> Settled | None:
        shared = self._shared
        last_chance = self._lease.grant.head.kills >= shared.timing.max_kills
        while True:
            step = plan(attempt.desired, attempt.know, attempt.memory, shared.policy, self._lease.now_ms())
            match step:
                case Finish() | Skip() | Erased():
                    return await self._end.settle(attempt, step)
                case Superseded():
                    return await self._end.supersede(step, attempt.know)
                case Reject():
                    return await self._reject(attempt, step)
                case Wait():
                    return await self._wait(attempt, step)
                case Retry(why=why):
                    return await self._try_again(attempt, TryAgain(op.Problem(why), may_commit=False))
                case _ if shared.shutdown.overdue:
                    return await self._hand_back(attempt)
                case _:
                    writes = isinstance(step, op.Create) or (last_chance and op.is_write(step))
                    if writes and (hopeless := self._hopeless()) is not None:
                        return await self._give_up(attempt, hopeless)
                    over = await self._execute(attempt, step)
                    if over is not None:
                        return over.settled

    async def _execute(self, attempt: Attempt, operation: op.Operation) -> _Over | None:
        """Make the call and absorb the reply. Something only if it ends the attempt."""
        attempt.operations += 1
        if attempt.operations > self._shared.timing.max_operations:
            log.error("too many calls for one attempt", lane=self._lease.grant.lane)
            return _Over(
                await self._try_again(attempt, TryAgain(op.Problem("too_many_calls"), may_commit=False))
            )
        began_at = self._shared.clock()
        try:
            performed = await self._perform(attempt, operation)
        except LockBusy as busy:
            return _Over(await self._wait_for_lock(attempt, busy))
        if performed.asked and not isinstance(operation, op.ListTypes):
            attempt.know = attempt.know.called()
        self._end.made.append(Made.of(operation, performed.reply, self._shared.clock() - began_at))
        handling = handle(operation, performed.reply)
        stopped = not isinstance(handling, ProbeFirst) and await self._stops_the_line(
            operation, performed.reply
        )
        self._end.recorded = self._end.recorded or performed.step is not None
        if isinstance(performed.reply, op.Unknown):
            attempt.costs = attempt.costs or not stopped
        elif performed.step is not None:
            self._end.answered = performed.step
            await self._note_bulk_write(operation, performed.reply)
        if stopped and isinstance(handling, TryAgain):
            return _Over(await self._park(attempt, handling.problem, may_commit=handling.may_commit))
        return await self._digest(attempt, operation, performed, handling)

    async def _perform(self, attempt: Attempt, operation: op.Operation) -> Performed:
        executor, lease = self._shared.executor, self._lease
        if isinstance(operation, op.ListTypes):
            needed = frozenset(channel for channel in attempt.desired.words if channel.isdigit())
            return await executor.types(needed, lease)
        if not op.is_write(operation):
            return await executor.read(operation, lease)
        performed = await executor.write(operation, lease, self._record(attempt, operation))
        if isinstance(operation, op.Create) and isinstance(performed.reply, op.Unknown):
            sent_ms, until_ms = performed.sent_ms, performed.commit_until_ms
            journal = as_journal(attempt.desired, attempt.know, operation, sent_ms, until_ms)
            attempt.know = replace(attempt.know, journal=journal)
        return performed

    def _record(self, attempt: Attempt, operation: op.WriteOperation) -> WriteRecord:
        workspace, desired, know = self._shared.workspace, attempt.desired, attempt.know
        journal: Part = None
        if isinstance(operation, op.Create):
            journal = journal_json(as_journal(desired, know, operation, self._lease.now_ms(), None))
        away = external_ids.written_elsewhere(know, operation, desired.new_email)
        contacts = tuple(workspace.contact(contact.id) for contact in away)
        further = None
        if desired.mode.moves:
            further = external_ids.further(know, operation, self._lease.grant.locks, workspace)
        entry = self._end.pointers(know.called())  # also if nobody lives to hear the answer
        return WriteRecord(desired.ids, entry, journal, contacts, further)

    async def _stops_the_line(self, operation: op.Operation, reply: op.Reply) -> bool:
        """Tell the breaker, if the reply says something about everybody's calls; is it open now?"""
        return await self._shared.breaker.tell(self._lease.grant.lane, operation, reply)

    async def _note_bulk_write(self, operation: op.Operation, reply: op.Reply) -> None:
        written = isinstance(operation, (op.Create, op.Update)) and isinstance(reply, op.Found)
        if written and self._lease.grant.head.bulk:
            await self._shared.breaker.written_bulk()

    async def _digest(
        self, attempt: Attempt, operation: op.Operation, performed: Performed, handling: Handling
    ) -> _Over | None:
        match handling:
            case Absorb():
                if isinstance(performed.reply, op.Unknown):
                    attempt.trouble = performed.reply.problem
                attempt.know = absorb(attempt.know, operation, performed.reply, performed.sent_ms)
                return None
            case TryAgain():
                if handling.absorb:
                    attempt.know = absorb(attempt.know, operation, performed.reply, performed.sent_ms)
                return _Over(await self._try_again(attempt, handling))
            case WaitFor(retry_in_s=wait_s, problem=problem):
                delay_s = wait_s + self._shared.random.uniform(0, min(1.0, wait_s))
                return _Over(await self._end.postpone(attempt, PutBack(delay_s, "retrying", problem)))
            case StopTheLine(problem=problem):
                return _Over(await self._park(attempt, problem))
            case ProbeFirst(problem=problem):
                probed = await self._shared.executor.read(op.Probe(), self._lease)
                if not isinstance(probed.reply, op.Done):  # that it works is no sign that other calls do
                    await self._stops_the_line(op.Probe(), probed.reply)
                return await self._digest(attempt, operation, performed, after_probe(problem, probed.reply))
            case Denied(problem=problem):
                return _Over(await self._denied(attempt, operation, problem))
            case Blame(problem=problem):
                return _Over(await self._blame(attempt, problem))
            case GiveUp(reason=reason, problem=problem):
                return _Over(await self._reject(attempt, Reject(reason, problem)))

    # ── not now, or not so ────────────────────────────────────────────────────────────────────────────────

    async def _wait_for_lock(self, attempt: Attempt, busy: LockBusy) -> Settled | None:
        problem = op.Problem("external_id_busy", message="another address is at work on this external id")
        delay_s = 0.0 if busy.digest is None else BUSY_S
        return await self._end.postpone(
            attempt, PutBack(delay_s, "retrying", problem, external_id=busy.digest)
        )

    async def _blame(self, attempt: Attempt, problem: op.Problem) -> Settled | None:
        """R95: nothing was written. A fold goes again one by one, so that only the guilty one is blamed."""
        attempt.know = know = replace(attempt.know, journal=None)
        if len(attempt.desired.members) == 1:
            return await self._reject(attempt, Reject("refused", problem))
        self._alone = frozenset(attempt.desired.ids)
        await self._end.clear(know)
        entry = self._end.pointers(know)
        text = entry.text if entry is not None else None
        again = replace(self._lease.grant, journal=None, open_write=None, registry=text, usable=False)
        return Settled("more", again)

    async def _reject(self, attempt: Attempt, verdict: Reject) -> Settled | None:
        """A dead letter by Intercom's word; a bulk intent waits instead, if too many are rejected alike."""
        problem = verdict.problem
        bulk = all(intent.bulk for intent in self._lease.grant.intents)
        if bulk and problem is not None and verdict.reason in ALIKE:
            said = self._shared.workspace.content(f"{problem.code}\n{problem.message}")
            if await self._shared.breaker.rejected_bulk(problem, said):
                return await self._park(attempt, problem, yields=True)
        return await self._end.bury(verdict, attempt)

    async def _denied(self, attempt: Attempt, operation: op.Operation, problem: op.Problem) -> Settled | None:
        """No attempt is counted, unless the line has run since the head was denied before: others may do it,
        so it may be this contact alone, and that has an end."""
        grant, was_half = self._lease.grant, self._shared.breaker.line.state == "half"
        again = not was_half and problem_of(grant.error).kind == problem.kind
        if again and grant.head.attempts >= self._shared.timing.max_attempts:
            return await self._end.bury(Reject("forbidden", problem), attempt)
        await self._stops_the_line(operation, op.Forbidden(problem))
        return await self._park(attempt, problem, counted=again)

    async def _wait(self, attempt: Attempt, verdict: Wait) -> Settled | None:
        delay_s = max(0.0, (verdict.until_ms - self._lease.now_ms()) / 1000)
        pending = attempt.know.journal
        if attempt.costs:
            delay_s = max(delay_s, self._backoff_s(self._lease.grant.head.attempts))
        if pending is not None:
            attempt.know = replace(attempt.know, journal=replace(pending, looks=pending.looks + 1))
        failed = attempt.trouble is not None or pending is None
        problem, yields = attempt.trouble or op.Problem(verdict.why), verdict.why == "second_look"
        back = PutBack(delay_s, "reconciling", problem, yields=yields, failed=failed)
        return await self._end.postpone(attempt, back)

    async def _try_again(self, attempt: Attempt, again: TryAgain) -> Settled | None:
        attempts = self._lease.grant.head.attempts
        unknown = again.may_commit or attempt.know.journal is not None
        if attempts >= self._shared.timing.max_attempts and not unknown:
            return await self._give_up(attempt, Reject("upstream_error", again.problem))
        delay_s = self._backoff_s(attempts)
        back = PutBack(delay_s, "retrying", again.problem, counted=True, may_commit=again.may_commit)
        return await self._end.postpone(attempt, back)

    async def _give_up(self, attempt: Attempt, verdict: Reject) -> Settled | None:
        """Dead-letter the head, unless it is not its fault: an outage makes no dead letters.

        A journal that still stands tells of a create that was looked for and found nowhere.
        """
        if verdict.reason == "upstream_error":
            probed = (await self._shared.executor.read(op.Probe(), self._lease)).reply
            if not isinstance(probed, op.Done):
                problem = getattr(probed, "problem", op.Problem("outage"))
                return await self._park(attempt, problem, forgiven=True)
        attempt.know = replace(attempt.know, journal=None)
        return await self._end.bury(verdict, attempt)

    async def _hand_back(self, attempt: Attempt) -> Settled | None:
        """This engine ends; the next one goes on from what is known, without an attempt counted."""
        problem = op.Problem("worker_stops", message="its worker was asked to stop")
        return await self._end.postpone(attempt, PutBack(0.0, "retrying", problem, failed=False))

    async def _park(self, attempt: Attempt, problem: op.Problem, **how: bool) -> Settled | None:
        """Nobody can be served now: no attempt is counted, and lanes are served again when a probe succeeds.
        `how`: as in `PutBack`."""
        shut = self._shared.breaker.line.shut
        delay_s = 0.0 if shut else self._shared.random.uniform(0.5, 1.0) * self._parked_s
        return await self._end.postpone(attempt, PutBack(delay_s, "parked", problem, **how))  # type: ignore[arg-type]

    @property
    def _parked_s(self) -> float:
        return self._shared.timing.parked_retry_s

    def _backoff_s(self, attempts: int) -> float:
        """Full jitter."""
        timing = self._shared.timing
        most_s = min(timing.backoff_cap_s, timing.backoff_base_s * 2 ** min(max(attempts - 1, 0), 30))
        return self._shared.random.uniform(0.0, most_s)


def _all_doubted(know: Knowledge) -> Knowledge:
    for contact_id in tuple(know.contacts):
        know = know.doubted(contact_id)
    return know


def _is_of_redis(error: Exception) -> bool:
    return type(error).__module__.partition(".")[0] == "redis"
