"""A server made of sockets, for everything that a well-behaved one would never do, and gateways to ask it."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import pytest

from onelane_worker.intercom.gateway import Gateway
from onelane_worker.planner.operations import Operation, Reply
from onelane_worker.settings import Settings

CONTACT = (
    b'{"type":"contact","id":"6a0f00000000000000000001","role":"user","email":"ann@example.test",'
    b'"external_id":"u-17","custom_attributes":{}}'
)
LONG_S = 30.0
"""No test waits this long; only a broken one ends here."""
SHORT_S = 0.5

Handler = Callable[["Connection"], None]


@dataclass
class Connection:
    """One accepted connection, on the server's side."""

    socket: socket.socket
    stop: threading.Event
    changed: threading.Condition
    received: bytearray = field(default_factory=bytearray)

    def read(self) -> bytes:
        """Some bytes; empty when the client has closed."""
        chunk = self.socket.recv(65536)
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
        with connection.socket, contextlib.suppress(OSError):
            self._handler(connection)
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
    """A gateway with a clock, and a thread for calls that have to be watched."""

    gateway: Gateway
    now_ms: int = 1_000
    _threads: list[threading.Thread] = field(default_factory=list)

    def perform(self, operation: Operation, **options: Any) -> Reply:
        return self.gateway.perform(operation, now_ms=lambda: self.now_ms, **options)

    def start(self, operation: Operation, **options: Any) -> Future[Reply]:
        future: Future[Reply] = Future()
        thread = threading.Thread(target=lambda: future.set_result(self.perform(operation, **options)))
        self._threads.append(thread)
        thread.start()
        return future

    def join(self) -> None:
        for thread in self._threads:
            thread.join()


@pytest.fixture
def call() -> Iterator[Callable[..., Caller]]:
    """Makes a Caller for the server at `url`; further arguments are settings."""
    with contextlib.ExitStack() as stack:

        def make(url: str, **settings: Any) -> Caller:
            values = {"intercom_token": "secret", "http_timeout_s": LONG_S, **settings}
            caller = Caller(Gateway(Settings(intercom_url=url, **values)))
            stack.callback(caller.join)
            stack.callback(caller.gateway.close)
            return caller

        yield make


@pytest.fixture
def refused_url() -> Iterator[str]:
    """The URL of a port that is taken but does not listen: connections are refused."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{holder.getsockname()[1]}"


@pytest.fixture
def soon() -> Callable[[], float]:
    """A monotonic time shortly from now."""
    return lambda: time.monotonic() + SHORT_S
