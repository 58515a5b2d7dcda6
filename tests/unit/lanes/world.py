"""Lanes on a Redis whose clock the test turns. After each script the laws are checked, and it runs again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count
from typing import Any

from redis import Redis
from tests.blocking import AllScripts, finish, sdk_script

from onelane.workspace import Workspace, open_calls, opened
from onelane_worker.lanes.store import Script, Word
from onelane_worker.lanes.types import (
    KEEP,
    BreakerView,
    BreakerWord,
    Claimed,
    Ended,
    Grant,
    LaneSettings,
    Postponed,
    Replayed,
    Reserved,
    Settled,
    Step,
    Ticked,
)

from .laws import Dump, Laws

CLOCK = """
local function test_field(name) return redis.call('HGET', KEYS[1] .. 'test', name) end
local function clock() return tonumber(test_field('ms')) * 1000 end
local function server() return test_field('server') end
"""
START_MS = 1_800_000_000_000
LEASE_MS, COMMIT_MS, HOLD_MS = 5_000, 31_000, 31_000
ONCE = {"reserve", "breaker", "tick"}
"""Scripts whose repetition says something more."""
DONE = '{"result":"updated"}'


class BlockingClient:
    """A client of the lanes that does not wait in an event loop."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def run(self, script: Script, key: str, args: Sequence[Word]) -> Any:
        world = self._world
        answer = world.eval(script, args)
        world.check_laws()
        if script.name not in ONCE and answer[0] not in ("no_workspace", "rekeyed"):
            before = world.snapshot()
            again = world.eval(script, args)
            assert world.snapshot() == before, f"{script.name} is not the same once and twice"
            if script.name not in ("submit", "withdraw", "claim", "revise", "replay"):
                assert again == answer, script.name
        return answer

    async def read(self, *command: Word) -> Any:
        redis: Any = self._world.redis
        return redis.execute_command(*command)


class World:
    """One workspace, producers and engines."""

    def __init__(self, redis: Redis, **settings: Any) -> None:
        self.redis = redis
        self.settings = LaneSettings(**{"new_redis": True, **settings})
        self.workspace = self.open()
        self.keys = self.workspace.keys
        self.redis.hset(self.keys.key("test"), mapping={"ms": START_MS, "server": "a"})
        self.now_ms = START_MS
        self.store = AllScripts(BlockingClient(self), self.workspace, self.settings, CLOCK)
        self._ids = count(1)
        self._numbers = count(1)
        self._steps: dict[int, Iterator[int]] = {}

    def open(self, name: str = "main") -> Workspace:
        workspace = Workspace(name, "none")
        pipe: Any = self.redis.pipeline(transaction=False)
        with pipe:
            for command in open_calls(workspace.keys):
                pipe.execute_command(*command)
            return opened(name, pipe.execute())

    def eval(self, script: Script, args: Sequence[Word]) -> Any:
        return self.redis.eval(script.text, 1, self.keys.prefix, *args)

    # ── time, and the server ──

    def wait(self, ms: int) -> None:
        """Time goes by, but for what ends by itself."""
        self.now_ms += ms
        self.redis.hset(self.keys.key("test"), "ms", self.now_ms)

    def other_server(self, name: str = "b") -> None:
        """A restart or a failover: it may have lost a moment."""
        self.redis.hset(self.keys.key("test"), "server", name)

    # ── what is stored ──

    def check_laws(self) -> None:
        Laws(self.redis, self.keys, self.now_ms).check()

    def snapshot(self) -> dict[str, Any]:
        return Dump(self.redis, self.keys).all

    def ends_in_ms(self, *words: str) -> int:
        found: Any = self.redis.pttl(self.keys.key(*words))
        return int(found)

    def hash(self, *words: str) -> dict[str, str]:
        found: Any = self.redis.hgetall(self.keys.key(*words))
        return dict(found)

    def intent(self, id_: str) -> dict[str, str]:
        return self.hash("intent", id_)

    def lane(self, lane: str) -> dict[str, str]:
        return self.hash("lane", lane)

    def queue(self, lane: str) -> list[str]:
        found: Any = self.redis.lrange(self.keys.key("queue", lane), 0, -1)
        return list(found)

    def place(self, lane: str) -> str | int | None:
        """The class in which a lane is ready, or the ms from now on when it is due, or None: asleep."""
        for name in ("interactive", "bulk", "suspect"):
            if self.redis.zscore(self.keys.key("ready", name), lane) is not None:
                return name
        score: Any = self.redis.zscore(self.keys.key("due"), lane)
        return None if score is None else int(score) - self.now_ms

    def counter(self, name: str) -> int:
        return int(self.hash("counters").get(name, 0))

    # ── producers ──

    def submit(self, lane: str = "a", id_: str | None = None, **more: Any) -> list[Any]:
        """What submit.lua answers."""
        given = {
            "bulk": 0, "kind": "contact_sync", "payload": "{}x", "schema": 1, "content": "c", "dedupe": "",
            "ext": "", "target": "", "erases": 0, "lane_max": 100, "queue_max": 1000, "wake_max": 64, **more,
        }  # fmt: skip
        args = [id_ or f"{next(self._ids):032x}", lane, *given.values()]
        client, script = BlockingClient(self), sdk_script("submit", CLOCK)
        found: list[Any] = finish(client.run(script, self.keys.prefix, (self.workspace.fingerprint, *args)))
        return found

    def withdraw(self, id_: str) -> str:
        return finish(self.store.withdraw(id_, '{"result":"withdrawn"}'))

    def put(self, lane: str = "a", **more: Any) -> str:
        """The id of an intent that is accepted."""
        word, id_, _ = self.submit(lane, **more)
        assert word == "accepted"
        return str(id_)

    # ── engines ──

    def claimed(self, most: int = 4, *, engine: str = "e", number: int | None = None, **more: Any) -> Claimed:
        given = {"suspects": (1, 0), "wakes": 0, "in_hand": 0, **more}
        return finish(self.store.claim(engine, number or next(self._numbers), most, **given))

    def grants(self, most: int = 4, **more: Any) -> tuple[Grant, ...]:
        return self.claimed(most, **more).grants

    def grant(self, **more: Any) -> Grant:
        [grant] = self.grants(**more)
        return grant

    def tick(self, *grants: Grant, engine: str = "e") -> Ticked:
        return finish(self.store.tick(engine, "worker@host", grants))

    def step(self, grant: Grant) -> Step:
        numbers = self._steps.setdefault(grant.fence, count(1))
        return Step(grant.lane, grant.token, grant.fence, next(numbers))

    def numbers(self, grant: Grant, from_: int) -> None:
        """The next step of this lease has this number."""
        self._steps[grant.fence] = count(from_)

    def settle(self, grant: Grant, count: int = 1, **more: Any) -> Settled:
        ended = [Ended(intent.id, DONE) for intent in grant.intents[:count]]
        return finish(self.store.settle(self.step(grant), ended, **{"registry": None, **more}))

    def checkpoint(self, grant: Grant, **more: Any) -> Any:
        given = {"open_write": '{"op":"update"}', **more}
        return finish(self.store.checkpoint(self.step(grant), **given))

    def clear(self, grant: Grant, journal: Any = KEEP) -> Any:
        return finish(self.store.clear(self.step(grant), journal))

    def postpone(self, grant: Grant, delay_ms: int = 1_000, **more: Any) -> Postponed:
        given: dict[str, Any] = {"state": "retrying", "unknown": False, "counted": True, **more}
        return finish(self.store.postpone(self.step(grant), delay_ms, **given))

    def scrub(self, grant: Grant, ext: Sequence[str] = (), contacts: Sequence[str] = ()) -> None:
        outcome = '{"result":"rejected","reason":"erased"}'
        finish(self.store.scrub(lambda: self.step(grant), outcome, ext, contacts))

    def bury(self, grant: Grant, **more: Any) -> Settled:
        error, outcome = '{"class":"refused"}', '{"result":"rejected"}'
        return finish(self.store.bury(self.step(grant), grant.head.id, error, outcome, **more))

    def reserve(self, calls: int = 1, throttled_ms: int = 0) -> Reserved:
        return finish(self.store.reserve(calls, throttled_ms))

    def die(self, grant: Grant) -> None:
        """The holder's process is gone: its lease runs out, and somebody notices."""
        self.wait(LEASE_MS + 1)
        self.tick(engine="other")
        self.wait(2_000)  # nobody had ticked for a while
        self.tick(engine="other")

    # ── operators ──

    def replay(self, id_: str, burial: int = 1, *, whole: bool = False) -> Replayed:
        return finish(self.store.replay(id_, burial, whole=whole))

    def discard(self, id_: str, burial: int = 1) -> bool:
        return finish(self.store.discard(id_, burial, '{"result":"rejected","reason":"discarded"}'))

    def breaker(self, word: BreakerWord, **more: Any) -> BreakerView:
        return finish(self.store.breaker(word, **more))
