"""The HTTP shell: an ASGI application around the pure rules, and the sockets' part of the faults.

A request that is to be lost must be lost on a real socket. uvicorn offers no way for an application to hang
up, so the protocol class below puts the connection's transport into the ASGI scope.

A request executes exactly once, after the delay of its `slow` faults, whether the client is still there or
not: a write whose client gave up waiting commits late. That is the case a client must be able to live with.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import Response as HttpResponse
from starlette.routing import Mount, Route
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from onelane_sandbox.control import PREFIX, control
from onelane_sandbox.messages import Request, Response
from onelane_sandbox.rules import Answer, Exchange, Sandbox

Clock = Callable[[], float]

_TRANSPORT = "sandbox_transport"
_LINGER_ZERO = struct.pack("ii", 1, 0)


class HangUpProtocol(H11Protocol):
    """uvicorn's protocol, with the transport within the application's reach (scope["state"])."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Headers and body go out as two writes: with Nagle's algorithm the second would wait for 40 ms.
        raw: Any = transport.get_extra_info("socket")
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.app_state = {**self.app_state, _TRANSPORT: transport}


class SandboxApp:
    """The ASGI application of one sandbox. All requests run on one event loop, so the rules need no lock."""

    def __init__(self, sandbox: Sandbox, clock: Clock = time.time) -> None:
        self.sandbox = sandbox
        self._clock = clock
        self._closing = asyncio.Event()
        self._routes = Starlette(
            routes=[
                Route(PREFIX + "/{name:path}", self._control, methods=["GET", "POST", "DELETE", "PUT"]),
                Mount("/", app=self._api),
            ]
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI request."""
        await self._routes(scope, receive, send)

    def close(self) -> None:
        """Let go of the requests that `slow` holds up: they are not executed, their connections close."""
        self._closing.set()

    async def _control(self, request: HttpRequest) -> HttpResponse:
        raw = await request.body()
        try:
            body = json.loads(raw) if raw.strip() else None
        except ValueError:
            return _json(400, {"error": "the body is not valid JSON", "field": None})
        name = request.path_params["name"].strip("/")
        status, answer = control(self.sandbox, request.method, name, body, self._clock())
        return _json(status, answer)

    async def _api(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _read_body(receive)
        if body is None:
            return  # the client left before it had sent everything: no request was made
        transport: asyncio.Transport = scope["state"][_TRANSPORT]
        exchange = self.sandbox.arrive(_request(scope, body), self._clock())
        answer = await self._execute(exchange)
        heard = not transport.is_closing()
        self.sandbox.depart(exchange, self._clock(), answer if heard else None)
        if answer.response is None:
            await _hang_up(transport, receive, reset=answer.ending == "reset")
        else:
            await _respond(answer.response, send)

    async def _execute(self, exchange: Exchange) -> Answer:
        if exchange.delay_s > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), exchange.delay_s)
                return Answer("close", None)
        return self.sandbox.execute(exchange, self._clock())


def _json(status: int, body: Any) -> HttpResponse:
    return HttpResponse(json.dumps(body), status, media_type="application/json")


def _request(scope: Scope, body: bytes) -> Request:
    raw_path: bytes = scope["raw_path"]
    return Request(
        method=scope["method"],
        path=raw_path.decode("latin-1"),
        query=dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)),
        headers={name.decode("latin-1"): value.decode("latin-1") for name, value in _headers(scope)},
        body=body,
    )


def _headers(scope: Scope) -> Iterable[tuple[bytes, bytes]]:
    headers: Iterable[tuple[bytes, bytes]] = scope["headers"]
    return headers


async def _read_body(receive: Receive) -> bytes | None:
    """The whole body, or None if the client went away in the middle of it."""
    chunks: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunks.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(chunks)


async def _respond(response: Response, send: Send) -> None:
    content = response.content
    headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers.items()]
    headers.append((b"Content-Type", b"application/json; charset=utf-8"))
    headers.append((b"Content-Length", str(len(content)).encode()))
    await send({"type": "http.response.start", "status": response.status, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def _hang_up(transport: asyncio.Transport, receive: Receive, *, reset: bool) -> None:
    """Close the connection without an answer; with `reset` the client sees a connection reset, not an end."""
    if reset:
        raw: Any = transport.get_extra_info("socket")
        with suppress(OSError):  # the client may have closed it first
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
    transport.abort()
    # uvicorn complains about an application that ends without an answer, unless the connection is gone.
    while (await receive())["type"] != "http.disconnect":
        pass
