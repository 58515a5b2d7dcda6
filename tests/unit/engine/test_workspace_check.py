"""No call goes to Intercom before it is certain that the token's workspace is the queue's."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from redis import Redis

from onelane.keys import Keys
from onelane.workspace import META, Command
from onelane_worker.engine import workspace_check
from onelane_worker.engine.workspace_check import OtherWorkspace, OwnIntercom, Record, recorded
from onelane_worker.planner import operations as op

KEYS = Keys("main")
META_KEY = KEYS.key(META)
OURS, THEIRS = op.Workspace("ws1", "Ours"), op.Workspace("ws2", "Theirs")
THROTTLED = op.Throttled(3.0, op.Problem("rate_limited"))
READ = op.Read("c1")
FOUND = op.Gone()
"""Any answer: what a call brings is not looked at here."""


class Intercom:
    """Answers GET /me as it is told, and any other call alike; notes what was asked."""

    def __init__(self, *probes: op.Reply) -> None:
        self._probes = list(probes) or [op.Done(workspace=OURS)]
        self.asked: list[op.Operation] = []

    async def perform(self, operation: op.Operation, **_: Any) -> op.Reply:
        self.asked.append(operation)
        await asyncio.sleep(0)
        if isinstance(operation, op.Probe):
            return self._probes.pop(0) if len(self._probes) > 1 else self._probes[0]
        return FOUND


def ask_of(redis: Redis) -> workspace_check.Ask:
    async def ask(commands: Sequence[Command]) -> Sequence[Any]:
        with redis.pipeline(transaction=False) as pipe:
            for command in commands:
                pipe.execute_command(*command)
            return pipe.execute(raise_on_error=False)

    return ask


class Stage:
    """An own client over an Intercom, and what was said when the worker had to end."""

    def __init__(self, redis: Redis, *probes: op.Reply) -> None:
        self.intercom = Intercom(*probes)
        self.ends: list[str] = []
        self.own = OwnIntercom(self.intercom, ask_of(redis), KEYS, self.ends.append)

    async def read(self) -> op.Reply:
        return await self.own.perform(READ, now_ms=lambda: 0, send_by=1.0)


def note(redis: Redis, workspace: op.Workspace, **more: str) -> None:
    fields = {"intercom_id": workspace.id, "intercom_name": workspace.name, **more}
    redis.hset(META_KEY, mapping=fields)


def on_record(redis: Redis) -> Record | None:
    return recorded(asyncio.run(ask_of(redis)(workspace_check.record_calls(KEYS))))


def test_the_first_worker_notes_whose_queue_it_is(redis: Redis) -> None:
    stage = Stage(redis)
    assert on_record(redis) is None

    assert asyncio.run(stage.read()) is FOUND

    assert on_record(redis) == Record(OURS)
    assert stage.intercom.asked == [op.Probe(), READ]


def test_it_is_asked_once_however_many_calls_wait(redis: Redis) -> None:
    stage = Stage(redis)

    async def play() -> None:
        await asyncio.gather(*(stage.read() for _ in range(5)))
        await stage.read()

    asyncio.run(play())
    assert stage.intercom.asked.count(op.Probe()) == 1


def test_a_token_of_another_workspace_makes_no_call_and_ends_the_worker(redis: Redis) -> None:
    note(redis, THEIRS)
    stage = Stage(redis)

    async def play() -> list[op.Reply]:
        return [await stage.read() for _ in range(3)]

    replies = asyncio.run(play())

    assert [one.problem.kind for one in replies if isinstance(one, op.NotSent)] == ["other_workspace"] * 3
    assert set(stage.intercom.asked) == {op.Probe()}
    [why] = stage.ends
    assert why.startswith("this queue belongs to the workspace Theirs (ws2), the token to Ours (ws1). ")
    assert on_record(redis) == Record(THEIRS)


def test_a_starting_worker_is_told_of_another_workspace(redis: Redis) -> None:
    note(redis, THEIRS)
    stage = Stage(redis)
    with pytest.raises(OtherWorkspace, match=r"Theirs \(ws2\), the token to Ours \(ws1\)"):
        asyncio.run(stage.own.confirm(1.0))
    assert stage.ends == []


def test_an_unfinished_move_is_refused_whatever_the_token_is(redis: Redis) -> None:
    note(redis, OURS, moving="1")
    with pytest.raises(OtherWorkspace, match="has not ended"):
        asyncio.run(Stage(redis).own.confirm(1.0))


@pytest.mark.parametrize(
    ("probed", "reply"),
    [
        (op.NotSent(op.Problem("network")), op.NotSent(op.Problem("network"))),
        (op.Unknown(op.Problem("timeout")), op.NotSent(op.Problem("timeout"))),
        (THROTTLED, THROTTLED),
        (op.Stopped(op.Problem("unauthorized")), op.Stopped(op.Problem("unauthorized"))),
        (op.Forbidden(op.Problem("forbidden")), op.Stopped(op.Problem("forbidden"))),
        (FOUND, op.NotSent(op.Problem("unreadable", message="GET /me was not answered as expected"))),
    ],
)
def test_while_intercom_does_not_tell_no_call_is_made_and_it_is_asked_again(
    probed: op.Reply, reply: op.Reply, redis: Redis
) -> None:
    stage = Stage(redis, probed, op.Done(workspace=OURS))

    async def play() -> tuple[op.Reply, op.Reply]:
        return await stage.read(), await stage.read()

    assert asyncio.run(play()) == (reply, FOUND)
    assert stage.intercom.asked == [op.Probe(), op.Probe(), READ]


def test_an_answer_that_names_no_workspace_stops_everything(redis: Redis) -> None:
    reply = asyncio.run(Stage(redis, op.Done()).read())
    assert isinstance(reply, op.Stopped)
    assert reply.problem.kind == "workspace_unknown"


@pytest.mark.parametrize("change", [{"intercom_id": "ws2"}, {"moving": "1"}])
def test_a_queue_that_is_moved_ends_the_worker_and_its_calls(
    change: dict[str, str], redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspace_check, "WATCH_S", 0.01)
    stage = Stage(redis)

    async def play() -> op.Reply:
        await stage.read()
        watch = asyncio.create_task(stage.own.watch())
        await asyncio.sleep(0.05)
        assert stage.ends == []
        redis.hset(META_KEY, mapping=change)
        await asyncio.wait_for(watch, 20)
        return await stage.read()

    reply = asyncio.run(play())
    assert isinstance(reply, op.NotSent)
    assert reply.problem.kind == "other_workspace"
    assert len(stage.ends) == 1


def test_a_renamed_workspace_is_still_the_same(redis: Redis) -> None:
    note(redis, op.Workspace("ws1", "Old name"))
    assert asyncio.run(Stage(redis).read()) is FOUND
    assert on_record(redis) == Record(OURS)
