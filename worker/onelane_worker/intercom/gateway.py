"""The only door to Intercom, and the only module that imports httpx.

    caller's thread            the loop's thread (one per process)
    perform ─ to_request ────► connection from the pool, or a new one
            ◄─ ready ───────── the connection is ours
    before_send (checkpoint)
            ─── send_by ─────► last look at the clock, then the first byte leaves
    to_reply ◄──────────────── answer, or what went wrong

What a reply guarantees
 * NotSent: the first byte of the request has not left. Everything that fails before that instant is NotSent:
   DNS, connect, a proxy's tunnel, TLS, a full pool, and our own lateness.
 * Unknown: it had begun to leave and no whole answer came within `http_timeout_s`, measured in total. (The
   time-outs of httpx are per read: a slow drip outlives them. They are off.) Also an answer to a request that
   we did not see leave (see call.py): that is an error, and this process writes nothing after it.
 * Nothing is repeated and no redirect followed: whether a call may be made again is the planner's business.

Idle connections (R74). One that was idle for more than KEEPALIVE_S is not used again, and one that the server
has closed is noticed before it is used. So a close of an idle connection costs a new connection, not an
Unknown, except when it crosses our request on the wire within those two seconds.

Proxy settings, netrc and CA files that other programs share are not read from the environment: a worker that
runs beside them must not go another way than it was told. There are ONELANE_HTTP_PROXY and ONELANE_CA_FILE.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import logging
import math
import os
import ssl
import threading
import time
import weakref
from collections.abc import Mapping
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from typing import Any

import httpx

from onelane_worker.intercom.call import BeforeSend, Call, Clock, TooLate
from onelane_worker.intercom.faults import problem
from onelane_worker.intercom.loop import LoopClosed, LoopThread
from onelane_worker.intercom.wire import Request, to_reply, to_request
from onelane_worker.planner.operations import NotSent, Operation, Refused, Reply, Unknown
from onelane_worker.settings import Settings

log = logging.getLogger(__name__)

KEEPALIVE_S = 2.0
"""Shorter than the idle limit of any common server (5 s and more): we close before they do."""
MAX_BODY_BYTES = 16 * 1024 * 1024
"""An answer longer than this is unreadable: a page of fifty contacts has some hundred kilobytes."""
_CONNECTED = "connection.connect_tcp.complete"


class _Unseen(Exception):
    """There is an answer, and the request was not seen to leave: a write has gone out unrecorded."""


_UNSEEN = problem("send_unseen", None, message="this version of httpx does not tell when a request leaves")


class _TooLong(Exception):
    """The answer's body exceeds MAX_BODY_BYTES."""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class Gateway:
    """Asks Intercom. One per process, for all its threads; starts anew after a fork or a close."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._engine: _Engine | None = None
        self._inherited: _Engine | None = None
        _gateways.add(self)

    def perform(
        self,
        operation: Operation,
        *,
        now_ms: Clock,
        send_by: float | None = None,
        deadline: float | None = None,
        before_send: BeforeSend | None = None,
    ) -> Reply:
        """Make one call and sort its answer. `send_by` and `deadline` are times of `time.monotonic()`.

        send_by: the request leaves until then or not at all.
        deadline: the call is given up then. Always also `http_timeout_s` after it left, and it waits no
        longer than that for a connection.
        before_send: called once a connection is held, if it comes to that; its result replaces `send_by`.
        What it raises, perform raises, and nothing is sent.
        """
        try:
            request = to_request(operation)
        except ValueError as error:
            return _unsendable(error)
        call = Call(
            request=request,
            send_by=math.inf if send_by is None else send_by,
            deadline=math.inf if deadline is None else deadline,
            answer_within_s=self._settings.http_timeout_s,
            now_ms=now_ms,
            ready=None if before_send is None else Future(),
        )
        answer = self._await(call, before_send)
        if not isinstance(answer, _Answer):
            return answer
        return to_reply(
            operation, answer.status, answer.headers, answer.body, call.started_ms or 0, wall_s=time.time()
        )

    def close(self) -> None:
        """End the calls in flight (their callers get NotSent or Unknown), the connections and the thread."""
        with self._lock:
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.close()

    def _await(self, call: Call, before_send: BeforeSend | None) -> _Answer | Reply:
        engine = self._running()
        try:
            future = engine.loop.submit(engine.exchange(call))
        except LoopClosed:
            return _lost(call, "closed")
        try:
            if before_send is not None and call.is_ready(future):
                call.permit(before_send())
            return future.result()
        except CancelledError:
            return _lost(call, "closed")
        finally:
            future.cancel()  # does something only if the caller was interrupted, or will not send after all

    def _running(self) -> _Engine:
        with self._lock:
            if self._engine is None:
                self._engine = _Engine(self._settings)
            return self._engine

    def _after_fork(self) -> None:
        """The parent's engine has no thread here. It is kept, not closed: its sockets are the parent's."""
        self._inherited, self._engine, self._lock = self._engine, None, threading.Lock()


class _Engine:
    """The client with its pool, and the loop that it lives on."""

    def __init__(self, settings: Settings) -> None:
        limits = httpx.Limits(
            max_connections=settings.connections,
            max_keepalive_connections=settings.connections,
            keepalive_expiry=KEEPALIVE_S,
        )
        trusted = httpx.create_ssl_context(trust_env=False)
        if settings.ca_file is not None:
            trusted.load_verify_locations(settings.ca_file)
        proxy = settings.http_proxy
        self.client = httpx.AsyncClient(
            base_url=settings.intercom_url,
            headers=_headers(settings),
            timeout=None,
            follow_redirects=False,
            trust_env=False,
            transport=httpx.AsyncHTTPTransport(
                verify=trusted,
                retries=0,
                trust_env=False,
                limits=limits,
                proxy=httpx.Proxy(proxy, ssl_context=_for_proxy(proxy, trusted)) if proxy else None,
            ),
        )
        self._sees = False
        """A send was told by the library: so all are."""
        self._blind = False
        """There was an answer without one."""
        self.loop = LoopThread("onelane-intercom")

    def close(self) -> None:
        self.loop.close(self.client.aclose())

    async def exchange(self, call: Call) -> _Answer | NotSent | Unknown | Refused:
        """Send and receive; a reply instead of an answer if that went wrong."""
        if self._blind and call.ready is not None:
            return NotSent(_UNSEEN)
        if call.deadline <= time.monotonic():
            return _lost(call, "timeout")
        try:
            request = self._build(call.request)
        except (ValueError, TypeError) as error:  # no JSON can be made of the body
            return _unsendable(error)
        try:
            async with asyncio.timeout_at(call.connect_by()) as limit:
                return await self._send(request, call, limit)
        except TooLate:
            return _lost(call, "late")
        except _TooLong:
            return _lost(call, "unreadable")
        except _Unseen:
            log.error("httpx does not tell when a request leaves: no write can be put on record before it")
            return Unknown(_UNSEEN)
        except TimeoutError:
            return _lost(call, "timeout")
        except (httpx.HTTPError, OSError) as error:
            return _lost(call, "network", error)
        except Exception as error:
            log.exception("an Intercom call failed in an unforeseen way")
            return _lost(call, "network", error)

    def _build(self, request: Request) -> httpx.Request:
        """The request with all its headers and cookies. Intercom sets a cookie for a second after a write
        (recorded traffic 2021) and gets it back. On the loop only: the jar is not safe for threads."""
        return self.client.build_request(request.method, request.path, json=request.json)

    async def _send(self, request: httpx.Request, call: Call, limit: asyncio.Timeout) -> _Answer:
        opened: list[Any] = []

        async def trace(event: str, info: Mapping[str, Any]) -> None:
            if event == _CONNECTED:
                opened.append(info["return_value"])
            if call.leaves_at(event, info):
                self._sees = True
                await call.leave(limit)
            call.unseen = not self._sees and event.endswith(".complete") and not call.tunnel

        request.extensions["trace"] = trace
        call.unseen = not self._sees
        try:
            response = await self.client.send(request, stream=True)
            if call.started_ms is None:
                self._blind = True
                await response.aclose()
                raise _Unseen
        except BaseException:
            for stream in opened:
                await stream.aclose()  # httpcore loses the socket of a TLS handshake that is cancelled
            raise
        try:
            return _Answer(response.status_code, response.headers, await _read(response))
        finally:
            await response.aclose()


def _headers(settings: Settings) -> dict[str, str]:
    try:
        version = importlib.metadata.version("onelane")
    except importlib.metadata.PackageNotFoundError:
        version = "0"
    return {
        "Authorization": f"Bearer {settings.intercom_token.get_secret_value()}",
        "Accept": "application/json",
        "Content-Type": "application/json",
        "Intercom-Version": settings.intercom_version,
        "User-Agent": f"onelane/{version}",
    }


def _for_proxy(url: str, trusted: ssl.SSLContext) -> ssl.SSLContext | None:
    """The proxy's certificate is checked like any other, if it has one."""
    return trusted if url.startswith("https://") else None


async def _read(response: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in response.aiter_bytes():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise _TooLong
    return bytes(body)


def _unsendable(error: Exception) -> Refused:
    """Nothing was sent, and asking again would go the same way."""
    return Refused(problem("unsendable", None, message=f"{type(error).__name__}: {error}"))


def _lost(call: Call, kind: str, error: Exception | None = None) -> NotSent | Unknown:
    """No answer: whether the request had begun to leave decides what that means."""
    trouble = problem(kind, None, message=None if error is None else _in_words(error))
    return Unknown(trouble) if call.may_have_left else NotSent(trouble)


def _in_words(error: Exception) -> str:
    """Never what we sent: a protocol error of our own making quotes the header, and with it the token."""
    said = "" if isinstance(error, httpx.LocalProtocolError) else str(error)
    return f"{type(error).__name__}: {said}" if said else type(error).__name__


# ── process-wide ──────────────────────────────────────────────────────────────────────────────────────────

_gateways: weakref.WeakSet[Gateway] = weakref.WeakSet()


def _after_fork() -> None:
    for gateway in tuple(_gateways):
        gateway._after_fork()


os.register_at_fork(after_in_child=_after_fork)

# httpx logs every URL at INFO, and a URL may name a person.
logging.getLogger("httpx").setLevel(logging.WARNING)
