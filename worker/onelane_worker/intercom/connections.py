"""Connections to Intercom: HTTP/1.1 by h11 on asyncio's transports, one request at a time each.

* `Connections.take` opens a connection (TCP, a proxy's tunnel, TLS) or takes an idle one. It sends nothing of
  a request.
* `Connection.ask` calls `leave` and gives the request to the socket in the next statement. If a call fails
  before `leave` has returned, nothing was sent; after that, all of it may have been sent.
* No request is repeated. A connection whose call failed is closed, so that no answer is taken for another's.
* Bytes that nobody asked for close a connection: a server that is about to close it may say so.
"""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import h11

KEEPALIVE_S = 240.0
"""An idle connection is used again for so long: a quiet system does not pay a TLS handshake for each sign-up.
Common gateways forget a silent connection after 240 to 350 s."""
FRESH_S = 2.0
"""Shorter than the idle limit of any common server (5 s and more)."""
PROBE_S = 30
"""TCP asks so often whether the other end of an idle connection is still there."""
MAX_BODY_BYTES = 16 * 1024 * 1024
"""An answer longer than this is unreadable: a page of fifty contacts has some hundred kilobytes."""
MAX_HEAD_BYTES = 100 * 1024
SECOND_ADDRESS_S = 0.25
"""After this the next address of a host is tried beside the first (RFC 8305)."""

Headers = list[tuple[bytes, bytes]]


class Closed(Exception):
    """We closed the connections."""


class AnswerTooLong(Exception):
    """The answer's body exceeds MAX_BODY_BYTES."""


@dataclass(frozen=True, slots=True)
class Host:
    """Where to connect; with TLS if there is a context for it."""

    name: str
    port: int
    tls: ssl.SSLContext | None


@dataclass(frozen=True, slots=True)
class Route:
    """The way to Intercom."""

    host: Host
    proxy: Host | None = None
    proxy_headers: tuple[tuple[bytes, bytes], ...] = ()
    """For the proxy alone: its password."""

    @property
    def is_forwarded(self) -> bool:
        """A proxy reads the requests. One for TLS only opens a tunnel."""
        return self.proxy is not None and self.host.tls is None


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; `body` is as it was sent, maybe compressed."""

    status: int
    headers: Headers
    body: bytes


class Connection(asyncio.Protocol):
    """One connection. `idle_since` is a time of the loop."""

    def __init__(self) -> None:
        self.idle_since = 0.0
        self._transport: asyncio.Transport
        self._http = _new_http()
        self._waiting: asyncio.Future[Answer] | None = None
        self._head: h11.Response | None = None
        self._body = bytearray()

    async def ask(self, request: h11.Request, body: bytes, leave: Callable[[], None]) -> Answer:
        """Send a request and receive its answer. What `leave` raises keeps the request back.

        Raises OSError, h11.ProtocolError or AnswerTooLong."""
        try:
            if self._transport.is_closing():
                raise ConnectionResetError("the server closed the connection while it was idle")
            data = _bytes_of(self._http, request, body)
            self._head, self._body = None, bytearray()
            waiting: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            self._waiting = waiting
            leave()
            self._transport.write(data)
            return await waiting
        except BaseException:
            self.close()
            raise
        finally:
            self._waiting = None

    async def open_tunnel(self, route: Route) -> None:
        """Ask the proxy for a tunnel and go on with TLS inside it."""
        host = route.host
        assert host.tls is not None
        name = f"[{host.name}]" if ":" in host.name else host.name
        target = f"{name}:{host.port}".encode()
        headers = [(b"Host", target), *route.proxy_headers]
        request = h11.Request(method=b"CONNECT", target=target, headers=headers)
        answer = await self.ask(request, b"", lambda: None)
        if not 200 <= answer.status < 300:
            raise ConnectionRefusedError(f"the proxy answered {answer.status}")
        if self._transport.is_closing():
            raise ConnectionResetError("the proxy closed the tunnel")
        self._http = _new_http()
        loop = asyncio.get_running_loop()
        secured = await loop.start_tls(self._transport, self, host.tls, server_hostname=host.name)
        if secured is None:
            raise ConnectionResetError("the proxy closed the tunnel")
        self._transport = secured

    @property
    def is_closed(self) -> bool:
        return self._transport.is_closing()

    def is_silent(self) -> bool:
        """The server has neither closed the connection nor sent anything that is still to be read."""
        if self._transport.is_closing():
            return False
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket"), select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        """At once: what was not sent yet is not sent any more."""
        self._transport.abort()

    # ── what asyncio calls ────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        _probe_when_idle(transport.get_extra_info("socket"))

    def data_received(self, data: bytes) -> None:
        if self._waiting is None:
            self.close()
        else:
            self._receive(data)

    def eof_received(self) -> None:
        if self._waiting is not None and self._head is not None:
            self._receive(b"")

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or ConnectionResetError("the connection was closed before the answer had ended"))

    # ── the answer ────────────────────────────────────────────────────────────────────────────────────────

    def _receive(self, data: bytes) -> None:
        try:
            self._http.receive_data(data)
            while (event := self._http.next_event()) is not h11.NEED_DATA:
                if isinstance(event, h11.Response):
                    self._head = event
                elif isinstance(event, h11.Data):
                    self._body += event.data
                    if len(self._body) > MAX_BODY_BYTES:
                        raise AnswerTooLong
                elif not isinstance(event, h11.InformationalResponse):
                    self._finish()
                    return
        except (h11.ProtocolError, AnswerTooLong) as error:
            self._fail(error)

    def _finish(self) -> None:
        """The answer is whole. If something is left over on either side, the connection is not used again."""
        assert self._head is not None
        http, states = self._http, self._http.states
        if http.trailing_data[0] or self._transport.get_write_buffer_size():
            self.close()
        elif states == {h11.CLIENT: h11.DONE, h11.SERVER: h11.DONE}:
            http.start_next_cycle()
        elif http.their_state is not h11.SWITCHED_PROTOCOL:
            self.close()
        if self._waiting is not None and not self._waiting.done():
            raw = self._head.headers.raw_items()
            self._waiting.set_result(Answer(self._head.status_code, raw, bytes(self._body)))
        self._waiting = None

    def _fail(self, error: Exception) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)


class Connections:
    """The idle connections, and those in use; the one that was used last is taken first.

    There is no limit: there are as many as calls were in flight at once. Not for several loops."""

    def __init__(self, route: Route) -> None:
        self._route = route
        self._idle: deque[Connection] = deque()
        self._used: set[Connection] = set()
        self.is_closed = False

    async def take(self, *, fresh: bool = False) -> Connection:
        """A connection; it must be given back. `fresh`: new, or idle for less than FRESH_S.

        Raises OSError, h11.ProtocolError (a proxy's answer) or Closed: nothing was sent then."""
        if self.is_closed:
            raise Closed
        connection = self._kept(FRESH_S if fresh else KEEPALIVE_S) or await _connect(self._route)
        if self.is_closed:
            connection.close()
            raise Closed
        self._used.add(connection)
        return connection

    def give_back(self, connection: Connection) -> None:
        """The call on it has ended, in whatever way."""
        self._used.discard(connection)
        if not connection.is_closed:
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle.append(connection)

    async def close(self) -> None:
        """Close all. Calls in flight end with an error."""
        self.is_closed = True
        for connection in (*self._idle, *self._used):
            connection.close()
        self._idle.clear()
        await asyncio.sleep(0)  # the sockets are closed in the loop's next round

    def _kept(self, max_idle_s: float) -> Connection | None:
        now = asyncio.get_running_loop().time()
        while self._idle and now - self._idle[0].idle_since >= KEEPALIVE_S:
            self._idle.popleft().close()
        while self._idle and now - self._idle[-1].idle_since < max_idle_s:
            connection = self._idle.pop()
            if connection.is_silent():
                return connection
            connection.close()
        return None


async def _connect(route: Route) -> Connection:
    first = route.proxy or route.host
    _, connection = await asyncio.get_running_loop().create_connection(
        Connection,
        first.name,
        first.port,
        ssl=first.tls,
        server_hostname=first.name if first.tls else None,
        happy_eyeballs_delay=SECOND_ADDRESS_S,
    )
    if route.proxy is not None and not route.is_forwarded:
        try:
            await connection.open_tunnel(route)
        except BaseException:
            connection.close()
            raise
    return connection


def _new_http() -> h11.Connection:
    return h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)


def _bytes_of(http: h11.Connection, request: h11.Request, body: bytes) -> bytes:
    """The whole request. Raises h11.LocalProtocolError for one that no HTTP can carry."""
    parts = (request, h11.Data(data=body), h11.EndOfMessage()) if body else (request, h11.EndOfMessage())
    return b"".join(http.send(part) or b"" for part in parts)


def _probe_when_idle(sock: socket.socket) -> None:
    """Keeps gateways from forgetting an idle connection, and finds out when its other end has gone."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):  # not on macOS before Python 3.13
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, PROBE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, PROBE_S)
