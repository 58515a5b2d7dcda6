"""The way to Redis: concurrent calls travel in one pipeline, and are sent again until they are answered.

All calls that are made in one iteration of the event loop go into one pipeline. While `FLIGHTS` pipelines are
under way, further calls gather for the next. Each call is independent of the others in its pipeline.

A call whose reply was lost, or which Redis refuses for now, is sent again: every script bears that. Whoever
does not want to wait cancels. Errors that time does not heal are raised.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Self, TypeVar

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoScriptError, RedisError

from onelane.workspace import Command
from onelane_worker.lanes.store import Script, Word
from onelane_worker.redis_errors import may_pass

T = TypeVar("T")
FLIGHTS: Final = 2
"""Pipelines under way at most, each on a connection of its own."""
LONGEST: Final = 128
"""Calls in one pipeline at most."""
TIMEOUT_S: Final = 5.0
"""For connecting to Redis, and for one answer of it."""
FIRST_PAUSE_S: Final = 0.02
LONGEST_PAUSE_S: Final = 1.0

_Call = tuple[Sequence[Command], "asyncio.Future[Sequence[Any]]"]
"""Commands that travel together, and who waits for their replies."""
Waiting = Callable[[RedisError | None], None]
"""Is told why calls wait, when the first one begins to, and None when none waits any more."""


class LaneClient:
    """Runs scripts and reads keys, in one event loop."""

    def __init__(self, redis: Redis, waiting: Waiting | None = None) -> None:
        """`redis`: a client that does not retry by itself and decodes replies."""
        self._redis = redis
        self._waiting = waiting or (lambda _: None)
        self._waiters = 0
        self._known: set[str] = set()
        """Digests of scripts that Redis has been given."""
        self._free = asyncio.Semaphore(FLIGHTS)
        self._flights: set[asyncio.Task[None]] = set()
        self._gathered: list[_Call] = []
        """What the next pipeline takes along."""

    @classmethod
    def from_url(cls, url: str, tls: Mapping[str, Any], waiting: Waiting | None = None) -> Self:
        """A client of a single server."""
        options = {**tls, **socket_options(url, TIMEOUT_S), **_OPTIONS}
        return cls(Redis.from_url(url, **options), waiting)

    async def run(self, script: Script, key: str, args: Sequence[Word]) -> Any:
        """What the script answers, called with one key. Raises errors that time does not heal."""
        return await self._until_answered(lambda: self._run_once(script, key, args))

    async def read(self, *command: Word) -> Any:
        """What a command answers that changes nothing. Raises errors that time does not heal."""
        return await self._until_answered(lambda: self._send_one(command))

    async def ask(self, commands: Sequence[Command]) -> list[Any]:
        """The replies to commands that may be repeated, in one round trip; an error reply stands among them
        as exception."""
        return list(await self._until_answered(lambda: self._send(commands)))

    async def aclose(self) -> None:
        """End what is under way, and close the connections."""
        for flight in self._flights:
            flight.cancel()
        await asyncio.gather(*self._flights, return_exceptions=True)
        await self._redis.aclose()

    async def _until_answered(self, send: Callable[[], Awaitable[T]]) -> T:
        pause_s = 0.0
        try:
            while True:
                try:
                    return await send()
                except RedisError as error:
                    if not may_pass(error):
                        raise
                    if not pause_s:
                        self._waiters += 1
                        if self._waiters == 1:
                            self._waiting(error)
                pause_s = min(2 * pause_s or FIRST_PAUSE_S, LONGEST_PAUSE_S)
                await asyncio.sleep(pause_s)
        finally:
            if pause_s:
                self._waiters -= 1
                if self._waiters == 0:
                    self._waiting(None)

    async def _run_once(self, script: Script, key: str, args: Sequence[Word]) -> Any:
        """By its digest; with its text where Redis may not have it, or turns out not to."""
        if script.sha in self._known:
            try:
                return await self._send_one(("EVALSHA", script.sha, 1, key, *args))
            except NoScriptError:
                self._known.discard(script.sha)
        answer = await self._send_one(("EVAL", script.text, 1, key, *args))
        self._known.add(script.sha)
        return answer

    async def _send_one(self, command: Command) -> Any:
        [reply] = await self._send((command,))
        if isinstance(reply, Exception):
            raise reply
        return reply

    def _send(self, commands: Sequence[Command]) -> asyncio.Future[Sequence[Any]]:
        loop = asyncio.get_running_loop()
        if not self._gathered or len(self._gathered) >= LONGEST:
            self._gathered = []
            flight = loop.create_task(self._fly(self._gathered), name="onelane-redis")
            self._flights.add(flight)
            flight.add_done_callback(self._flights.discard)
        replies: asyncio.Future[Sequence[Any]] = loop.create_future()
        self._gathered.append((commands, replies))
        return replies

    async def _fly(self, calls: list[_Call]) -> None:
        """One pipeline, as soon as one may leave; until then it gathers calls."""
        try:
            async with self._free:
                if self._gathered is calls:
                    self._gathered = []
                pipeline = self._redis.pipeline(transaction=False)
                for commands, _ in calls:
                    for command in commands:
                        pipeline.execute_command(*command)
                found = iter(await pipeline.execute(raise_on_error=False))
        except (Exception, asyncio.CancelledError) as error:
            for _, replies in calls:
                if not replies.done():  # else the caller waits no more
                    replies.set_exception(error)
            return
        for commands, replies in calls:
            answer = [next(found) for _ in commands]
            if not replies.done():
                replies.set_result(answer)


def socket_options(url: str, timeout_s: float) -> dict[str, Any]:
    """What bounds a connection that is silently dropped: by a firewall, or a server that lost its power."""
    bounds = {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s}
    if url.startswith("unix://"):
        return bounds
    names = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}  # each system has some of them
    probes = {getattr(socket, name): value for name, value in names.items() if hasattr(socket, name)}
    return {**bounds, "socket_keepalive": True, "socket_keepalive_options": probes}


_OPTIONS: Final[Mapping[str, Any]] = {
    "decode_responses": True,
    "encoding_errors": "replace",  # what is no text becomes what cannot be read, and that is guarded
    "retry": Retry(NoBackoff(), 0),
    "health_check_interval": 30,
    "protocol": 2,
}
