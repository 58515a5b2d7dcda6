"""Random histories: producers, workers, a bad broker and a bad network against the scripts' invariants.

Turns are lost, doubled and reordered; workers crash, or fall silent and come back, at any step; every call
may have been sent twice, up to 70 s apart. Time is virtual. After every step the recent calls are made again,
and that must change nothing. The invariants' numbers are those of the protocol's documentation.
LANE_HISTORIES sets how many histories are tried.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from onelane.identity import lane_id
from onelane.keyspace import INTERACTIVE, QUEUES, QueueName
from onelane.turns import Turn
from onelane_worker.lanes.model import Fenced, StillOpen

from .bench import COMMIT_MS, DONE, LEASE_MS
from .laws import Dump, check_laws
from .world import EMAILS, RECENT_CALLS, Worker, World, Write

HTTP_MS = 15_000
LONGEST_DELAY_MS = 20_000
MOST_WORKERS = 3

indexes = st.integers(0, 1_000)


class Histories(RuleBasedStateMachine):
    world: World | None = None

    @initialize()
    def begin(self) -> None:
        self.world = World()
        for _ in range(3):
            self.submit(0, INTERACTIVE, None, False)
        self.deliver(0, False)

    def teardown(self) -> None:
        if self.world:
            try:
                self._drain(self.world)
            finally:
                self.world.close()

    @property
    def w(self) -> World:
        assert self.world
        return self.world

    def _busy(self) -> bool:
        return bool(self.world and self.world.workers)

    def _room(self) -> bool:
        return bool(self.world and self.world.broker and len(self.world.workers) < MOST_WORKERS)

    def _worker(self, index: int) -> Worker:
        return self.w.workers[index % len(self.w.workers)]

    # --- producers and the broker

    @precondition(lambda self: self.world)
    @rule(
        which=st.sampled_from((0, 0, 0, 1)),
        queue=st.sampled_from(QUEUES),
        dedupe=st.sampled_from((None, None, None, "k")),
        lost=st.booleans(),
    )
    def submit(self, which: int, queue: QueueName, dedupe: str | None, lost: bool) -> None:
        id_, email = self.w.bench.new_id(), EMAILS[which]
        answer = self.w.call(id_, lambda: self.w.bench.submit(id_, email=email, queue=queue, dedupe=dedupe))
        lane = lane_id(email)
        if answer.status == "duplicate":
            assert answer.id in self.w.lanes[lane].accepted
            return
        assert (answer.status, answer.id) == ("accepted", id_)
        self.w.lanes[lane].accepted.append(id_)
        self.w.causes += 1
        if answer.seq:
            self.w.publish(Turn(lane, id_, "lead_capture", "", answer.queue, answer.seq), lost)

    @precondition(_room)
    @rule(index=indexes, doubled=st.booleans())
    def deliver(self, index: int, doubled: bool) -> None:
        turn = self.w.broker[index % len(self.w.broker)]
        if not doubled:
            self.w.broker.remove(turn)
        self.w.claim(turn)

    @precondition(_room)
    @rule(index=indexes)
    def lose_turn(self, index: int) -> None:
        self.w.broker.pop(index % len(self.w.broker))
        self.w.causes += 1

    # --- operators

    @precondition(lambda self: self.world)
    @rule(which=st.sampled_from((0, 0, 1)), index=indexes, discard=st.booleans(), lost=st.booleans())
    def dead_letter(self, which: int, index: int, discard: bool, lost: bool) -> None:
        """A dead letter is replayed or discarded, whoever is at work on its lane."""
        lane = lane_id(EMAILS[which])
        model, op = self.w.lanes[lane], self.w.bench.new_token()
        dead = [id_ for id_ in model.ended if self.w.bench.intent(id_)["state"] == "dead"]
        if not dead:
            return
        id_ = dead[index % len(dead)]
        if discard:
            assert self.w.call(op, lambda: self.w.store.discard(lane, id_, op, DONE))
            return
        limits = {"lane_max": 1_000, "partition_max": 1_000}
        answer = self.w.call(op, lambda: self.w.store.replay(lane, id_, op, whole=False, **limits))
        assert answer.status == "accepted"
        model.replayed(id_)
        self.w.causes += 1
        if answer.turn:
            assert answer.turn.head == model.waiting[0]
            self.w.publish(answer.turn, lost)

    # --- holders

    @precondition(_busy)
    @rule(index=indexes)
    def renew(self, index: int) -> None:
        worker, sent_ms = self._worker(index), self.w.now_ms
        owner = self.w.lanes[worker.grant.lane].token == worker.grant.token
        assert self.w.store.renew(worker.grant) == owner
        worker.deadline_ms = sent_ms + LEASE_MS
        if not owner:
            self.w.workers.remove(worker)

    @precondition(_busy)
    @rule(index=indexes)
    def note(self, index: int) -> None:
        """A checkpoint without a write."""
        worker, sent_ms = self._worker(index), self.w.now_ms
        grant, op = worker.grant, worker.op()
        self.w.owned_call(worker, lambda: self.w.store.checkpoint(grant, op, belief="{}"))
        worker.deadline_ms = sent_ms + LEASE_MS

    @precondition(_busy)
    @rule(index=indexes)
    def write(self, index: int) -> None:
        """Record, then send: only before the own deadline, and not while a write is on its way."""
        worker, sent_ms = self._worker(index), self.w.now_ms
        if worker.write or sent_ms >= worker.deadline_ms:
            return
        grant, op = worker.grant, worker.op()
        name = f'{{"op":"{op}"}}'
        answer = self.w.owned_call(
            worker,
            lambda: self.w.store.checkpoint(grant, op, open_write=name, journal=name, commit_ms=COMMIT_MS),
        )
        if isinstance(answer, Fenced):
            return
        # 7 and 10: no other write of the lane may still commit
        assert not [w for w in self.w.writes if w.lane == grant.lane and w.commit_until_ms > self.w.now_ms]
        model = self.w.lanes[grant.lane]
        model.open_write = model.journal = name
        worker.deadline_ms = sent_ms + LEASE_MS
        worker.write = Write(name, grant.lane, self.w.now_ms, answer.commit_until_ms)
        self.w.writes.append(worker.write)

    @precondition(_busy)
    @rule(index=indexes)
    def give_back(self, index: int) -> None:
        """The write on record was never sent."""
        worker = self._worker(index)
        if not worker.write or worker.write not in self.w.writes:
            return
        grant, op = worker.grant, worker.op()
        answer = self.w.owned_call(
            worker, lambda: self.w.store.checkpoint(grant, op, open_write=None, journal=grant.journal)
        )
        self.w.writes.remove(worker.write)
        worker.write = None
        if not isinstance(answer, Fenced):
            model = self.w.lanes[grant.lane]
            model.open_write, model.journal = None, grant.journal

    @precondition(_busy)
    @rule(index=indexes)
    def answered(self, index: int) -> None:
        worker = self._worker(index)
        if worker.write and self.w.now_ms - worker.write.sent_ms <= HTTP_MS:
            self.w.writes.remove(worker.write)
            worker.write = None

    @precondition(_busy)
    @rule(index=indexes, count=st.integers(1, 3), want_more=st.booleans(), lost=st.booleans())
    def settle(self, index: int, count: int, want_more: bool, lost: bool) -> None:
        worker = self._worker(index)
        if worker.write:
            return
        grant, op = worker.grant, worker.op()
        ended = [(intent.id, DONE) for intent in grant.intents[:count]]
        answer = self.w.owned_call(
            worker, lambda: self.w.store.settle(grant, op, ended, "{}", "{}", want_more)
        )
        if not isinstance(answer, Fenced):
            self.w.lanes[grant.lane].settled([id_ for id_, _ in ended])
            self.w.went_on(worker, answer, lost)

    @precondition(_busy)
    @rule(index=indexes, want_more=st.booleans(), lost=st.booleans())
    def bury(self, index: int, want_more: bool, lost: bool) -> None:
        worker = self._worker(index)
        grant, op, write = worker.grant, worker.op(), worker.write
        answer = self.w.owned_call(worker, lambda: self.w.store.bury(grant, op, "{}", DONE, want_more))
        if isinstance(answer, Fenced | StillOpen):
            return
        assert not write or write.commit_until_ms <= self.w.now_ms
        worker.write = None
        model = self.w.lanes[grant.lane]
        model.ended.append(grant.head.id)
        model.open_write = None
        self.w.went_on(worker, answer, lost)

    @precondition(_busy)
    @rule(index=indexes, delay_ms=st.sampled_from((0, 1_000, LONGEST_DELAY_MS)), yields=st.booleans())
    def postpone(self, index: int, delay_ms: int, yields: bool) -> None:
        worker = self._worker(index)
        grant, op, write = worker.grant, worker.op(), worker.write
        wish = {"count_attempt": not yields, "unknown_write": write is not None, "yields": yields}
        answer = self.w.owned_call(worker, lambda: self.w.bench.postpone(grant, op, delay_ms, **wish))
        if isinstance(answer, Fenced):
            return
        model = self.w.lanes[grant.lane]
        model.attempts[grant.head.id] -= yields
        model.token = None
        if write:
            assert answer >= write.commit_until_ms
        else:
            model.open_write = None
        self.w.causes += 1
        self.w.workers.remove(worker)

    @precondition(_busy)
    @rule(index=indexes)
    def interrupted(self, index: int) -> None:
        """Redis has failed the holder, which lives and says so, whoever has the lane by now."""
        worker = self._worker(index)
        token, lane = worker.grant.token, worker.grant.lane
        model = self.w.lanes[lane]
        answer = self.w.call(token, lambda: self.w.store.give_back(lane, token, 1_000, "{}"))
        self.w.workers.remove(worker)
        if model.token == token:
            assert answer == "ok"
            model.attempts[worker.grant.head.id] -= 1
            model.token = None
            self.w.causes += 1
        elif model.blamed and model.blamed[0] == token:
            assert answer == "excused"
            for counted in (model.attempts, model.kills):
                counted[model.blamed[1]] = max(0, counted.get(model.blamed[1], 0) - 1)
            model.blamed = None
        else:
            assert answer == "gone"

    # --- what happens to holders, and time

    @precondition(_busy)
    @rule(index=indexes, writing=st.booleans())
    def crash(self, index: int, writing: bool) -> None:
        worker = self._worker(index)
        if writing:
            self.write(index)
        if worker in self.w.workers:
            self.w.workers.remove(worker)

    @precondition(lambda self: self._busy() and len(self.w.workers) < MOST_WORKERS)
    @rule(index=indexes, writing=st.booleans(), ms=st.sampled_from((LEASE_MS + 1, COMMIT_MS + 1)))
    def freeze(self, index: int, writing: bool, ms: int) -> None:
        """A holder stands still until others have tried to take its place; later it goes on unaware."""
        worker = self._worker(index)
        if writing:
            self.write(index)
        self.w.wait(ms)
        self.w.timer()
        for turn in [turn for turn in self.w.broker if turn.lane == worker.grant.lane][:1]:
            self.w.broker.remove(turn)
            self.w.claim(turn)

    @precondition(lambda self: self.world)
    @rule(ms=st.sampled_from((1, 900, LEASE_MS - 1, LEASE_MS + 1, HTTP_MS + 1, COMMIT_MS + 1)))
    def wait(self, ms: int) -> None:
        self.w.wait(ms)

    @precondition(lambda self: self.world)
    @rule(lost=st.booleans())
    def timer(self, lost: bool) -> None:
        self.w.timer(lost)

    # --- what always holds

    @invariant()
    def resends_change_nothing(self) -> None:
        """5: a call made twice is a call made once, and grants nothing that is not owned."""
        if self.world:
            before = Dump(self.world.redis)
            for call in self.world.calls[-RECENT_CALLS:]:
                self.world.resend(call)
            assert Dump(self.world.redis).lasting() == before.lasting()

    @invariant()
    def the_laws_hold(self) -> None:
        """1, 2, 3, and law 2: intents end in the order in which they were accepted."""
        if self.world:
            check_laws(self.world.redis, self.world.now_ms)
            for lane, model in self.world.lanes.items():
                assert self.world.bench.queue(lane) == model.waiting
                assert model.ended == model.accepted[: len(model.ended)]

    @invariant()
    def every_sent_write_is_on_record(self) -> None:
        """6"""
        for write in self.world.writes if self.world else ():
            fields = self.w.bench.lane(write.lane)
            assert fields.get("open") == write.id
            assert int(fields["commit"]) >= write.commit_until_ms

    @invariant()
    def turns_have_causes(self) -> None:
        """12: no turn is published that no event called for."""
        if self.world:
            assert self.world.published <= self.world.causes

    def _drain(self, world: World) -> None:
        """13: when the faults have stopped, every lane empties within lease, commit window and delay."""
        world.workers.clear()
        end_ms = world.now_ms + LEASE_MS + COMMIT_MS + LONGEST_DELAY_MS + 2_000
        while any(world.bench.queue(lane) for lane in world.lanes):
            assert world.now_ms <= end_ms
            world.timer()
            while world.broker:
                self._serve(world, world.broker.pop(0))
            self.the_laws_hold()
            world.wait(500)

    def _serve(self, world: World, turn: Turn) -> None:
        worker = world.claim(turn)
        while worker in world.workers:
            self.settle(world.workers.index(worker), 50, True, False)


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=int(os.environ.get("LANE_HISTORIES", "25")),
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
