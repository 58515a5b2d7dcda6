"""A TCP proxy that can be told to misbehave, between anybody and a server.

    with Proxy("127.0.0.1", 6379) as proxy:
        client = connect(proxy.port)
        proxy.drop_replies(2)      # the next two answers are thrown away, and their connections closed
        proxy.stall()              # nothing passes, in either direction; nothing is lost
        proxy.resume()
        proxy.cut()                # all connections are reset; new ones are served
        proxy.forget()             # nothing passes on any connection there is; new ones are served

A dropped reply is the hard case for a client: the server has executed what was asked. Runs on a thread of its
own; every method may be called from any thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
import threading
from collections.abc import Callable, Collection
from types import TracebackType
from typing import Self

CHUNK_BYTES = 64 * 1024
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Proxy:
    """Listens on a free port of this machine and forwards to `host:port`."""

    def __init__(self, host: str, port: int, seed: int = 0) -> None:
        self._upstream = host, port
        self._dice = random.Random(f"proxy {seed}")
        self._loop = asyncio.new_event_loop()
        self._open = asyncio.Event()
        self._connections: set[_Connection] = set()
        self._to_drop = 0
        self._chance = 1.0
        self._words: Collection[bytes] = ()
        self._thread = threading.Thread(target=self._run, name="chaos-proxy", daemon=True)
        self._ready = threading.Event()
        self.port = 0
        self.dropped = 0
        """Replies thrown away so far."""
        self.cuts = 0
        """Connections cut so far."""

    def drop_replies(self, count: int, chance: float = 1.0, to: Collection[bytes] = ()) -> None:
        """Of the answers to come, throw away `count`, each met with this chance.

        With `to`, only answers to requests in which one of these words stands.
        """
        self._do(lambda: self._arm(count, chance, to))

    def stall(self) -> None:
        """Hold back everything until `resume`."""
        self._do(self._open.clear)

    def resume(self) -> None:
        """Let everything pass that was held back."""
        self._do(self._open.set)

    def cut(self) -> None:
        """Reset every connection there is."""
        self._do(self._cut)

    def forget(self) -> None:
        """Lose whatever the connections there are will carry, and tell nobody, as a firewall does."""
        self._do(self._forget)

    def start(self) -> Self:
        """Listen. Returns when connections are accepted."""
        self._thread.start()
        self._ready.wait()
        return self

    def stop(self) -> None:
        """Reset all connections and stop listening."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # --- on the loop ---

    def _do(self, action: Callable[[], None]) -> None:
        done = threading.Event()

        def run() -> None:
            action()
            done.set()

        self._loop.call_soon_threadsafe(run)
        done.wait()

    def _arm(self, count: int, chance: float, to: Collection[bytes]) -> None:
        self._to_drop, self._chance, self._words = count, chance, to

    def _cut(self) -> None:
        self.cuts += len(self._connections)
        for connection in list(self._connections):
            connection.reset()

    def _forget(self) -> None:
        for connection in self._connections:
            connection.forgotten = True

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._open.set()
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        self._cut()
        server.close()
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            upstream = await asyncio.open_connection(*self._upstream)
        except OSError:  # the server is away: so are we
            _reset(writer)
            return
        connection = _Connection(self, (reader, writer), upstream)
        self._connections.add(connection)
        with contextlib.suppress(asyncio.CancelledError):  # the proxy stops
            await connection.run()
        self._connections.discard(connection)

    async def unstalled(self) -> None:
        """Wait while we stall."""
        await self._open.wait()

    def drops_reply_to(self, asked: bytes) -> bool:
        """Whether the answer to this is thrown away; uses that up."""
        if not self._to_drop or (self._words and not any(word in asked for word in self._words)):
            return False
        if self._dice.random() >= self._chance:
            return False
        self._to_drop -= 1
        self.dropped += 1
        return True


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Connection:
    """A client, and our connection to the server on its behalf."""

    def __init__(self, proxy: Proxy, client: Stream, server: Stream) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._asked = b""
        self.forgotten = False

    async def run(self) -> None:
        """Until either side closes."""
        tasks = [asyncio.ensure_future(way) for way in (self._forward(), self._back())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.reset()

    async def _forward(self) -> None:
        with contextlib.suppress(OSError):
            while chunk := await self._client[0].read(CHUNK_BYTES):
                await self._proxy.unstalled()
                if self.forgotten:
                    continue
                self._asked = chunk
                self._server[1].write(chunk)
                await self._server[1].drain()

    async def _back(self) -> None:
        with contextlib.suppress(OSError):
            while chunk := await self._server[0].read(CHUNK_BYTES):
                await self._proxy.unstalled()
                if self.forgotten:
                    continue
                if self._proxy.drops_reply_to(self._asked):
                    return
                self._client[1].write(chunk)
                await self._client[1].drain()

    def reset(self) -> None:
        """Close both ends; the client sees a reset."""
        _reset(self._client[1])
        self._server[1].close()


def _reset(writer: asyncio.StreamWriter) -> None:
    raw = writer.get_extra_info("socket")
    if raw is not None:
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    writer.transport.abort()
