"""What the random histories know of the lanes: only what the scripts have answered."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import fakeredis
import time_machine

from onelane.identity import lane_id
from onelane.keyspace import QUEUES, QueueName
from onelane.turns import Turn
from onelane_worker.lanes.model import Fenced, Grant, Refused, Settled, StillOpen

from .bench import EMAIL, LEASE_MS, PARTITION, Bench

START_S = 1_800_000_000
RESEND_MS = 70_000
RECENT_CALLS = 12
NEIGHBOUR = next(email for i in range(4000) if lane_id(email := f"p{i}@example.test").startswith(PARTITION))
EMAILS = (EMAIL, NEIGHBOUR)


@dataclass
class Write:
    """A request to Intercom whose answer nobody has yet."""

    id: str
    lane: str
    sent_ms: int
    commit_until_ms: int


@dataclass
class Worker:
    """A holder as it sees itself; it may be wrong about holding anything."""

    grant: Grant
    deadline_ms: int
    """Its own: counted from before the call that gave the lease."""
    write: Write | None = None
    steps: int = 0

    def op(self) -> str:
        self.steps += 1
        return f"{self.grant.token}:{self.steps}"


@dataclass
class Call:
    """A call that was made, its answer, and how to make it again."""

    at_ms: int
    token: str
    again: Callable[[], Any]
    first: Any


@dataclass
class LaneModel:
    """What must be true of a lane by the answers so far."""

    accepted: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    attempts: dict[str, int] = field(default_factory=dict)
    kills: dict[str, int] = field(default_factory=dict)
    token: str | None = None
    """Of the last holder, until it released."""
    blamed: tuple[str, str] | None = None
    """The token last taken for a dead holder's, and the intent charged for it."""
    fence: int = 0
    clean: bool = True
    open_write: str | None = None
    journal: str | None = None

    @property
    def waiting(self) -> list[str]:
        return [id_ for id_ in self.accepted if id_ not in self.ended]

    def replayed(self, id_: str) -> None:
        """A dead letter stands at the tail again, as if it had never been tried."""
        for ids in (self.accepted, self.ended):
            ids.remove(id_)
        self.accepted.append(id_)
        self.attempts.pop(id_, None)
        self.kills.pop(id_, None)

    def settled(self, ids: list[str]) -> None:
        self.ended += ids
        self.clean, self.open_write, self.journal, self.token = True, None, None, None


class World:
    """Two lanes of one partition, a broker, workers, and a clock of our own."""

    def __init__(self) -> None:
        self.travel = time_machine.travel(START_S, tick=False)
        self.clock = self.travel.start()
        self.redis = fakeredis.FakeRedis(server=fakeredis.FakeServer(), decode_responses=True)
        self.bench = Bench(self.redis)
        self.store = self.bench.store
        self.lanes = {lane_id(email): LaneModel() for email in EMAILS}
        self.broker: list[Turn] = []
        self.workers: list[Worker] = []
        self.writes: list[Write] = []
        self.calls: list[Call] = []
        self.published = 0
        self.causes = 0
        """Events that may each call for one turn."""

    def close(self) -> None:
        self.travel.stop()
        self.redis.close()

    @property
    def now_ms(self) -> int:
        return self.bench.now_ms()

    def wait(self, ms: int) -> None:
        self.clock.shift(ms / 1000)
        self.writes = [write for write in self.writes if write.commit_until_ms > self.now_ms]

    # --- calls

    def call(self, token: str, call: Callable[[], Any]) -> Any:
        """Make a call, and keep it for resends. A refusal by exception is an answer, too."""
        answer = _answer(call)
        self.calls.append(Call(self.now_ms, token, call, answer))
        return answer

    def owned_call(self, worker: Worker, call: Callable[[], Any]) -> Any:
        """A call under the lease: fenced if and only if the lane is somebody else's by now, or nobody's."""
        answer = self.call(worker.grant.token, call)
        owner = self.lanes[worker.grant.lane].token == worker.grant.token
        assert isinstance(answer, Fenced) != owner
        if not owner:
            self.workers.remove(worker)
        return answer

    def resend(self, call: Call) -> None:
        """The call once more: the first answer, or less if the caller owns less by now."""
        if self.now_ms - call.at_ms > RESEND_MS:
            return
        again, first = _answer(call.again), call.first
        granted = again if isinstance(again, Grant) else getattr(again, "grant", None)
        if granted:
            assert self.lanes[granted.lane].token == call.token
            assert self.lanes[granted.lane].fence == granted.fence
        if isinstance(first, Exception):
            assert type(again) is type(first)
        elif isinstance(first, Grant):
            assert granted or again == Refused("busy", None)
        elif isinstance(first, Settled):
            assert again.status in (first.status, "left")
        elif isinstance(first, Refused | int):
            assert again == first

    # --- turns

    def publish(self, turn: Turn, lost: bool = False) -> None:
        self.published += 1
        if lost:
            self.causes += 1
        else:
            self.broker.append(turn)

    def seen_empty(self) -> dict[QueueName, int]:
        newest = self.store.turn_counters(PARTITION).seq
        return {name: newest[name] for name in QUEUES if all(turn.queue != name for turn in self.broker)}

    def timer(self, lost: bool = False) -> None:
        seen = self.seen_empty()
        for turn in self.store.hand_out(PARTITION, 10, seen):
            self.publish(turn, lost)
        assert self.store.hand_out(PARTITION, 10, seen) == []

    def claim(self, turn: Turn) -> Worker | None:
        token, sent_ms = self.bench.new_token(), self.now_ms
        answer = self.call(token, lambda: self.store.claim(turn.lane, turn.queue, turn.seq, token))
        if isinstance(answer, Refused):
            self.causes += answer.reason == "held"
            return None
        model = self.lanes[turn.lane]
        if model.token:  # who held it never released
            model.kills[answer.head.id] = model.kills.get(answer.head.id, 0) + 1
            model.blamed = (model.token, answer.head.id)
            alone = model.kills[answer.head.id] >= self.bench.limits.kills_to_go_alone
            assert not alone or len(answer.intents) == 1
        assert answer.fence > model.fence
        assert not [w for w in self.writes if w.lane == turn.lane and w.commit_until_ms > self.now_ms]
        self.causes += 1  # its lease may run out
        self.granted(answer)
        worker = Worker(answer, sent_ms + LEASE_MS)
        self.workers.append(worker)
        return worker

    def granted(self, grant: Grant) -> None:
        """Compare what a grant says with what is known, and note that it was given."""
        model = self.lanes[grant.lane]
        model.attempts[grant.head.id] = model.attempts.get(grant.head.id, 0) + 1
        assert [intent.id for intent in grant.intents] == model.waiting[: len(grant.intents)]
        for intent in grant.intents:
            assert intent.attempts == model.attempts.get(intent.id, 0)
            assert intent.kills == model.kills.get(intent.id, 0)
        assert grant.facts_usable == model.clean
        assert (grant.open_write, grant.journal) == (model.open_write, model.journal)
        model.clean, model.token, model.fence = False, grant.token, grant.fence

    def went_on(self, worker: Worker, answer: Settled, lost: bool) -> None:
        """A settle or a burial was answered: more work, or the end of the lease."""
        if answer.grant:
            assert answer.grant.fence == worker.grant.fence
            self.granted(answer.grant)
            worker.grant, worker.deadline_ms = answer.grant, self.now_ms + LEASE_MS
            return
        self.lanes[worker.grant.lane].token = None
        self.workers.remove(worker)
        if answer.turn:
            self.causes += 1
            self.publish(answer.turn, lost)


def _answer(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except (Fenced, StillOpen) as refusal:
        return refusal
