"""The only door to Intercom, and the only module that imports httpx.

    perform ─ to_request ─► a connection, idle or new          fails: not sent
            ─ before_send (the checkpoint) ─► new send_by      raises: not sent
            ─ last look at the clock                           too late: not sent
            ─ first byte … whole answer                        fails: unknown
            ◄ to_reply

httpx makes the requests (URL, headers, cookies, JSON) and reads the answers (headers, cookies, compression).
The connections are ours (connections.py): the one that a client of httpx keeps in a pool cannot be asked for
before the checkpoint, and its pool costs more than all the rest. See docs/decisions/0030-http-connections.md.

What a reply guarantees
 * NotSent: the first byte of the request has not left.
 * Unknown: it may have left, and no whole answer came within `http_timeout_s`, measured in total from the
   last look at the clock on.
 * Nothing is repeated and no redirect followed: whether a call may be made again is the planner's business.

A server may close an idle connection while our request is on its way. A create whose result is unknown costs
its person a settle window, so it takes no connection that was idle for longer than FRESH_S; for other calls
an unknown result costs seconds, and such a close is rare.

Proxy settings, netrc and CA files that other programs share are not read from the environment: a worker that
runs beside them must not go another way than it was told. There are ONELANE_HTTP_PROXY and ONELANE_CA_FILE.
"""

from __future__ import annotations

import asyncio
import base64
import importlib.metadata
import logging
import ssl
import time
from collections.abc import Awaitable, Callable

import h11
import httpx

from onelane_worker.intercom.connections import (
    MAX_BODY_BYTES,
    Answer,
    AnswerTooLong,
    Connection,
    Connections,
    Host,
    Route,
)
from onelane_worker.intercom.errors import problem
from onelane_worker.intercom.requests import Request, to_request
from onelane_worker.intercom.responses import to_reply
from onelane_worker.planner import operations as op
from onelane_worker.settings import Settings

log = logging.getLogger(__name__)

PIECE_BYTES = 16 * 1024
"""An answer is decompressed in pieces of this size, so that MAX_BODY_BYTES holds for what comes out, too."""


class TooLate(Exception):
    """The request was about to leave after its time."""


class IntercomClient:
    """Asks Intercom, from the loop that first uses it."""

    def __init__(self, settings: Settings) -> None:
        self._timeout_s = settings.http_timeout_s
        self._url = settings.intercom_url.rstrip("/")
        self._headers = _headers(settings)
        self._cookies = httpx.Cookies()
        self._route = _route(settings)
        self._connections = Connections(self._route)

    async def perform(
        self,
        operation: op.Operation,
        *,
        now_ms: Callable[[], int],
        send_by: float,
        before_send: Callable[[], Awaitable[float]] | None = None,
    ) -> op.Reply:
        """Make one call and sort its answer. `send_by` is a time of the loop, `now_ms` gives Redis' clock.

        send_by: the request leaves until then or not at all.
        before_send: awaited once a connection is there, if it comes to that; its result replaces `send_by`.
        What it raises, perform raises, and nothing is sent.
        """
        try:
            request = self._build(to_request(operation))
        except (ValueError, TypeError, httpx.InvalidURL) as error:
            return op.Refused(problem("unsendable", None, message=f"{type(error).__name__}: {error}"))
        try:
            async with asyncio.timeout(self._timeout_s):
                connection = await self._connections.take(fresh=isinstance(operation, op.Create))
        except Exception as error:
            return op.NotSent(self._trouble(error))
        try:
            if before_send is not None:
                send_by = await before_send()
            return await self._exchange(operation, request, connection, send_by, now_ms)
        finally:
            self._connections.give_back(connection)

    async def aclose(self) -> None:
        """Close all connections. Calls in flight end with NotSent or Unknown, and so do later ones."""
        await self._connections.close()

    async def _exchange(
        self,
        operation: op.Operation,
        request: httpx.Request,
        connection: Connection,
        send_by: float,
        now_ms: Callable[[], int],
    ) -> op.Reply:
        sent_ms: int | None = None

        def leave() -> None:
            nonlocal sent_ms
            at_ms = now_ms()
            if asyncio.get_running_loop().time() > send_by:
                raise TooLate
            sent_ms = at_ms

        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await connection.ask(self._head(request), request.content, leave)
            headers, body = self._read(request, answer)
        except Exception as error:
            trouble = self._trouble(error)
            return op.NotSent(trouble) if sent_ms is None else op.Unknown(trouble)
        assert sent_ms is not None
        return to_reply(operation, answer.status, headers, body, sent_ms, wall_s=time.time())

    def _build(self, asked: Request) -> httpx.Request:
        request = httpx.Request(asked.method, self._url + asked.path, headers=self._headers, json=asked.json)
        if self._cookies:  # Intercom sets one for a second after a write (recorded traffic 2021)
            self._cookies.set_cookie_header(request)
        return request

    def _head(self, request: httpx.Request) -> h11.Request:
        target, headers = request.url.raw_path, request.headers.raw
        if self._route.is_forwarded:
            target, headers = str(request.url).encode(), [*headers, *self._route.proxy_headers]
        return h11.Request(method=request.method, target=target, headers=headers)

    def _read(self, request: httpx.Request, answer: Answer) -> tuple[httpx.Headers, bytes]:
        """Headers and body. Keeps the cookies. Raises AnswerTooLong or httpx.DecodingError."""
        headers = httpx.Headers(answer.headers)
        if "set-cookie" in headers:
            self._cookies.extract_cookies(httpx.Response(answer.status, headers=headers, request=request))
        return headers, _unpacked(answer) if "content-encoding" in headers else answer.body

    def _trouble(self, error: Exception) -> op.Problem:
        """Why there is no answer."""
        if self._connections.is_closed:
            return problem("closed", None)
        if isinstance(error, TooLate):
            return problem("late", None)
        if isinstance(error, AnswerTooLong):
            return problem("unreadable", None)
        if isinstance(error, TimeoutError):
            return problem("timeout", None)
        if not isinstance(error, (OSError, h11.ProtocolError, httpx.DecodingError)):
            log.error("an Intercom call failed in an unforeseen way", exc_info=error)
        return problem("network", None, message=_in_words(error))


def _unpacked(answer: Answer) -> bytes:
    """The body as it was before it was compressed. Raises AnswerTooLong or httpx.DecodingError."""
    packed, body = answer.body, bytearray()
    pieces = (packed[at : at + PIECE_BYTES] for at in range(0, len(packed), PIECE_BYTES))
    for piece in httpx.Response(answer.status, headers=answer.headers, content=pieces).iter_bytes():
        body += piece
        if len(body) > MAX_BODY_BYTES:
            raise AnswerTooLong
    return bytes(body)


def _headers(settings: Settings) -> httpx.Headers:
    try:
        version = importlib.metadata.version("onelane")
    except importlib.metadata.PackageNotFoundError:
        version = "0"
    return httpx.Headers(
        {
            "Authorization": f"Bearer {settings.intercom_token.get_secret_value()}",
            "Accept": "application/json",
            "Accept-Encoding": "gzip, deflate",
            "Content-Type": "application/json",
            "Intercom-Version": settings.intercom_version,
            "User-Agent": f"onelane/{version}",
        }
    )


def _route(settings: Settings) -> Route:
    trusted: ssl.SSLContext | None = None

    def host(url: httpx.URL) -> Host:
        nonlocal trusted
        name = url.raw_host.decode("ascii")
        if url.scheme != "https":
            return Host(name, url.port or 80, None)
        trusted = trusted or _trusted(settings)
        return Host(name, url.port or 443, trusted)

    intercom = host(httpx.URL(settings.intercom_url))
    if settings.http_proxy is None:
        return Route(intercom)
    proxy = httpx.Proxy(settings.http_proxy)
    headers = []
    if proxy.raw_auth is not None:
        word = base64.b64encode(b":".join(proxy.raw_auth))
        headers.append((b"Proxy-Authorization", b"Basic " + word))
    return Route(intercom, host(proxy.url), tuple(headers))


def _trusted(settings: Settings) -> ssl.SSLContext:
    trusted = httpx.create_ssl_context(trust_env=False)
    trusted.set_alpn_protocols(["http/1.1"])
    if settings.ca_file is not None:
        trusted.load_verify_locations(settings.ca_file)
    return trusted


def _in_words(error: Exception) -> str:
    """Never what we sent: a protocol error of our own making quotes the header, and with it the token."""
    said = "" if isinstance(error, h11.LocalProtocolError) else str(error)
    return f"{type(error).__name__}: {said}" if said else type(error).__name__
