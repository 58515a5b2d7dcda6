"""What LaneClient does on a real server, and with one that does not answer or refuses."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as Lost
from redis.exceptions import TimeoutError as TooLate

from onelane import scripts
from onelane_worker.lanes.client import FLIGHTS, LONGEST, LaneClient
from onelane_worker.lanes.store import Script

ECHO = "return { KEYS[1], ARGV[1], redis.call('INCR', KEYS[1]) }"
KEY = "{ol:main}:echo"
FOR_NOW = [
    Lost("gone"),
    TooLate("slow"),
    BusyLoadingError("loading"),
    OutOfMemoryError("command not allowed when used memory > 'maxmemory'."),
    ReadOnlyError("You can't write against a read only replica."),
    MasterDownError("Link with MASTER is down"),
    ClusterDownError("CLUSTERDOWN The cluster is down"),
    TryAgainError("TRYAGAIN"),
    ResponseError("NOREPLICAS Not enough good replicas to write."),
    ResponseError("MISCONF Redis is configured to save RDB snapshots, but it cannot."),
    ResponseError("BUSY Redis is busy running a script."),
    ResponseError("UNBLOCKED force unblock from blocking operation"),
    ResponseError("ERR Error running script: @user_script:3: -OOM command not allowed"),
]
FOR_GOOD = [
    AuthenticationError("invalid username-password pair or user is disabled."),
    NoPermissionError("this user has no permissions to run the 'evalsha' command"),
    ResponseError("unknown command 'EVALSHA'"),
    ResponseError("user_script:7: attempt to index a nil value script: 5f"),
    ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value"),
]


def script(text: str = ECHO) -> Script:
    return Script("echo", text, scripts.sha1(text))


def in_loop(url: str, story: Callable[[LaneClient], Awaitable[Any]], waiting: Any = None) -> Any:
    async def tell() -> Any:
        client = LaneClient.from_url(url, {}, waiting)
        try:
            return await story(client)
        finally:
            await client.aclose()

    return asyncio.run(tell())


def test_a_script_is_given_to_redis_once_and_known_by_its_digest(valkey: Redis, valkey_url: str) -> None:
    valkey.script_flush()
    before: Any = valkey.info("commandstats")

    async def story(client: LaneClient) -> list[Any]:
        return [await client.run(script(), KEY, ("a",)) for _ in range(3)]

    assert in_loop(valkey_url, story) == [[KEY, "a", 1], [KEY, "a", 2], [KEY, "a", 3]]
    after: Any = valkey.info("commandstats")
    made = {name: _calls(after, name) - _calls(before, name) for name in ("eval", "evalsha")}
    assert made == {"eval": 1, "evalsha": 2}


def _calls(stats: dict[str, Any], name: str) -> int:
    return int(stats.get(f"cmdstat_{name}", {}).get("calls", 0))


def test_a_server_that_forgets_scripts_is_given_them_again(valkey: Redis, valkey_url: str) -> None:
    async def story(client: LaneClient) -> list[Any]:
        await client.run(script(), KEY, ("a",))
        valkey.script_flush()
        return list(await asyncio.gather(*(client.run(script(), KEY, (n,)) for n in range(4))))

    answers = in_loop(valkey_url, story)
    assert [said for _, said, _ in answers] == ["0", "1", "2", "3"]
    assert valkey.get(KEY) == "5"


def test_each_of_many_concurrent_calls_gets_its_own_answer(valkey: Redis, valkey_url: str) -> None:
    async def story(client: LaneClient) -> list[Any]:
        scripts = (client.run(script(), KEY, (n,)) for n in range(1000))
        reads = (client.read("ECHO", f"r{n}") for n in range(1000))
        return list(await asyncio.gather(*scripts, *reads))

    answers = in_loop(valkey_url, story)
    assert [said for _, said, _ in answers[:1000]] == [str(n) for n in range(1000)]
    assert answers[1000:] == [f"r{n}" for n in range(1000)]


def test_a_group_of_commands_gets_its_replies_and_errors_in_order(valkey: Redis, valkey_url: str) -> None:
    async def story(client: LaneClient) -> list[Any]:
        return await client.ask((("SET", KEY, "x"), ("INCR", KEY), ("GET", KEY)))

    done, error, read = in_loop(valkey_url, story)
    assert (done, type(error), read) == (True, ResponseError, "x")


class Server:
    """Stands for redis-py's client: replies come when the test lets them, or as it says."""

    def __init__(self, *trouble: RedisError) -> None:
        self.trouble = list(trouble)
        self.pipelines: list[list[Any]] = []
        self.under_way = 0
        self.open = asyncio.Event()
        self.open.set()

    def pipeline(self, transaction: bool) -> Pipeline:
        assert not transaction
        return Pipeline(self)

    async def aclose(self) -> None:
        pass


class Pipeline:
    def __init__(self, server: Server) -> None:
        self._server = server
        self._commands: list[Any] = []

    def execute_command(self, *command: Any) -> None:
        self._commands.append(command)

    async def execute(self, raise_on_error: bool) -> list[Any]:
        assert not raise_on_error
        server = self._server
        server.pipelines.append(self._commands)
        server.under_way += 1
        assert server.under_way <= FLIGHTS
        try:
            await server.open.wait()
            return list(self._replies())
        finally:
            server.under_way -= 1

    def _replies(self) -> Iterator[Any]:
        for command in self._commands:
            trouble = self._server.trouble.pop(0) if self._server.trouble else None
            if isinstance(trouble, Lost | TooLate):
                raise trouble
            yield trouble or f"re {command[-1]}"


def client_of(server: Server, waiting: Any = None) -> LaneClient:
    redis: Any = server
    return LaneClient(redis, waiting)


def test_calls_of_one_iteration_travel_together_and_later_ones_gather() -> None:
    async def story() -> list[list[Any]]:
        server = Server()
        client = client_of(server)
        server.open.clear()
        calls: list[asyncio.Task[Any]] = []
        for wave in range(4):
            calls += [asyncio.create_task(client.read("GET", f"{wave}{n}")) for n in range(3)]
            await asyncio.sleep(0.001)
        server.open.set()
        assert await asyncio.gather(*calls) == [f"re {wave}{n}" for wave in range(4) for n in range(3)]
        return server.pipelines

    assert [len(pipeline) for pipeline in asyncio.run(story())] == [3, 3, 6]


def test_a_pipeline_has_a_longest_length() -> None:
    async def story() -> list[list[Any]]:
        server = Server()
        client = client_of(server)
        await asyncio.gather(*(client.read("GET", n) for n in range(2 * LONGEST + 1)))
        return server.pipelines

    assert [len(pipeline) for pipeline in asyncio.run(story())] == [LONGEST, LONGEST, 1]


@pytest.mark.parametrize("trouble", FOR_NOW, ids=str)
def test_a_call_that_time_heals_is_sent_again_until_it_is_answered(trouble: RedisError) -> None:
    told: list[RedisError | None] = []

    async def story() -> Any:
        return await client_of(Server(trouble, trouble, trouble), told.append).read("GET", "x")

    assert asyncio.run(story()) == "re x"
    assert told == [trouble, None]


@pytest.mark.parametrize("trouble", FOR_GOOD, ids=str)
def test_an_error_that_time_does_not_heal_is_raised(trouble: RedisError) -> None:
    told: list[RedisError | None] = []

    async def story() -> Any:
        server = Server(trouble)
        try:
            await client_of(server, told.append).read("GET", "x")
        except RedisError as error:
            return error, len(server.pipelines)

    assert asyncio.run(story()) == (trouble, 1)
    assert told == []


def test_only_the_call_that_is_refused_goes_again() -> None:
    async def story() -> Sequence[Any]:
        server = Server(OutOfMemoryError("x"))
        client = client_of(server)
        await asyncio.gather(client.read("GET", "a"), client.read("GET", "b"))
        return server.pipelines

    first, again = asyncio.run(story())
    assert [command[-1] for command in first] == ["a", "b"]
    assert [command[-1] for command in again] == ["a"]


def test_it_is_told_once_that_calls_wait_and_once_that_none_waits_any_more() -> None:
    told: list[RedisError | None] = []

    async def story() -> None:
        client = client_of(Server(*[OutOfMemoryError("x")] * 5), told.append)
        await asyncio.gather(*(client.read("GET", n) for n in range(3)))

    asyncio.run(story())
    assert [type(one) for one in told] == [OutOfMemoryError, type(None)]


def test_a_caller_that_gives_up_is_not_answered_and_the_others_are() -> None:
    async def story() -> Any:
        server = Server()
        client = client_of(server)
        server.open.clear()
        given_up, other = (asyncio.create_task(client.read("GET", n)) for n in "ab")
        await asyncio.sleep(0.001)
        given_up.cancel()
        await asyncio.sleep(0.001)
        server.open.set()
        return await other, given_up.cancelled()

    assert asyncio.run(story()) == ("re b", True)


def test_closing_ends_calls_under_way() -> None:
    async def story() -> bool:
        server = Server()
        client = client_of(server)
        server.open.clear()
        call = asyncio.create_task(client.read("GET", "x"))
        await asyncio.sleep(0.001)
        await client.aclose()
        await asyncio.wait({call})
        return call.cancelled()

    assert asyncio.run(story())
