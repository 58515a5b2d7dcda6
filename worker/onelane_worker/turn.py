"""One turn: serve one lane under its lease. The only loop, and the life of an intent in seven steps.

    1. claim       the lane's lease, its waiting intents, and what is believed of the person
    2. fold        the head, and the followers that go with it, become one wish
    3. plan        the next step: an operation, or a verdict
    4. perform     limiter, connection, record in Redis, send; the reply is learnt, and back to 3
    5. settle      the wish holds: outcomes stored, belief stored, intents gone from the lane
       postpone    not now: the head stays the head, and the lane is due again later
       bury        never: the head becomes a dead letter, kept whole
    6. go on       with what waits behind, for one slice
    7. hand on     the lane falls asleep, or queues up again behind the others

A turn that finds the lane busy, asleep or not yet due ends quietly: it was lost, doubled or late, and that
changes nothing (law 1).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from uuid import uuid4

import structlog
from celery.utils.time import get_exponential_backoff_interval
from redis import RedisError

from onelane.keyspace import BULK, QueueName
from onelane.turns import Turn
from onelane_worker.breaker import Breaker, BulkBreaker, Gate, says_something
from onelane_worker.planner import email_change
from onelane_worker.planner import operations as op
from onelane_worker.planner.reconcile import as_journal
from onelane_worker.planner.retry_policy import (
    Blame,
    Denied,
    GiveUp,
    Handling,
    Absorb,
    ProbeFirst,
    StopTheLine,
    TryAgain,
    WaitFor,
    after_probe,
    handle,
)
from onelane_worker.planner.knowledge import Knowledge, learn, recall
from onelane_worker.planner.planner import Erased, Finish, Reject, Retry, Skip, Wait, plan
from onelane_worker.planner.policy import Policy
from onelane_worker.planner.fold import Accepted, Superseded, fold, refold
from onelane_worker.elsewhere import Elsewhere
from onelane_worker.ending import Attempt, Endings, Made, Observer, announce
from onelane_worker.lanes.model import Fenced, Grant, Part, Refused
from onelane_worker.lanes.store import LaneStore
from onelane_worker.leaf import Leaf, LeafBusy
from onelane_worker.lease import Heartbeat, Lease
from onelane_worker.passage import Closed, Passage, clear
from onelane_worker.payloads import (
    Unreadable,
    accepted,
    batch_of,
    belief_of,
    error_json,
    journal_json,
    journal_of,
    memory_of,
    problem_of,
    to_store,
)
from onelane_worker.performer import Performed, Performer, WriteRecord
from onelane_worker.returning import give_back
from onelane_worker.stopping import Stop

log = structlog.get_logger(__name__)
ALIKE = frozenset({"refused", "forbidden", "unknown_subscription_type"})
"""Reasons that many intents may share: what they bring is at fault, and not whom they are about."""


@dataclass(frozen=True, slots=True)
class Timing:
    """The knobs of a turn; meaning and defaults are those of the settings of the same names."""

    lease_s: float
    slice_s: float
    slice_intents: int
    max_attempts: int
    max_kills: int
    backoff_base_s: float
    backoff_cap_s: float
    parked_retry_s: float
    max_operations: int = 40
    """Calls after which a wish is put back: no rule needs that many."""


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What a turn works with; made by the composition root."""

    store: LaneStore
    breaker: Breaker
    performer: Performer
    heartbeat: Heartbeat
    publish: Callable[[Turn], None]
    policy: Policy
    timing: Timing
    bulk: BulkBreaker | None = None
    """None: bulk intents are never stopped on their own."""
    epoch_ms: Callable[[], int | None] = lambda: None
    """When Redis last may have lost a moment, on its own clock; None: never."""
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    stop: Stop = field(default_factory=Stop)


def serve(deps: Dependencies, lane: str, queue: QueueName, seq: int, observer: Observer) -> Refused | None:
    """Serve the lane for one slice. Returns why not, if there was nothing to do here.

    Errors, most of them Redis', go through: the lane was given back, and is due again. If Redis refuses that,
    too, it is waited for: there is nothing else that this thread could do.
    """
    token = uuid4().hex
    try:
        return _serve(deps, lane, queue, seq, token, observer)
    except Exception as error:
        give_back(
            deps.store,
            lane,
            token,
            error,
            soon_s=deps.timing.backoff_base_s,
            late_s=deps.timing.parked_retry_s,
            stop=deps.stop,
            sleep=deps.sleep,
        )
        raise


def _serve(
    deps: Dependencies, lane: str, queue: QueueName, seq: int, token: str, observer: Observer
) -> Refused | None:
    asked_at = deps.clock()
    claimed = deps.store.claim(lane, queue, seq, token)
    if isinstance(claimed, Refused):
        log.debug("nothing to do", lane=lane, reason=claimed.reason)
        if claimed.gate is not None and (turn := clear(deps.store, claimed.gate)) is not None:
            announce(deps.publish, turn)
        return claimed
    lease = Lease(claimed, asked_at, deps.timing.lease_s, deps.clock)
    with deps.heartbeat.hold(lease):
        try:
            _Slice(deps, lease, observer, deps.bulk if queue == BULK else None).serve()
        except Fenced as fenced:  # somebody else has the lane: whatever is left is theirs
            log.warning("lane lost", lane=lane, detail=str(fenced))
        finally:
            accepted.cache_clear()  # nobody's words are kept in a process beyond their turn
    return None


@dataclass(frozen=True, slots=True)
class _Ended:
    """The attempt is over; the grant to go on with, if any."""

    grant: Grant | None


class _Slice:
    """The part of a turn that has the lane."""

    _journal = staticmethod(as_journal)

    def __init__(
        self, deps: Dependencies, lease: Lease, observer: Observer, bulk: BulkBreaker | None
    ) -> None:
        self._deps = deps
        self._bulk = bulk
        """Set if only bulk intents wait here."""
        self._bulk_gate = Gate()
        self._lease = lease
        self._until = deps.clock() + deps.timing.slice_s
        self._alone: frozenset[str] = frozenset()
        """Members of a fold that was refused: they go one by one (R95)."""
        self._leaf = Leaf(deps.store, lease)
        self._elsewhere = Elsewhere(deps.store, lease)
        self._passage = Passage(deps.store, lease)
        self._gate = Gate()
        self._is_trial = False
        self._end = Endings(
            deps.store,
            lease,
            self._leaf,
            self._passage,
            deps.policy,
            observer,
            deps.publish,
            self._wants_more,
            deps.clock,
        )

    def serve(self) -> None:
        grant: Grant | None = self._lease.grant
        while grant is not None:
            self._lease.grant = grant
            grant = self._one_wish(grant)
            if self._gate.word == "trial":
                self._deps.breaker.untold()
            if self._bulk is not None and self._bulk_gate.word == "trial":
                self._bulk.untold()
            self._gate, self._bulk_gate = Gate(), Gate()

    # ── fold ──────────────────────────────────────────────────────────────────────────────────────────────

    def _one_wish(self, grant: Grant) -> Grant | None:
        """Fold, work, and end or postpone. The next grant, if the slice goes on.

        Whatever is stored of the lane, it is not held for a lease: what cannot be read waits for who can.
        """
        self._end.made.clear()
        try:
            return self._fold_and_work(grant)
        except Unreadable as error:
            why = f"this worker cannot read it; a newer one may: {error}"
            self._end.leave_to_others(op.Problem("unreadable", message=why), self._parked_ms)
        except (Fenced, RedisError):
            raise
        except Exception as error:
            log.exception("a rule failed", lane=grant.lane)
            problem = op.Problem("internal_error", message=type(error).__name__)
            self._end.leave_to_others(problem, self._parked_ms)
        return None

    def _fold_and_work(self, grant: Grant) -> Grant | None:
        memory = memory_of(grant.memory)
        batch = batch_of(grant, memory)
        know = self._recalled(batch[0], grant)
        policy = replace(self._deps.policy, fold_max=1) if batch[0].id in self._alone else self._deps.policy
        wish = fold(batch, memory, policy, self._lease.now_ms())
        if isinstance(wish, Superseded):
            return self._end.supersede(wish, know)
        attempt = Attempt(wish, know, memory)
        self._bulk_gate = self._bulk.ask() if self._bulk is not None else Gate()
        if self._bulk_gate.shut:
            return self._park(attempt, op.Problem("bulk_stopped", message="bulk intents are stopped"))
        self._gate = self._deps.breaker.ask()
        self._is_trial = self._gate.word == "trial"
        if self._gate.shut:
            return self._park(attempt, op.Problem(self._gate.word, message="the line is stopped"))
        if grant.journal is None and (hopeless := self._hopeless()) is not None:
            return self._give_up(attempt, hopeless)
        if wish.mode.moves:
            beyond = self._passage.enter(wish)
            if isinstance(beyond, Closed):
                return self._wait_for_gate(attempt, beyond)
            know = email_change.joined(know, wish, beyond.belief, self._deps.policy, self._lease.now_ms())
            attempt.beyond, attempt.know = beyond, know
        if wish.external_id is not None:
            taken = self._leaf.take(wish.external_id, know)
            if isinstance(taken, LeafBusy):
                return self._wait_for_leaf(attempt, taken)
            attempt.know = taken
            attempt.wish = refold(wish, batch, memory, self._leaf.versions, policy, self._lease.now_ms())
        try:
            return self._work(attempt)
        except (Fenced, RedisError, Unreadable):
            raise
        except Exception as error:  # a fault of ours must not hold the lane for ever, nor pass in silence
            log.exception("a rule failed", lane=grant.lane)
            problem = op.Problem("internal_error", message=type(error).__name__)
            return self._try_again(attempt, TryAgain(problem, may_commit=True))

    def _recalled(self, head: Accepted, grant: Grant) -> Knowledge:
        belief = belief_of(grant.belief)
        if not grant.facts_usable or self._end.buried:
            belief = belief.without_facts()
        intent = head.intent
        know = recall(
            intent.address,
            intent.external_id,
            belief,
            journal_of(grant),
            self._deps.policy,
            self._lease.now_ms(),
            self._deps.epoch_ms(),
        )
        return self._elsewhere.checked(know)

    def _hopeless(self) -> Reject | None:
        """The head had its chances. Asked only when nothing of it is in doubt: when a grant begins without a
        journal, and else when the doubt has ended with nobody found and the create would be sent again."""
        timing, grant = self._deps.timing, self._lease.grant
        if grant.kills >= timing.max_kills:
            problem = op.Problem("killed_worker", message=f"its worker died {grant.kills} times")
            return Reject("killed_worker", problem)
        if grant.attempts > timing.max_attempts:
            last = problem_of(self._deps.store.last_error(grant.head.id))
            said = f"gave up after {grant.attempts - 1} attempts: {last.message or last.kind}"
            return Reject("upstream_error", replace(last, message=said))
        return None

    def _wait_for_leaf(self, attempt: Attempt, busy: LeafBusy) -> Grant | None:
        delay_s = min(max(busy.left_s, 0.05), random.uniform(0.1, 0.5))
        problem = op.Problem("external_id_busy", message="another address is at work on this external id")
        return self._end.postpone(attempt, delay_s, "retrying", problem, counted=False)

    def _wait_for_gate(self, attempt: Attempt, closed: Closed) -> Grant | None:
        return self._end.postpone(attempt, closed.left_s, "retrying", closed.problem, counted=False)

    # ── plan and perform ──────────────────────────────────────────────────────────────────────────────────

    def _work(self, attempt: Attempt) -> Grant | None:
        while True:
            self._elsewhere.tell(attempt.know)
            step = plan(attempt.wish, attempt.know, attempt.memory, self._deps.policy, self._lease.now_ms())
            match step:
                case Finish() | Skip() | Erased():
                    return self._end.settle(attempt, step)
                case Superseded():
                    return self._end.supersede(step, attempt.know)
                case Reject():
                    return self._end.bury(step, attempt.know)
                case Wait():
                    return self._wait(attempt, step)
                case Retry(why=why):
                    return self._try_again(attempt, TryAgain(op.Problem(why), may_commit=False))
                case _ if self._deps.stop.overdue:
                    return self._hand_back(attempt)
                case op.Create() if (hopeless := self._hopeless()) is not None:
                    return self._give_up(attempt, hopeless)
                case _:
                    ended = self._ask(attempt, step)
                    if ended is not None:
                        return ended.grant

    def _ask(self, attempt: Attempt, operation: op.Operation) -> _Ended | None:
        """Perform and learn. Something only if the reply ends the attempt."""
        attempt.operations += 1
        if attempt.operations > self._deps.timing.max_operations:
            log.error("too many calls for one wish", lane=self._lease.grant.lane)
            return _Ended(self._try_again(attempt, TryAgain(op.Problem("too_many_calls"), may_commit=False)))
        if attempt.beyond and (busy := self._leaf.of_moved(attempt.know, operation)):
            return _Ended(self._wait_for_leaf(attempt, busy))
        asked_at = self._deps.clock()
        performed = self._perform(attempt, operation)
        if performed.asked and not isinstance(operation, op.ListTypes):
            attempt.know = attempt.know.called()
        self._end.made.append(Made.of(operation, performed.reply, self._deps.clock() - asked_at))
        self._note_written(operation, performed.reply)
        handling = handle(operation, performed.reply)
        stopped = not isinstance(handling, ProbeFirst) and self._stops_the_line(operation, performed.reply)
        if isinstance(performed.reply, op.Unknown) and not stopped:
            attempt.costs = True
        if stopped and isinstance(handling, TryAgain):
            return _Ended(self._park(attempt, retry_policy.problem, may_commit=retry_policy.may_commit))
        return self._digest(attempt, operation, performed, handling)

    def _stops_the_line(self, operation: op.Operation, reply: op.Reply) -> bool:
        """Tell the breaker, if the reply says something about everybody's calls; is it open now?"""
        if not says_something(operation, reply, self._gate):
            return False
        problem = error_json(getattr(reply, "problem", op.Problem("ok")))
        lane = self._lease.grant.lane
        self._gate = self._deps.breaker.tell(lane, operation, reply, problem, self._gate)
        return self._gate.shut

    def _note_written(self, operation: op.Operation, reply: op.Reply) -> None:
        """Intercom takes what bulk intents bring; of interest only if some were rejected lately."""
        if self._bulk is None or self._bulk_gate.word == "closed":
            return
        if isinstance(operation, (op.Create, op.Update)) and isinstance(reply, op.Found):
            self._bulk_gate = Gate("open" if self._bulk.written() else "closed")

    def _perform(self, attempt: Attempt, operation: op.Operation) -> Performed:
        performer, lease = self._deps.performer, self._lease
        if isinstance(operation, op.ListTypes):
            needed = frozenset(channel for channel in attempt.wish.words if channel.isdigit())
            return performer.types(needed, lease)
        match operation:
            case (
                op.Search() | op.FindByExternalId() | op.Read() | op.ListSubscriptions() | op.Probe()
                | op.ListPage()
            ):  # fmt: skip
                return performer.read(operation, lease)
        self._leaf.hold()
        self._elsewhere.note(attempt.know, operation, attempt.wish.new_email if attempt.beyond else None)
        performed = performer.write(operation, lease, self._record(attempt, operation))
        if isinstance(operation, op.Create) and isinstance(performed.reply, op.Unknown):
            sent_ms, until_ms = performed.sent_ms, performed.commit_until_ms
            journal = self._journal(attempt.wish, attempt.know, operation, sent_ms, until_ms)
            attempt.know = replace(attempt.know, journal=journal)
        return performed

    def _record(self, attempt: Attempt, operation: op.WriteOperation) -> WriteRecord:
        journal: Part = None
        if isinstance(operation, op.Create):
            wish, know, now_ms = attempt.wish, attempt.know, self._lease.now_ms()
            journal = journal_json(self._journal(wish, know, operation, now_ms, None))
        pointers = self._end.pointers(attempt.know.called())  # also if nobody lives to hear the answer
        return WriteRecord(attempt.wish.ids, to_store(pointers), journal)

    def _digest(
        self, attempt: Attempt, operation: op.Operation, performed: Performed, handling: Handling
    ) -> _Ended | None:
        match handling:
            case Absorb():
                if isinstance(performed.reply, op.Unknown):
                    attempt.trouble = performed.reply.problem
                attempt.know = learn(attempt.know, operation, performed.reply, performed.sent_ms)
                return None
            case TryAgain():
                if handling.learn:
                    attempt.know = learn(attempt.know, operation, performed.reply, performed.sent_ms)
                return _Ended(self._try_again(attempt, handling))
            case WaitFor(retry_in_s=wait_s, problem=problem):
                delay_s = wait_s + random.uniform(0, min(1.0, wait_s))
                return _Ended(self._end.postpone(attempt, delay_s, "retrying", problem, counted=False))
            case StopTheLine(problem=problem):
                return _Ended(self._park(attempt, problem))
            case ProbeFirst(problem=problem):
                probed = self._deps.performer.read(op.Probe(), self._lease)
                if not isinstance(probed.reply, op.Done):  # that it works is no sign that other calls do
                    self._stops_the_line(op.Probe(), probed.reply)
                return self._digest(attempt, operation, performed, after_probe(problem, probed.reply))
            case Denied(problem=problem):
                return _Ended(self._denied(attempt, operation, problem))
            case Blame(problem=problem):
                return _Ended(self._blame(attempt, problem))
            case GiveUp(reason=reason, problem=problem):
                return _Ended(self._reject(attempt, Reject(reason, problem), attempt.know))

    # ── not now, or not so ────────────────────────────────────────────────────────────────────────────────

    def _blame(self, attempt: Attempt, problem: op.Problem) -> Grant | None:
        """R95: nothing was written. A fold goes again one by one, so that only the guilty one is blamed."""
        know = replace(attempt.know, journal=None)
        if len(attempt.wish.members) == 1:
            return self._reject(attempt, Reject("refused", problem), know)
        self._alone = frozenset(attempt.wish.ids)
        self._end.clear_open_write(know)
        return replace(self._lease.grant, journal=None, belief=to_store(self._end.pointers(know)))

    def _reject(self, attempt: Attempt, verdict: Reject, know: Knowledge) -> Grant | None:
        """A dead letter by Intercom's word; a bulk intent waits instead, if too many are rejected alike."""
        problem = verdict.problem
        if self._bulk is not None and problem is not None and verdict.reason in ALIKE:
            if self._bulk.rejected(problem, error_json(problem)):
                self._bulk_gate = Gate("open")
                attempt.know = know
                return self._park(attempt, problem)
        return self._end.bury(verdict, know)

    def _denied(self, attempt: Attempt, operation: op.Operation, problem: op.Problem) -> Grant | None:
        """No attempt is counted, unless the line has run since the head was denied before: others may do it,
        so it may be this contact alone, and that has an end."""
        grant, before = self._lease.grant, problem_of(self._deps.store.last_error(self._lease.grant.head.id))
        again = not self._is_trial and before.kind == problem.kind
        if again and grant.attempts >= self._deps.timing.max_attempts:
            return self._end.bury(Reject("forbidden", problem), attempt.know)
        self._stops_the_line(operation, op.Forbidden(problem))
        return self._park(attempt, problem, counted=again)

    def _wait(self, attempt: Attempt, verdict: Wait) -> Grant | None:
        delay_s = max(0.0, (verdict.until_ms - self._lease.now_ms()) / 1000)
        pending = attempt.know.journal
        if attempt.costs:
            delay_s = max(delay_s, self._backoff_s(self._lease.grant.attempts))
        if pending is not None:
            looked = pending.model_copy(update={"looks": pending.looks + 1})
            attempt.know = replace(attempt.know, journal=looked)
        return self._end.postpone(
            attempt,
            delay_s,
            "reconciling",
            attempt.trouble or op.Problem(verdict.why),
            counted=False,
            yields=verdict.why == "second_look",
            failed=attempt.trouble is not None or pending is None,
        )

    def _try_again(self, attempt: Attempt, again: TryAgain) -> Grant | None:
        attempts, unknown = self._lease.grant.attempts, again.may_commit or attempt.know.journal is not None
        if attempts >= self._deps.timing.max_attempts and not unknown:
            return self._give_up(attempt, Reject("upstream_error", again.problem))
        delay_s = self._backoff_s(attempts)
        return self._end.postpone(
            attempt, delay_s, "retrying", again.problem, counted=True, may_commit=again.may_commit
        )

    def _give_up(self, attempt: Attempt, verdict: Reject) -> Grant | None:
        """Bury the head, unless it is not its fault: an outage makes no dead letters.

        A journal that still stands tells of a create that was looked for and found nowhere.
        """
        if verdict.reason == "upstream_error":
            probed = self._deps.performer.read(op.Probe(), self._lease).reply
            if not isinstance(probed, op.Done):
                problem = getattr(probed, "problem", op.Problem("outage"))
                return self._park(attempt, problem, forgiven=True)
        return self._end.bury(verdict, replace(attempt.know, journal=None))

    def _hand_back(self, attempt: Attempt) -> Grant | None:
        """This worker ends; the next one goes on from what is known, without an attempt counted."""
        problem = op.Problem("worker_stops", message="its worker was asked to stop")
        return self._end.postpone(attempt, 0.0, "retrying", problem, counted=False, failed=False)

    def _park(
        self,
        attempt: Attempt,
        problem: op.Problem,
        *,
        counted: bool = False,
        may_commit: bool = False,
        forgiven: bool = False,
    ) -> Grant | None:
        """Nobody can be served now: no attempt is counted, and the line goes on when a trial succeeds.

        `forgiven`: the attempts before were the outage's, too.
        """
        delay_s = random.uniform(0.5, 1.0) * self._deps.timing.parked_retry_s
        return self._end.postpone(
            attempt,
            delay_s,
            "parked",
            problem,
            counted=counted,
            may_commit=may_commit,
            yields=self._bulk_gate.shut,  # an interactive intent that comes here is served
            forgiven=forgiven,
        )

    @property
    def _parked_ms(self) -> int:
        return round(self._deps.timing.parked_retry_s * 1000)

    def _backoff_s(self, attempts: int) -> float:
        """Full jitter; worked out in milliseconds, so that short test windows keep their jitter."""
        timing = self._deps.timing
        base_ms, cap_ms = round(timing.backoff_base_s * 1000), round(timing.backoff_cap_s * 1000)
        doublings = min(attempts - 1, 30)
        delay_ms = get_exponential_backoff_interval(base_ms, doublings, cap_ms, full_jitter=True)
        return float(delay_ms) / 1000

    def _wants_more(self, ended: int) -> bool:
        return (
            self._deps.clock() < self._until
            and ended < self._deps.timing.slice_intents
            and not self._lease.lost
            and not self._deps.stop.asked
        )
