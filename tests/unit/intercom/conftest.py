"""A server made of sockets, for everything that a well-behaved one would never do, and clients to ask it."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trustme

from onelane_worker.intercom.client import IntercomClient
from onelane_worker.planner.operations import Operation, Reply
from onelane_worker.settings import Settings

CONTACT = (
    b'{"type":"contact","id":"6a0f00000000000000000001","role":"user","email":"ann@example.test",'
    b'"external_id":"u-17","custom_attributes":{}}'
)
LONG_S = 30.0
"""No test waits this long; only a broken one ends here."""
SHORT_S = 0.5

T = TypeVar("T")
Handler = Callable[["Connection"], None]


@dataclass
class Connection:
    """One accepted connection, on the server's side."""

    socket: socket.socket
    stop: threading.Event
    changed: threading.Condition
    received: bytearray = field(default_factory=bytearray)

    def read(self, size: int = 65536) -> bytes:
        """Some bytes; empty when the client has closed."""
        chunk = self.socket.recv(size)
        with self.changed:
            self.received += chunk
            self.changed.notify_all()
        return chunk

    def read_request(self) -> bytes:
        """One whole request; empty if the client closed before it."""
        data = bytearray()
        while b"\r\n\r\n" not in data or len(data) < _length(data):
            chunk = self.read()
            if not chunk:
                return b""
            data += chunk
        return bytes(data)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def drip(self, data: bytes) -> None:
        """`data`, and then the last byte of it again and again, until the client has had enough."""
        self.send(data)
        while not self.stop.wait(0.02):
            self.send(data[-1:])

    def secure(self, context: ssl.SSLContext) -> None:
        """TLS from here on."""
        self.socket = context.wrap_socket(self.socket, server_side=True)

    def reset(self) -> None:
        """Break off: the other side gets a RST instead of a FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def answer(self, body: bytes = CONTACT, status: str = "200 OK", headers: str = "") -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        self.send(head.encode() + body)


def answer_well(connection: Connection) -> None:
    """Answers every request with a contact."""
    while connection.read_request():
        connection.answer()


def swallow(connection: Connection) -> None:
    """Takes everything and says nothing."""
    while connection.read():
        pass


def _length(data: bytearray) -> int:
    head, _, _ = bytes(data).partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return len(head) + 4 + int(line.split(b":")[1])
    return len(head) + 4


class RawServer:
    """Runs `handler` on a thread for each connection; keeps what every connection received."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._stop = threading.Event()
        self._changed = threading.Condition()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.connections: list[Connection] = []
        self._ended = 0
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def received(self) -> list[bytes]:
        return [bytes(connection.received) for connection in self.connections]

    @property
    def requests(self) -> list[str]:
        """The method of every request that has arrived, of which at least the first line is whole."""
        lines = re.findall(rb"([A-Z]+) \S+ HTTP/1\.1\r\n", b"\n".join(self.received))
        return [method.decode() for method in lines]

    def wait_for(self, predicate: Callable[[RawServer], bool]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: predicate(self), LONG_S)

    def wait_ended(self, count: int) -> None:
        """Until so many handlers have ended and their connections are closed."""
        self.wait_for(lambda server: server._ended >= count)

    def close(self) -> None:
        self._stop.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                accepted, _ = self._listener.accept()
            except OSError:
                return
            connection = Connection(accepted, self._stop, self._changed)
            with self._changed:
                self.connections.append(connection)
                self._changed.notify_all()
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: Connection) -> None:
        with contextlib.suppress(OSError):
            self._handler(connection)
        connection.socket.close()
        with self._changed:
            self._ended += 1
            self._changed.notify_all()


@pytest.fixture
def serve() -> Iterator[Callable[[Handler], RawServer]]:
    """Starts a RawServer with the given handler."""
    with contextlib.ExitStack() as stack:

        def start(handler: Handler) -> RawServer:
            server = RawServer(handler)
            stack.callback(server.close)
            return server

        yield start


@pytest.fixture
def polite(serve: Callable[[Handler], RawServer]) -> RawServer:
    return serve(answer_well)


@pytest.fixture
def silent(serve: Callable[[Handler], RawServer]) -> RawServer:
    return serve(swallow)


@dataclass
class Caller:
    """A client, and the loop that it lives on: the loop runs only while a test asks something."""

    client: IntercomClient
    runner: asyncio.Runner
    now_ms: int = 1_000

    def run(self, story: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(asyncio.wait_for(story, LONG_S))

    def perform(self, operation: Operation, **options: Any) -> Reply:
        return self.run(self.ask(operation, **options))

    async def ask(
        self,
        operation: Operation,
        *,
        send_by: float = float("inf"),
        before_send: Callable[[], float] | None = None,
    ) -> Reply:
        """`before_send` is a plain function here; it may wait for what the server sees."""

        async def word() -> float:
            assert before_send is not None
            return before_send()

        return await self.client.perform(
            operation,
            now_ms=lambda: self.now_ms,
            send_by=send_by,
            before_send=None if before_send is None else word,
        )

    def close(self) -> None:
        self.runner.run(self.client.aclose())


@pytest.fixture
def call() -> Iterator[Callable[..., Caller]]:
    """Makes a Caller for the server at `url`; further arguments are settings."""
    with contextlib.ExitStack() as stack:

        def make(url: str, **settings: Any) -> Caller:
            values = {"intercom_token": "secret", "http_timeout_s": LONG_S, **settings}
            runner = stack.enter_context(asyncio.Runner())
            caller = Caller(IntercomClient(Settings(intercom_url=url, **values)), runner)
            stack.callback(caller.close)
            return caller

        yield make


@pytest.fixture
def refused_url() -> Iterator[str]:
    """The URL of a port that is taken but does not listen: connections are refused."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{holder.getsockname()[1]}"


# ── the ways to Intercom ───────────────────────────────────────────────────────────────────────────────────

HOST = "intercom.test"


@pytest.fixture(scope="session")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> str:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


def server_context(authority: trustme.CA, name: str) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(made)
    return made


@dataclass
class Way:
    """One way to a server: directly or by a proxy, with TLS or without."""

    name: str
    serve: Callable[[Handler], RawServer]
    call: Callable[..., Caller]
    authority: trustme.CA
    ca_file: str

    def to(self, handler: Handler, **settings: Any) -> tuple[Caller, RawServer]:
        """A client, and a server whose `handler` begins where the way to it ends."""

        def whole(connection: Connection) -> None:
            if self.name == "tunnel":
                connection.read_request()
                connection.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            if self.name in ("tls", "tunnel"):
                connection.secure(server_context(self.authority, self.host))
            handler(connection)

        return self.raw(whole, **settings)

    def raw(self, handler: Handler, **settings: Any) -> tuple[Caller, RawServer]:
        """The same, but `handler` sees the connection from its first byte on."""
        server = self.serve(handler)
        secure = self.name in ("tls", "tunnel")
        url = f"{'https' if secure else 'http'}://{self.host}"
        if self.name in ("proxy", "tunnel"):
            settings["http_proxy"] = server.url
        else:
            url += ":" + server.url.rpartition(":")[2]
        if secure:
            settings["ca_file"] = self.ca_file
        return self.call(url, **settings), server

    @property
    def host(self) -> str:
        return HOST if self.name in ("proxy", "tunnel") else "localhost"


@pytest.fixture(params=["direct", "tls", "proxy", "tunnel"])
def way(
    request: pytest.FixtureRequest,
    serve: Callable[[Handler], RawServer],
    call: Callable[..., Caller],
    authority: trustme.CA,
    ca_file: str,
) -> Way:
    return Way(request.param, serve, call, authority, ca_file)
