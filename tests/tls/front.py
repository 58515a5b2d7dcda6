"""A server that speaks TLS in front of a Redis, or in place of one: our Valkey is built without TLS."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
from types import TracebackType
from typing import Self


class TlsFront:
    """Ends TLS on a free port of this machine and passes on to `upstream`; without one it only listens.

    Runs on a thread of its own. `heard` is what clients said to it, deciphered.
    """

    def __init__(self, context: ssl.SSLContext, upstream: tuple[str, int] | None = None) -> None:
        self._context = context
        self._upstream = upstream
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tls-front", daemon=True)
        self.port = 0
        self.heard = b""

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.set_exception_handler(lambda *_: None)  # refused handshakes are what it is there for
        server = self._loop.run_until_complete(
            asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        )
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        left = asyncio.all_tasks(self._loop)
        for task in left:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        self._loop.run_until_complete(asyncio.sleep(0))  # the aborted ones are closed
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._upstream is None:
            with contextlib.suppress(OSError):
                while chunk := await reader.read(65536):
                    self.heard += chunk
                    writer.write(b"-NOAUTH this is not your Redis\r\n")
            writer.transport.abort()
            return
        back, forth = await asyncio.open_connection(*self._upstream)
        ways = [asyncio.ensure_future(_copy(reader, forth)), asyncio.ensure_future(_copy(back, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            writer.transport.abort()
            forth.transport.abort()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await source.read(65536):
            sink.write(chunk)
            await sink.drain()
