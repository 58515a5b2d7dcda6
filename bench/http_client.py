"""`python -m bench.http_client [NAME …]`: CPU time of an Intercom call, by way of connecting.

Each way asks the stub (a process of its own) for the update of a contact, from the operation to the sorted
reply. The figure is CPU time of this process in milliseconds a call: the lowest of several rounds, because
the machine does other things, too. A way whose packages are not installed is left out (httpx-aiohttp,
httptools)."""

from __future__ import annotations

import asyncio
import importlib.util
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any, Protocol

import httpcore
import httpx

from onelane_worker.intercom.client import IntercomClient
from onelane_worker.intercom.requests import to_request
from onelane_worker.intercom.responses import to_reply
from onelane_worker.planner.operations import Found, Reply, Update
from onelane_worker.settings import Settings

IN_FLIGHT = (1, 8, 32, 64)
CALLS = 1500
ROUNDS = 5
LATENCY_MS = 20
HEADERS = {
    "Authorization": "Bearer secret",
    "Accept": "application/json",
    "Content-Type": "application/json",
    "Intercom-Version": "2.15",
    "User-Agent": "onelane/0",
}
UPDATE = Update(
    "6a0f00000000000000000001",
    {"name": "Ann Example", "phone": "+4930123456", "custom_attributes": {"plan": "pro", "visits": 17}},
)

Ask = Callable[[], Awaitable[Reply]]


class Way(Protocol):
    """Opens what it needs (closed by the stack) and gives the function that makes one call."""

    async def __call__(self, url: str, slots: int, stack: AsyncExitStack) -> Ask: ...


def through(client: Any) -> Ask:
    """One call by a client of httpx or httpx2."""

    async def ask() -> Reply:
        request = to_request(UPDATE)
        answer = await client.send(client.build_request(request.method, request.path, json=request.json))
        return to_reply(UPDATE, answer.status_code, answer.headers, answer.content, 1)

    return ask


def client_of(url: str, library: Any = httpx, **options: Any) -> Any:
    return library.AsyncClient(base_url=url, headers=HEADERS, timeout=None, trust_env=False, **options)


def limits(library: Any, slots: int) -> Any:
    return library.Limits(max_connections=slots, max_keepalive_connections=slots, keepalive_expiry=60)


async def onelane(url: str, slots: int, stack: AsyncExitStack) -> Ask:
    client = IntercomClient(Settings(intercom_url=url, intercom_token="secret"))
    stack.push_async_callback(client.aclose)
    clock = asyncio.get_running_loop().time

    async def checkpoint() -> float:
        return clock() + 1

    return lambda: client.perform(UPDATE, now_ms=lambda: 1, send_by=clock() + 1, before_send=checkpoint)


async def shared_pool(url: str, slots: int, stack: AsyncExitStack) -> Ask:
    return through(await stack.enter_async_context(client_of(url, limits=limits(httpx, slots))))


async def httpx2_pool(url: str, slots: int, stack: AsyncExitStack) -> Ask:
    import httpx2

    return through(await stack.enter_async_context(client_of(url, httpx2, limits=limits(httpx2, slots))))


async def one_client_a_slot(url: str, slots: int, stack: AsyncExitStack) -> Ask:
    clients = [client_of(url, limits=limits(httpx, 1)) for _ in range(slots)]
    free = [through(await stack.enter_async_context(client)) for client in clients]

    async def ask() -> Reply:
        one = free.pop()
        try:
            return await one()
        finally:
            free.append(one)

    return ask


async def over_aiohttp(url: str, slots: int, stack: AsyncExitStack) -> Ask:
    import httpx_aiohttp

    transport = httpx_aiohttp.AiohttpTransport(limits=limits(httpx, slots))
    return through(await stack.enter_async_context(client_of(url, transport=transport)))


# ── httpx over transports of one connection each ──────────────────────────────────────────────────────────


class ByHttpcore(httpx.AsyncBaseTransport):
    """A connection of httpcore on its own streams, without its pool."""

    def __init__(self, url: str) -> None:
        self._url = httpx.URL(url)
        self._connection: httpcore.AsyncHTTP11Connection | None = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        at = request.url
        url = httpcore.URL(scheme=at.raw_scheme, host=at.raw_host, port=at.port, target=at.raw_path)
        if self._connection is None:
            stream = await httpcore.AnyIOBackend().connect_tcp(self._url.host, self._url.port or 80)
            self._connection = httpcore.AsyncHTTP11Connection(url.origin, stream)
        sent = httpcore.Request(request.method, url, headers=request.headers.raw, content=request.stream)
        answer = await self._connection.handle_async_request(sent)
        return httpx.Response(answer.status, headers=answer.headers, stream=_Body(answer.stream))

    async def aclose(self) -> None:
        if self._connection is not None:
            await self._connection.aclose()


class _Body(httpx.AsyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._stream:
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


class ByHttptools(httpx.AsyncBaseTransport):
    """An asyncio protocol and the parser of httptools, which is in C."""

    def __init__(self, url: str) -> None:
        self._url = httpx.URL(url)
        self._protocol: Any = None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._protocol is None:
            connect = asyncio.get_running_loop().create_connection
            _, self._protocol = await connect(_Parsing, self._url.host, self._url.port)
        lines = b"".join(b"%b: %b\r\n" % header for header in request.headers.raw)
        head = b"%b %b HTTP/1.1\r\n%b\r\n" % (request.method.encode(), request.url.raw_path, lines)
        status, headers, body = await self._protocol.ask(head + request.content)
        return httpx.Response(status, headers=headers, content=body)

    async def aclose(self) -> None:
        if self._protocol is not None:
            self._protocol.transport.close()


class _Parsing(asyncio.Protocol):
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


class _Free(httpx.AsyncBaseTransport):
    """Takes the connection that was used last."""

    def __init__(self, connections: list[httpx.AsyncBaseTransport]) -> None:
        self._all, self._free = connections, list(connections)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        one = self._free.pop()
        answer = await one.handle_async_request(request)
        await answer.aread()
        self._free.append(one)
        return answer

    async def aclose(self) -> None:
        for one in self._all:
            await one.aclose()


def over(connection: Callable[[str], httpx.AsyncBaseTransport]) -> Way:
    """One client whose transport has `slots` connections."""

    async def way(url: str, slots: int, stack: AsyncExitStack) -> Ask:
        transport = _Free([connection(url) for _ in range(slots)])
        return through(await stack.enter_async_context(client_of(url, transport=transport)))

    return way


WAYS: dict[str, tuple[Way, str | None]] = {
    "Onelane's client (httpx, asyncio, h11)": (onelane, None),
    "httpx, shared pool": (shared_pool, None),
    "httpx, one client a slot": (one_client_a_slot, None),
    "httpx2, shared pool": (httpx2_pool, "httpx2"),
    "httpx over httpx-aiohttp": (over_aiohttp, "httpx_aiohttp"),
    "httpx over httpcore's connections": (over(ByHttpcore), None),
    "httpx over asyncio and httptools": (over(ByHttptools), "httptools"),
}


async def measure(way: Way, url: str, slots: int) -> float:
    """CPU milliseconds a call, with `slots` in flight."""

    async def serve(ask: Ask, calls: int) -> None:
        for _ in range(calls):
            assert isinstance(await ask(), Found)

    async with AsyncExitStack() as stack:
        ask = await way(url, slots, stack)
        calls = max(10, min(CALLS // slots, 60))
        await asyncio.gather(*(serve(ask, 2) for _ in range(slots)))
        best = float("inf")
        for _ in range(ROUNDS):
            before = time.process_time()
            await asyncio.gather(*(serve(ask, calls) for _ in range(slots)))
            best = min(best, (time.process_time() - before) * 1000 / (calls * slots))
        return best


def main(names: list[str]) -> None:
    stub = subprocess.Popen(
        [sys.executable, "-m", "bench.stub", "0", str(LATENCY_MS)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert stub.stdout is not None
        url = stub.stdout.readline().strip()
        print("| CPU ms a call, in flight: | " + " | ".join(map(str, IN_FLIGHT)) + " |")
        print("|---|" + "---|" * len(IN_FLIGHT))
        for name, (way, package) in WAYS.items():
            if package is not None and importlib.util.find_spec(package) is None:
                continue
            if not names or any(part in name for part in names):
                figures = [asyncio.run(measure(way, url, slots)) for slots in IN_FLIGHT]
                print(f"| {name} | " + " | ".join(f"{figure:.2f}" for figure in figures) + " |", flush=True)
    finally:
        stub.kill()
        stub.wait()


if __name__ == "__main__":
    main(sys.argv[1:])
