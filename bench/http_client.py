"""`python -m bench.http_client [NAME …]`: CPU time of one Intercom call, by way of connecting and by calls in flight.

Each way asks the stub (a process of its own) for the update of a contact, from the operation to the sorted
reply. The figure is CPU time of this process, in milliseconds a call; the lowest of several rounds, because
the machine does other things, too. Ways whose packages are not installed are left out."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Protocol

import h11
import httpcore
import httpx

from onelane_worker.core.operations import Found, Update
from onelane_worker.intercom.requests import Request, to_request
from onelane_worker.intercom.responses import to_reply

IN_FLIGHT = (1, 8, 32, 64)
CALLS = 1500
ROUNDS = 4
LATENCY_MS = 20
HEADERS = {
    "Authorization": "Bearer secret",
    "Accept": "application/json",
    "Content-Type": "application/json",
    "Intercom-Version": "2.15",
    "User-Agent": "onelane/0",
}
BODY = {
    "name": "Ann Example",
    "phone": "+4930123456",
    "custom_attributes": {"plan": "pro", "visits": 17, "newsletter": True},
}

Send = Callable[[Request], Awaitable[tuple[int, Any, bytes]]]


class Way(Protocol):
    """Opens what it needs (closed by the stack) and gives the function that sends."""

    async def __call__(self, url: str, slots: int, stack: AsyncExitStack) -> Send: ...


def through(client: Any) -> Send:
    """One call by a client of httpx or httpx2."""

    async def send(request: Request) -> tuple[int, Any, bytes]:
        answer = await client.send(client.build_request(request.method, request.path, json=request.json))
        return answer.status_code, answer.headers, answer.content

    return send


def client_of(url: str, library: Any = httpx, **options: Any) -> Any:
    return library.AsyncClient(base_url=url, headers=HEADERS, timeout=None, trust_env=False, **options)


def pool_limits(library: Any, slots: int) -> Any:
    return library.Limits(max_connections=slots, max_keepalive_connections=slots, keepalive_expiry=60)


async def shared_pool(url: str, slots: int, stack: AsyncExitStack) -> Send:
    client = client_of(url, limits=pool_limits(httpx, slots))
    return through(await stack.enter_async_context(client))


async def httpx2_pool(url: str, slots: int, stack: AsyncExitStack) -> Send:
    import httpx2

    client = client_of(url, httpx2, limits=pool_limits(httpx2, slots))
    return through(await stack.enter_async_context(client))


async def one_client_a_slot(url: str, slots: int, stack: AsyncExitStack) -> Send:
    free = []
    for _ in range(slots):
        client = client_of(url, limits=pool_limits(httpx, 1))
        free.append(through(await stack.enter_async_context(client)))
    return taking_turns(free)


def taking_turns(free: list[Send]) -> Send:
    async def send(request: Request) -> tuple[int, Any, bytes]:
        one = free.pop()
        try:
            return await one(request)
        finally:
            free.append(one)

    return send


async def over_aiohttp(url: str, slots: int, stack: AsyncExitStack) -> Send:
    import httpx_aiohttp

    transport = httpx_aiohttp.AiohttpTransport(limits=pool_limits(httpx, slots))
    return through(await stack.enter_async_context(client_of(url, transport=transport)))


async def aiohttp_alone(url: str, slots: int, stack: AsyncExitStack) -> Send:
    import json

    import aiohttp

    connector = aiohttp.TCPConnector(limit=slots)
    session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector, headers=HEADERS))

    async def send(request: Request) -> tuple[int, Any, bytes]:
        body = json.dumps(request.json).encode()
        async with session.request(request.method, url + request.path, data=body) as answer:
            return answer.status, answer.headers, await answer.read()

    return send


# ── httpx over transports of our own ──────────────────────────────────────────────────────────────────────


class AsyncioStream(httpcore.AsyncNetworkStream):
    """httpcore's stream on asyncio's, without anyio."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self._reader.read(max_bytes)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._writer.write(buffer)

    async def aclose(self) -> None:
        self._writer.close()


class ByHttpcore(httpx.AsyncBaseTransport):
    """One httpcore connection, without its pool."""

    def __init__(self, url: str, anyio: bool) -> None:
        self._url, self._anyio = httpx.URL(url), anyio
        self._connection: httpcore.AsyncHTTP11Connection | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = httpcore.URL(
            scheme=request.url.raw_scheme,
            host=request.url.raw_host,
            port=request.url.port,
            target=request.url.raw_path,
        )
        if self._connection is None:
            self._connection = httpcore.AsyncHTTP11Connection(url.origin, await self._stream())
        answer = await self._connection.handle_async_request(
            httpcore.Request(request.method, url, headers=request.headers.raw, content=request.stream)
        )
        return httpx.Response(answer.status, headers=answer.headers, stream=_Body(answer.stream))

    async def _stream(self) -> httpcore.AsyncNetworkStream:
        host, port = self._url.host, self._url.port or 80
        if self._anyio:
            return await httpcore.AnyIOBackend().connect_tcp(host, port)
        return AsyncioStream(*await asyncio.open_connection(host, port))

    async def aclose(self) -> None:
        if self._connection is not None:
            await self._connection.aclose()


class _Body(httpx.AsyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> Any:
        async for part in self._stream:
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


class ByH11(httpx.AsyncBaseTransport):
    """One connection: asyncio's streams and h11."""

    def __init__(self, url: str) -> None:
        self._url = httpx.URL(url)
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._url.host, self._url.port)
            self._h11 = h11.Connection(h11.CLIENT)
        reader, writer = self._streams
        head = h11.Request(
            method=request.method, target=request.url.raw_path, headers=request.headers.raw
        )
        body = request.content
        data = self._h11.send(head) or b""
        if body:
            data += self._h11.send(h11.Data(body)) or b""
        writer.write(data + (self._h11.send(h11.EndOfMessage()) or b""))
        answer, parts = None, []
        while True:
            event = self._h11.next_event()
            if event is h11.NEED_DATA:
                self._h11.receive_data(await reader.read(65536))
            elif isinstance(event, h11.Response):
                answer = event
            elif isinstance(event, h11.Data):
                parts.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                raise RuntimeError(event)
        self._h11.start_next_cycle()
        assert answer is not None
        return httpx.Response(answer.status_code, headers=answer.headers.raw_items(), content=b"".join(parts))

    async def aclose(self) -> None:
        if self._streams is not None:
            self._streams[1].close()


class ByHttptools(httpx.AsyncBaseTransport):
    """One connection: an asyncio protocol and the parser of httptools, in C."""

    def __init__(self, url: str) -> None:
        self._url = httpx.URL(url)
        self._protocol: Any = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._protocol is None:
            loop = asyncio.get_running_loop()
            _, self._protocol = await loop.create_connection(_HttptoolsProtocol, self._url.host, self._url.port)
        lines = [b"%b: %b\r\n" % header for header in request.headers.raw]
        head = b"%b %b HTTP/1.1\r\n%b\r\n" % (request.method.encode(), request.url.raw_path, b"".join(lines))
        status, headers, body = await self._protocol.ask(head + request.content)
        return httpx.Response(status, headers=headers, content=body)

    async def aclose(self) -> None:
        if self._protocol is not None:
            self._protocol.transport.close()


class _HttptoolsProtocol(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:
        import httptools

        self.transport = transport
        self._parser: Any = httptools.HttpResponseParser(self)

    def ask(self, data: bytes) -> asyncio.Future[Any]:
        self._headers: list[tuple[bytes, bytes]] = []
        self._body: list[bytes] = []
        self._done = asyncio.get_running_loop().create_future()
        self.transport.write(data)
        return self._done

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_body(self, part: bytes) -> None:
        self._body.append(part)

    def on_message_complete(self) -> None:
        self._done.set_result((self._parser.get_status_code(), self._headers, b"".join(self._body)))


def with_transport(make: Callable[[str], httpx.AsyncBaseTransport]) -> Way:
    """One client, and a transport that takes the next free connection."""

    async def way(url: str, slots: int, stack: AsyncExitStack) -> Send:
        transport = _Free([make(url) for _ in range(slots)])
        return through(await stack.enter_async_context(client_of(url, transport=transport)))

    return way


def transport_alone(make: Callable[[str], httpx.AsyncBaseTransport]) -> Way:
    """The same without httpx's client: its Request, Response and Cookies only."""

    async def way(url: str, slots: int, stack: AsyncExitStack) -> Send:
        transport = _Free([make(url) for _ in range(slots)])
        stack.push_async_callback(transport.aclose)
        cookies = httpx.Cookies()
        base = httpx.URL(url)
        plain = httpx.Headers(HEADERS)

        async def send(request: Request) -> tuple[int, Any, bytes]:
            sent = httpx.Request(
                request.method, base.copy_with(raw_path=request.path.encode()), headers=plain, json=request.json
            )
            if cookies.jar._cookies:
                cookies.set_cookie_header(sent)
            answer = await transport.handle_async_request(sent)
            answer.request = sent
            if "set-cookie" in answer.headers:
                cookies.extract_cookies(answer)
            body = await answer.aread()
            return answer.status_code, answer.headers, body

        return send

    return way


class _Free(httpx.AsyncBaseTransport):
    def __init__(self, all_: list[httpx.AsyncBaseTransport]) -> None:
        self._all, self._free = all_, list(all_)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        one = self._free.pop()
        answer = await one.handle_async_request(request)
        await answer.aread()
        self._free.append(one)
        return answer

    async def aclose(self) -> None:
        for one in self._all:
            await one.aclose()


WAYS: dict[str, tuple[Way, str | None]] = {
    "httpx, shared pool": (shared_pool, None),
    "httpx, one client a slot": (one_client_a_slot, None),
    "httpx2, shared pool": (httpx2_pool, "httpx2"),
    "httpx over aiohttp": (over_aiohttp, "httpx_aiohttp"),
    "aiohttp alone": (aiohttp_alone, "aiohttp"),
    "httpx over httpcore connections, anyio": (with_transport(lambda url: ByHttpcore(url, True)), None),
    "httpx over httpcore connections, asyncio": (with_transport(lambda url: ByHttpcore(url, False)), None),
    "httpx over asyncio and h11": (with_transport(ByH11), None),
    "httpx over asyncio and httptools": (with_transport(ByHttptools), "httptools"),
    "httpx models over httpcore connections": (transport_alone(lambda url: ByHttpcore(url, False)), None),
    "httpx models over asyncio and h11": (transport_alone(ByH11), None),
    "httpx models over asyncio and httptools": (transport_alone(ByHttptools), "httptools"),
}


async def measure(way: Way, url: str, slots: int) -> float:
    """CPU milliseconds a call, with `slots` in flight."""
    operation = Update("6a0f00000000000000000001", BODY)

    async def serve(send: Send, calls: int) -> None:
        for _ in range(calls):
            status, headers, body = await send(to_request(operation))
            assert isinstance(to_reply(operation, status, headers, body, 1), Found)

    async with AsyncExitStack() as stack:
        send = await way(url, slots, stack)
        each = max(10, min(CALLS // slots, 60))
        await asyncio.gather(*(serve(send, 2) for _ in range(slots)))
        best = float("inf")
        for _ in range(ROUNDS):
            before = time.process_time()
            await asyncio.gather(*(serve(send, each) for _ in range(slots)))
            best = min(best, (time.process_time() - before) * 1000 / (each * slots))
        return best


def importable(module: str | None) -> bool:
    import importlib.util

    return module is None or importlib.util.find_spec(module) is not None


def main(names: list[str]) -> None:
    stub = subprocess.Popen(
        [sys.executable, "-m", "bench.stub", "0", str(LATENCY_MS)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert stub.stdout is not None
        url = stub.stdout.readline().strip()
        print("| CPU ms a call, in flight: | " + " | ".join(map(str, IN_FLIGHT)) + " |")
        print("|---|" + "---|" * len(IN_FLIGHT))
        for name, (way, module) in WAYS.items():
            if importable(module) and (not names or any(part in name for part in names)):
                figures = [asyncio.run(measure(way, url, slots)) for slots in IN_FLIGHT]
                print(f"| {name} | " + " | ".join(f"{figure:.2f}" for figure in figures) + " |", flush=True)
    finally:
        stub.kill()
        stub.wait()


if __name__ == "__main__":
    main(sys.argv[1:])
