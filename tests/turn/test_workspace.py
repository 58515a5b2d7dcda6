"""No call is made before it is certain that the token's workspace is the queue's."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from onelane_worker.performer import Performer
from onelane_worker.workspace import OtherWorkspace, OwnGateway, Record, note, on_record, require_same
from redis import Redis

from onelane import LeadCapture, keyspace
from onelane_worker.planner import operations as op
from onelane_worker.planner.operations import Workspace

from .world import NoLimit, World

ACME, TRIAL = Workspace("xyz789", "ACME"), Workspace("sandbox-0", "Sandbox")
WRITE = op.Create({"role": "lead", "email": "ann@example.test"})
DOWN = op.Unknown(op.Problem("timeout"))


class Intercom:
    """Answers the probe with `probe`, everything else with Done."""

    def __init__(self, *probes: op.Reply) -> None:
        self.probes = list(probes)
        self.asked: list[op.Operation] = []

    def perform(self, operation: op.Operation, **_: Any) -> op.Reply:
        self.asked.append(operation)
        if not isinstance(operation, op.Probe):
            return op.Done()
        return self.probes.pop(0) if len(self.probes) > 1 else self.probes[0]

    def close(self) -> None:
        """Nothing is open."""

    @property
    def writes(self) -> int:
        return self.asked.count(WRITE)


def of(token: Workspace) -> op.Done:
    return op.Done(workspace=token)


def gateway(intercom: Intercom, redis: Redis, ended: list[str] | None = None) -> OwnGateway:
    return OwnGateway(intercom, redis, (ended if ended is not None else []).append)  # type: ignore[arg-type]


def write(own: OwnGateway) -> op.Reply:
    return own.perform(WRITE, now_ms=lambda: 0)


def test_the_first_worker_notes_the_workspace_of_its_token(redis: Redis) -> None:
    assert on_record(redis) is None
    intercom = Intercom(of(ACME))
    own = gateway(intercom, redis)
    assert [write(own), write(own)] == [op.Done(), op.Done()]
    assert on_record(redis) == Record(ACME)
    assert intercom.asked.count(op.Probe()) == 1


def test_a_token_of_another_workspace_writes_nothing(redis: Redis) -> None:
    note(redis, TRIAL)
    ended: list[str] = []
    intercom = Intercom(of(ACME))
    own = gateway(intercom, redis, ended)
    for _ in range(2):
        reply = write(own)
        assert isinstance(reply, op.NotSent)
        assert reply.problem.kind == "other_workspace"
    assert intercom.writes == 0
    assert on_record(redis) == Record(TRIAL)
    [why] = ended
    assert "belongs to the workspace Sandbox (sandbox-0), the token to ACME (xyz789)" in why
    assert "`onelane workspace move`" in why


@pytest.mark.parametrize(
    ("probe", "expected"),
    [
        (DOWN, op.NotSent),
        (op.NotSent(op.Problem("network")), op.NotSent),
        (op.Stopped(op.Problem("unauthorized", 401)), op.Stopped),
        (op.Forbidden(op.Problem("forbidden", 403)), op.Stopped),
        (op.Throttled(3.0, op.Problem("rate_limited", 429)), op.Throttled),
        (op.Gone(), op.NotSent),
        (op.Done(), op.Stopped),
    ],
)
def test_nothing_is_written_while_nobody_knows_whose_token_it_is(
    probe: op.Reply, expected: type, redis: Redis
) -> None:
    intercom = Intercom(probe, of(ACME))
    own = gateway(intercom, redis)
    assert isinstance(write(own), expected)
    assert (intercom.writes, on_record(redis)) == (0, None)
    assert write(own) == op.Done()
    assert (intercom.writes, on_record(redis)) == (1, Record(ACME))


def test_threads_that_wait_for_the_answer_share_it(redis: Redis) -> None:
    """Or each would wait for the time-outs of all before it."""
    all_ask = threading.Barrier(5)

    class Queueing:
        lock = threading.Lock()

        def __enter__(self) -> None:
            all_ask.wait(10)
            self.lock.acquire()

        def __exit__(self, *_: object) -> None:
            self.lock.release()

    intercom = Intercom(DOWN)
    own = gateway(intercom, redis)
    own._lock = Queueing()  # type: ignore[assignment]
    with ThreadPoolExecutor(4) as threads:
        replies = [threads.submit(write, own) for _ in range(4)]
        all_ask.wait(10)
        assert all(isinstance(one.result(), op.NotSent) for one in replies)
    assert intercom.asked == [op.Probe()]


def test_an_unfinished_move_keeps_everybody_out(redis: Redis) -> None:
    redis.hset(keyspace.WORKSPACE, mapping={"id": ACME.id, "name": ACME.name, "moving": "1"})
    for token in (ACME, TRIAL):
        with pytest.raises(OtherWorkspace, match="move of this queue to the workspace ACME"):
            note(redis, token)
        with pytest.raises(OtherWorkspace):
            require_same(token, on_record(redis))


def test_the_name_may_change(redis: Redis) -> None:
    note(redis, ACME)
    note(redis, Workspace(ACME.id, "ACME Ltd"))
    assert on_record(redis) == Record(Workspace(ACME.id, "ACME Ltd"))


def test_an_intent_waits_while_nobody_knows_whose_token_it_is(redis: Redis) -> None:
    """Intercom's answer stops the line; the intent is not blamed, and ends as soon as it may."""
    world = World(redis)
    world.gateway.before = lambda call: (
        op.Stopped(op.Problem("unauthorized", 401)) if isinstance(call, op.Probe) and down else None
    )
    down = True
    own = gateway(world.gateway, redis)  # type: ignore[arg-type]
    performer = Performer(world.store, own, NoLimit(), commit_ms=0, send_grace_s=1)
    object.__setattr__(world.deps, "performer", performer)
    [receipt] = world.enqueue(LeadCapture(email="ann@example.test"))
    world.run()
    status = world.queue.status(receipt.id)
    assert status is not None
    assert (status.state, world.contacts("ann@example.test")) == ("parked", [])
    down = False
    world.run_until(lambda: world.outcome(receipt) is not None)
    assert len(world.contacts("ann@example.test")) == 1
    assert on_record(redis) == Record(TRIAL)
    world.close()
