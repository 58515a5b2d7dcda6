"""Producers, worker processes, Redis and Intercom in one process and in virtual time.

Real are the Lua scripts, the lane store, the engine, the planner, the SDK, the sandbox's rules, and the
translation to HTTP and back. Ours are the event loop, the networks, the Redis server and the broker.

    world = World()
    [receipt] = world.enqueue(LeadCapture(email="ann@example.test"))
    world.rest()  # until everything accepted has ended
    assert world.outcome(receipt).result == "created"
"""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from tests.blocking import finish

from onelane import ContactQueue, Outcome, Receipt, Status
from onelane.keys import Keys
from onelane.settings import QueueSettings
from onelane.workspace import META, Workspace, open_calls, opened
from onelane_sandbox.rules import Sandbox
from onelane_worker.engine.engine import Engine, Parts
from onelane_worker.lanes.store import LaneStore
from onelane_worker.planner import operations as op

from .broker import Broker
from .faults import Fault, Place, Planned, Strike
from .intercom import NETWORK, Door, Intercom, Network
from .lane_link import AtOnce, LaneLink
from .laws import Laws
from .link import Link
from .loop import Process, VirtualLoop
from .redis import RedisClient, SmallRedis
from .workers import KNOBS, Knobs, Seen, Worker

START_S = 1_800_000_000.0
A_DAY_S = 86_400.0
SECRET = "5ec1e7" * 5 + "00"
IDLE = Path(__file__).with_name("idle.lua").read_text()


class Hooks:
    """What a judge looks at while a history runs."""

    def after_effect(self, what: str) -> None:
        """A script has run."""

    def sends(self, process: Process, operation: op.Operation) -> None:
        """A call leaves for Intercom."""

    def before_effect(self, wire: Any) -> None:
        """A request of ours takes effect."""

    def killed(self, process: Process) -> None:
        """A process has died."""

    def ended(self, worker: Worker) -> None:
        """An engine has ended by itself or because it was asked to."""


class Moments(Hooks):
    """What a test wants to do in the middle of it: once each, when something fitting happens."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Any, Callable[[], object]]] = []

    def after_effect(self, what: str) -> None:
        self._happen(what)

    def sends(self, process: Process, operation: op.Operation) -> None:
        self._happen(operation)

    def _happen(self, what: object) -> None:
        for waiting in list(self.waiting):
            if _is(what, waiting[0]):
                self.waiting.remove(waiting)
                waiting[1]()


class World:
    """`seed`: of latencies and other chances. `lag_s`: of Intercom's index. `skew_s`: by how much Intercom's
    clock is ahead. `strike` decides what goes wrong; without it, what a test plans with `fault` does."""

    def __init__(
        self,
        seed: int = 0,
        *,
        knobs: Knobs = KNOBS,
        lag_s: float | tuple[float, float] = 3_600.0,
        workers: int = 1,
        network: Network = NETWORK,
        skew_s: float = 0.0,
        strike: Strike | None = None,
        hooks: Hooks | None = None,
        trace: bool = False,
    ) -> None:
        self.dice = Random(f"world/{seed}")
        self.loop = VirtualLoop(START_S - A_DAY_S)
        self.loop.set_exception_handler(self._failed)
        self.knobs = knobs
        self.moments = Moments()
        self.hooks = hooks or self.moments
        self.trace: list[str] | None = [] if trace else None
        self.seen = Seen()
        self.workers: list[Worker] = []
        self.accepted: list[Receipt] = []
        self.told: list[tuple[Receipt, Any, float]] = []
        """Every accepted intent with its receipt and the time."""
        self.broken: list[str] = []
        """What must never be: broken laws of the lanes, errors that nobody has caught."""
        self.at_rest = False
        """Nothing is ready, due or under way, nor will it ever be."""
        self._planned = Planned()
        strike = strike or self._planned.strike
        net: dict[str, Any] = {"kill": self.kill, "freeze": self.freeze, "note": self.note}
        self.redis = SmallRedis(lambda: self.loop.now)
        self.laws = Laws(self)
        self.link = Link(self.loop, strike, self.dice, after_effect=self._after_effect, **net)
        self.sandbox = Sandbox(seed, index_lag=lag_s)
        self.intercom = Intercom(
            self.loop,
            self.sandbox,
            strike,
            self.dice,
            network=network,
            skew_s=skew_s,
            sends=self.hooks.sends,
            before_effect=self.hooks.before_effect,
            **net,
        )
        self.broker = Broker(self.loop, strike, self.dice, self._wake_one, self.note)
        self.queue = self._open_queue()
        self._emptied = False
        self._workspace = Workspace(self.queue.settings.workspace, SECRET)
        self._idle = -1, 0
        """What `idle.lua` last said, and after how many writes."""
        self.loop.idle_until = self._idle_until
        self._begin_epoch()
        for _ in range(workers):
            self.hire()

    @property
    def workspace(self) -> Workspace:
        """The workspace as it is in Redis now; the last one while there is none."""
        if self._emptied:
            secret = self.redis.execute("HGET", self._workspace.keys.key(META), "secret")
            if secret is not None:
                self._workspace, self._emptied = Workspace(self._workspace.name, secret), False
        return self._workspace

    # ── time ──

    @property
    def now(self) -> float:
        """Epoch seconds."""
        return self.loop.now

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.loop.run_until(lambda: False, self.now + seconds)

    def until(self, done: Callable[[], object], within_s: float = 3_600.0) -> float:
        """Go on until `done()`; how long that took. Raises AssertionError if it takes longer."""
        began = self.now
        assert self.loop.run_until(lambda: bool(done()), began + within_s), f"not within {within_s} s"
        return self.now - began

    def rest(self, within_s: float = 86_400.0) -> float:
        """Go on until everything accepted has ended; how long that took."""
        left = list(self.accepted)

        def done() -> bool:
            while left and self.outcome(left[-1]):
                left.pop()
            return not left

        return self.until(done, within_s)

    # ── producers ──

    def enqueue(self, *intents: Any) -> list[Receipt]:
        """Enqueue, through the real SDK, at once."""
        receipts = []
        for intent in intents:
            receipts.append(self.queue.enqueue(intent))
            self.told.append((receipts[-1], intent, self.now))
        self.accepted += receipts
        return receipts

    def later(self, delay_s: float, *intents: Any) -> None:
        """The same, after a while."""
        self.loop.after(delay_s, lambda: self.enqueue(*intents))

    def do(self, intent: Any) -> Outcome:
        """Enqueue one intent, and go on until it has ended."""
        [receipt] = self.enqueue(intent)
        return self.ended(receipt)

    def ended(self, receipt: Receipt, within_s: float = 86_400.0) -> Outcome:
        """Go on until it has ended."""
        self.until(lambda: self.outcome(receipt), within_s)
        outcome = self.outcome(receipt)
        assert outcome is not None
        return outcome

    def status(self, receipt: Receipt) -> Status:
        found = self.queue.status(receipt.id)
        assert found is not None
        return found

    def outcome(self, receipt: Receipt) -> Outcome | None:
        return self.status(receipt).outcome

    # ── workers ──

    def hire(self, skew_s: float = 0.0, rate: float = 1.0) -> Worker:
        """Start a worker process."""
        process = Process(f"worker{len(self.workers)}", skew_s, rate)
        worker = Worker(self.loop, process, self.engine)
        worker.task.add_done_callback(lambda _: self.hooks.ended(worker))
        self.workers.append(worker)
        return worker

    async def engine(self, process: Process) -> Engine:
        """A new engine; inside the process."""
        workspace, knobs = await self._opened(process), self.knobs
        return Engine(
            Parts(
                store=self.store(process, workspace),
                intercom=Door(self.intercom, process),
                workspace=workspace,
                observer=self.seen,
                policy=knobs.policy,
                timing=knobs.timing,
                concurrency=knobs.slots,
                grace_s=knobs.grace_s,
                name=process.name,
                random=Random(self.dice.random()),
            )
        )

    def store(self, process: Process, workspace: Workspace | None = None) -> LaneStore:
        """A store by which a process reaches Redis."""
        link = LaneLink(self.link, self.redis, process)
        return LaneStore(link, workspace or self.workspace, self.knobs.lanes)

    async def _opened(self, process: Process) -> Workspace:
        name = self.queue.settings.workspace
        link = LaneLink(self.link, self.redis, process)
        return opened(name, await link.ask(open_calls(Keys(name))))

    def begin(self, make: Callable[[LaneStore], Any]) -> Any:
        """Begin a call of the lane store by somebody who is no engine."""
        process = Process("operator")
        return self.loop.spawn(process, make(self.store(process)))

    def call(self, make: Callable[[LaneStore], Any]) -> Any:
        """The answer of such a call."""
        task = self.begin(make)
        assert self.loop.run_until(task.done), "it never ended"
        return task.result()

    def worker_of(self, engine_id: str) -> Worker | None:
        """The worker whose engine has this id."""
        found = (one for one in self.workers if one.engine is not None and one.engine.id == engine_id)
        return next(found, None)

    def engine_of(self, process: Process) -> Engine:
        """The engine of a process."""
        return next(one.engine for one in self.workers if one.process is process and one.engine is not None)

    def after_death(self, within_s: float = 86_400.0) -> Worker:
        """Go on until the newest worker has died, and start another."""
        newest = self.workers[-1]
        self.until(lambda: not newest.process.alive, within_s)
        return self.hire()

    def kill(self, process: Process) -> None:
        """kill -9: nothing of it runs any more; what it has sent may still take effect."""
        self.note("KILL", process.name)
        process.alive = False
        self.hooks.killed(process)

    def freeze(self, process: Process, seconds: float) -> None:
        """SIGSTOP, and SIGCONT later."""
        self.note("FREEZE", process.name, seconds)
        process.frozen_until_s = max(process.frozen_until_s, self.now + seconds)
        self.loop.at(process.frozen_until_s, self.broker.hand_out)

    # ── what goes wrong ──

    def fault(self, place: Place, what: Any, kind: str, times: int = 1, **more: Any) -> None:
        """The next `times` calls of the place meet a fault. `what`: the name of a script, a type of
        operation, or a function of either."""
        self._planned.add(place, lambda one: _is(one, what), Fault(kind, **more), times)

    def clear_faults(self) -> None:
        """Forget what was planned and has not happened."""
        self._planned.waiting.clear()

    def answer(self, what: Any, reply: op.Reply, times: int = 1) -> None:
        """The next such operations are answered so by the client, and nothing is sent."""
        self.fault("intercom", what, "reply", times, reply=reply)

    def when(self, what: Any, action: Callable[[], object]) -> None:
        """Do something once: when such an operation leaves, or when such a script has run."""
        self.moments.waiting.append((what, action))

    # ── Intercom ──

    def contacts(self, email: str) -> list[dict[str, Any]]:
        """The live contacts of an address, as they truly are."""
        gone = ("archived", "deleted", "merged_into")
        found = (one for one in self.sandbox.contacts() if one["email"] == email)
        return [one for one in found if not any(one[name] for name in gone)]

    def seed(self, **body: Any) -> dict[str, Any]:
        """Somebody else makes a contact."""
        response = self.intercom.foreign("POST", "/contacts", body)
        assert response.status == 200, response.body
        return dict(response.body)

    def attributes(self, *names: str) -> None:
        """Make string attributes."""
        for name in names:
            self.sandbox.put_attribute(name, "string", self.now)

    def catch_up(self) -> None:
        """Let the index show everything."""
        self.sandbox.catch_up()

    def calls(self) -> list[str]:
        """Names of the operations sent since the last look."""
        names = [type(operation).__name__ for operation in self.intercom.log.calls]
        self.intercom.log.calls.clear()
        return names

    # ── Redis ──

    def lane(self, email: str) -> dict[str, str]:
        """The lane's hash."""
        return self.hash("lane", self.workspace.lane(email))

    def text(self, family: str, email: str) -> str | None:
        """What the lane keeps as text: its registry entry, its consent memory."""
        found: str | None = self.redis.execute(
            "GET", self.workspace.keys.key(family, self.workspace.lane(email))
        )
        return found

    def hash(self, *words: str) -> dict[str, str]:
        """A hash of the workspace."""
        found: dict[str, str] = self.redis.execute("HGETALL", self.workspace.keys.key(*words))
        return found

    def family(self, name: str) -> dict[str, Any]:
        """What is under all keys of a family: the rest of the key → value."""
        prefix = self.workspace.keys.key(name, "")
        found = [key for key in self.redis.all_keys() if key.startswith(prefix)]
        return {key.removeprefix(prefix): self.redis.dump(key) for key in found}

    def open_write(self, email: str) -> dict[str, Any] | None:
        """The write-ahead record of a lane."""
        text = self.lane(email).get("open")
        return None if text is None else dict(json.loads(text))

    def dump(self) -> dict[str, Any]:
        """Key → what is under it, of everything in Redis."""
        return {key: self.redis.dump(key) for key in self.redis.all_keys()}

    def fail_over(self, snapshot: Any = None) -> None:
        """Another server takes over, with what a snapshot holds; without one, empty."""
        if snapshot is None:
            self.redis.empty()
            self._emptied = True
        else:
            self.redis.restore(snapshot)
        self._idle = -1, 0
        self.laws.forget()

    # ── the end ──

    def close(self) -> None:
        """End everything."""
        self.loop.close()

    def note(self, *words: Any) -> None:
        """A line of the trace."""
        if self.trace is not None:
            self.trace.append(f"{self.now - START_S:11.4f}  {' '.join(map(_short, words))}")

    # ── inside ──

    def _after_effect(self, what: str) -> None:
        self.broken += [f"at {self.now - START_S:.4f}, after {what}: {one}" for one in self.laws.check(what)]
        self.hooks.after_effect(what)

    def _failed(self, loop: Any, context: dict[str, Any]) -> None:
        error = context.get("exception")
        trace = "" if error is None else "".join(traceback.format_exception(error))
        self.broken.append(f"at {self.now - START_S:.4f}: {context.get('message')} {trace}")

    def _open_queue(self) -> ContactQueue:
        client = RedisClient(self.redis)
        queue = ContactQueue(QueueSettings(), redis=client, waker=self.broker)  # type: ignore[arg-type]
        meta = {"secret": SECRET, "format": "2", "created": f"{START_S * 1000:.0f}"}
        self.redis.execute(
            "HSET", queue._session.keys.key(META), *(word for pair in meta.items() for word in pair)
        )
        return queue

    def _begin_epoch(self) -> None:
        """The first claim tells that this Redis is new, and has lost nothing."""
        settings = replace(self.knobs.lanes, new_redis=True)
        store = LaneStore(AtOnce(self.redis), self.workspace, settings)
        finish(store.claim("first", 1, 1, suspects=(0, 0), wakes=0, in_hand=0))
        self.loop.now = START_S

    def _wake_one(self) -> bool:
        """Give a wake-up to a worker that takes it."""
        able = [worker for worker in self.workers if worker.is_up]
        if able:
            self.dice.choice(able).poke()
        return bool(able)

    def _idle_until(self) -> float:
        if self.intercom.is_busy:
            return 0.0
        writes = self.redis.writes()
        if writes != self._idle[0] or 0 <= self._idle[1] <= self.now * 1000:
            args = [self.knobs.lanes.failover_hold_ms, int(self.now * 1000)]
            self._idle = writes, self.redis.run(IDLE, self.workspace.keys.prefix, args, "idle")
        due_ms = self._idle[1]
        if due_ms < 0:
            comes_more = self.loop.has_events
            self.at_rest = due_ms == -1 and not comes_more
            return float("inf") if comes_more else 0.0
        return due_ms / 1000


def _is(one: object, what: Any) -> bool:
    """Does a call fit: the name of a script, types of operations, or a function that says so?"""
    if isinstance(what, type | tuple):
        return isinstance(one, what)
    return bool(what(one)) if callable(what) else one == what


def _short(word: Any) -> str:
    text = f"{word.status} {word.body}" if hasattr(word, "status") else str(word)
    return text if len(text) <= 300 else text[:300] + "…"
