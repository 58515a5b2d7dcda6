"""Redis refuses, or its answers get lost, in mid-turn. The worker lives, and nobody pays for that."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    ConnectionError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TryAgainError,
)
from structlog.testing import capture_logs

from onelane import ContactSync, EmailChange, LeadCapture, NewsletterOptIn, ProductSignUp, keyspace
from onelane.identity import lane_id
from onelane_worker.lanes.model import Grant
from onelane_worker.lanes.scripts import source
from onelane_worker.stopping import Stop
from onelane_worker.turn import serve

from .world import World

ANN, BOB = "ann@example.test", "bob@example.test"
LANE = lane_id(ANN)
OOM = OutOfMemoryError("command not allowed when used memory > 'maxmemory'.")
REFUSALS = {
    "OOM": OOM,
    "READONLY": ReadOnlyError("You can't write against a read only replica."),
    "NOREPLICAS": ResponseError("NOREPLICAS Not enough good replicas to write."),
    "MISCONF": ResponseError("MISCONF Redis is configured to save RDB snapshots, but it cannot."),
    "LOADING": BusyLoadingError("Redis is loading the dataset in memory"),
    "BUSY": ResponseError("BUSY Redis is busy running a script."),
    "MASTERDOWN": MasterDownError("Link with MASTER is down and replica-serve-stale-data is set to 'no'."),
    "CLUSTERDOWN": ClusterDownError("The cluster is down"),
    "TRYAGAIN": TryAgainError("Multiple keys request during rehashing of slot"),
    "NOAUTH": AuthenticationError("Authentication required."),
    "WRONGPASS": AuthenticationError("invalid username-password pair or user is disabled."),
    "NOPERM": NoPermissionError("this user has no permissions to run the 'evalsha' command"),
    "MAXCLIENTS": ConnectionError("max number of clients reached"),
}


@dataclass
class Trouble:
    """Lets calls to Redis fail: the one numbered `at` of every turn, and some after it."""

    redis: Redis
    at: int = -1
    error: Exception = OOM
    executed: bool = False
    """The server does it, and its answer is lost."""
    lasts: int = 1
    """So many calls fail in a row."""
    turns: int = 3
    """So many turns are met by it."""
    script: str = ""
    """The calls of this script fail, in place of those that are numbered."""
    calls: int = 0
    met: int = 0

    def call(self, do: Callable[[], Any], *words: Any) -> Any:
        number, self.calls = self.calls, self.calls + 1
        if self.script and self.met < self.turns and _sha(self.script) in words:
            self.met += 1
            raise self.error
        if self.met < self.turns and self.at <= number < self.at + self.lasts and self.at >= 0:
            self.met += number == self.at + self.lasts - 1
            if self.executed:
                do()
            raise self.error
        return do()

    @contextmanager
    def serving(self) -> Iterator[None]:
        """Only what a worker asks is met by it."""
        execute, pipeline = self.redis.execute_command, self.redis.pipeline

        def pipe(*args: Any, **options: Any) -> Any:
            made = pipeline(*args, **options)
            run = made.execute
            made.execute = lambda *a, **o: self.call(lambda: run(*a, **o))
            return made

        self.calls = 0
        patched: Any = self.redis
        patched.execute_command = lambda *args, **options: self.call(lambda: execute(*args, **options), *args)
        patched.pipeline = pipe
        try:
            yield
        finally:
            del patched.execute_command, patched.pipeline


def _sha(script: str) -> str:
    return hashlib.sha1(source(script).encode(), usedforsecurity=False).hexdigest()


def sign_up(world: World) -> Any:
    return ProductSignUp(email=ANN, external_id="u-1", name="Ann")


def sync(world: World) -> Any:
    world.do(ProductSignUp(email=ANN, external_id="u-1", name="An"))
    return ContactSync(email=ANN, external_id="u-1", name="Ann", source="crm", version=7)


def form(world: World) -> Any:
    world.do(LeadCapture(email=ANN, name="An"))
    return LeadCapture(email=ANN, name="Ann")


def opt_in(world: World) -> Any:
    world.do(LeadCapture(email=ANN))
    return NewsletterOptIn(email=ANN, name="Ann", subscription_types=("102",))


def change(world: World) -> Any:
    world.do(ProductSignUp(email=ANN, external_id="u-1", name="Ann"))
    return EmailChange(email=ANN, new_email=BOB)


STORIES = [sign_up, sync, form, opt_in, change]


def calls_of(story: Callable[[World], Any], redis: Redis) -> int:
    """How many calls to Redis one undisturbed turn makes."""
    trouble = Trouble(redis)
    for _ in range(2):  # the second finds its scripts loaded
        redis.flushall()
        world = World(redis)
        world.enqueue(story(world))
        with trouble.serving():
            world.run()
        world.close()
    return trouble.calls


def play(story: Callable[[World], Any], redis: Redis, trouble: Trouble) -> None:
    """Live through the trouble, and look what it has cost."""
    redis.flushall()
    world = World(redis)
    world.deps = replace(world.deps, sleep=lambda pause_s: None)
    [receipt] = world.enqueue(story(world))
    for _ in range(200):
        while world.broker.turns:
            turn = world.broker.turns.pop(0)
            with trouble.serving(), suppress(type(trouble.error)):
                serve(world.deps, turn.lane, turn.queue, turn.seq, world.seen)
        if world.outcome(receipt) is not None:
            break
        world.tick()
        for partition in keyspace.PARTITIONS:  # the broker is empty: a turn that was lost shows
            newest = world.store.turn_counters(partition).seq
            world.broker.turns += world.store.hand_out(partition, 100, newest)
    status = world.queue.status(receipt.id)
    assert status is not None, trouble
    assert status.outcome is not None, (trouble, status)
    assert status.outcome.result in ("created", "updated", "unchanged"), (trouble, status)
    assert status.attempts == 1, (trouble, status)
    assert not int(redis.hget(keyspace.intent(receipt.id), "kills") or 0), (trouble, status)
    assert [event for event in world.seen.events if event[0] == "buried"] == []
    living = [each for each in world.sandbox.contacts() if not (each["archived"] or each["deleted"])]
    assert [each["name"] for each in living] == ["Ann"], trouble
    world.close()


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("executed", [False, True], ids=["refused", "answer-lost"])
def test_three_failures_in_a_row_at_any_call_cost_nothing(
    fake_redis: Redis, story: Callable[[World], Any], executed: bool
) -> None:
    """SCENARIOS 31: applied in the end, with no kill, no attempt and no dead letter."""
    for at in range(calls_of(story, fake_redis)):
        error = ConnectionError("simulated") if executed else OOM
        trouble = Trouble(fake_redis, at, error, executed, lasts=2)
        play(story, fake_redis, trouble)
        assert trouble.met


@pytest.mark.parametrize(
    "script", ["claim", "breaker_ask", "leaf_take", "checkpoint", "leaf_note", "leaf_give", "settle"]
)
def test_one_script_refused_three_times_costs_nothing(fake_redis: Redis, script: str) -> None:
    trouble = Trouble(fake_redis, script=script)
    play(sync, fake_redis, trouble)
    assert trouble.met == 3


@pytest.mark.parametrize("code", REFUSALS)
def test_every_refusal_costs_nothing_and_says_why(fake_redis: Redis, code: str) -> None:
    with capture_logs() as logs:
        play(form, fake_redis, Trouble(fake_redis, error=REFUSALS[code], script="settle"))
    told = [line["problem"] for line in logs if line["event"] == "turn interrupted"]
    assert len(told) == 3
    assert all(f"({code})" in line for line in told)


def test_status_says_why_it_waits(world: World) -> None:
    [receipt] = world.enqueue(form(world))
    trouble = Trouble(world.redis, at=2)
    with trouble.serving(), pytest.raises(OutOfMemoryError):
        world.run()
    status = world.queue.status(receipt.id)
    assert status is not None
    assert (status.state, status.attempts) == ("retrying", 0)
    assert status.error is not None
    assert status.error.class_ == "redis"
    assert status.error.message == "Redis refuses writes: it is out of memory (OOM)"
    assert world.store.describe(LANE).holder is None


def test_a_lane_that_another_took_over_is_not_charged(world: World) -> None:
    """Redis was away for longer than a lease, and another worker came before the first could say it lives."""
    [receipt] = world.enqueue(form(world))
    turn = world.broker.turns.pop()
    heirs: list[Any] = []

    def another_comes(pause_s: float) -> None:
        _lease_ends(world)
        heirs.append(world.store.claim(LANE, turn.queue, 0, "heir"))

    world.deps = replace(world.deps, sleep=another_comes)
    with Trouble(world.redis, at=2, lasts=2).serving(), pytest.raises(OutOfMemoryError):
        serve(world.deps, turn.lane, turn.queue, turn.seq, world.seen)
    [heir] = heirs
    assert isinstance(heir, Grant)
    assert heir.kills == 1
    counted = world.redis.hmget(keyspace.intent(receipt.id), "kills", "attempts")
    assert counted == ["0", "1"]  # the heir's attempt
    assert world.store.describe(LANE).holder is not None


def test_a_worker_that_is_to_end_does_not_wait_for_redis(world: World) -> None:
    stop = Stop()
    world.deps = replace(world.deps, stop=stop, sleep=lambda pause_s: stop.ask())
    world.enqueue(form(world))
    with Trouble(world.redis, at=2, lasts=99).serving(), pytest.raises(OutOfMemoryError):
        world.run()


@pytest.mark.xfail(strict=True, reason="protocol v2: a kill is charged by the process's own record")
def test_a_living_holder_is_not_the_last_kill(world: World) -> None:
    """Two workers died of it, the third lives: but whoever claims before it can say so buries the intent."""
    [receipt] = world.enqueue(form(world))
    world.redis.hset(keyspace.intent(receipt.id), "kills", 2)
    turn = world.broker.turns.pop()

    def another_comes(pause_s: float) -> None:
        _lease_ends(world)
        serve(replace(world.deps, sleep=lambda pause_s: None), LANE, turn.queue, 0, world.seen)

    world.deps = replace(world.deps, sleep=another_comes)
    with Trouble(world.redis, at=2, lasts=2).serving(), pytest.raises(OutOfMemoryError):
        serve(world.deps, turn.lane, turn.queue, turn.seq, world.seen)
    outcome = world.outcome(receipt)
    assert outcome is None or outcome.result != "rejected"


def _lease_ends(world: World) -> None:
    world.redis.hset(keyspace.lane(LANE), "until", 1)
    world.redis.zadd(keyspace.due(keyspace.partition_of(LANE)), {LANE: 1})
