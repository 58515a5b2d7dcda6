"""The connection breaks at every point of a call: what counts as not sent, what as unknown, and how many
requests the server saw. By every way: directly or by a proxy, with TLS or without; with FIN and with RST."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from onelane_worker.planner.operations import (
    Create,
    Delete,
    Found,
    NotSent,
    Operation,
    Probe,
    Read,
    Reply,
    Search,
    Unknown,
    Update,
)

CONTACT_ID = "6a0f00000000000000000001"
LONG_S = 30.0
CREATE = Create({"role": "lead", "email": "ann@example.test"})
CONTACT = b'{"type":"contact","id":"6a0f00000000000000000001","role":"user"}'
READ = Read(CONTACT_ID)
EACH_METHOD = [READ, Search(("ann@example.test",)), Update(CONTACT_ID, {"name": "Ann"}), Delete(CONTACT_ID)]

Step = Callable[[Any], object]


def steps(*each: Step) -> Callable[[Any], None]:
    """A handler that takes one step after the other."""

    def handler(connection: Any) -> None:
        for step in each:
            step(connection)

    return handler


def close(connection: Any) -> None:
    connection.socket.close()


def reset(connection: Any) -> None:
    connection.reset()


def take(size: int) -> Step:
    """Read so many bytes and leave the rest."""

    def step(connection: Any) -> None:
        for _ in range(size):
            assert connection.read(1)

    return step


def head(connection: Any) -> None:
    """Read no more than the head of a request."""
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        byte = connection.read(1)
        assert byte
        data += byte


def whole(connection: Any) -> None:
    """Read one whole request."""
    connection.read_request()


def some(connection: Any) -> None:
    connection.read()


def send(data: bytes) -> Step:
    return lambda connection: connection.send(data)


def answer(status: str = "200 OK") -> Step:
    return lambda connection: connection.answer(status=status)


@pytest.fixture(params=[close, reset])
def cut(request: Any) -> Step:
    breaking: Step = request.param
    return breaking


def never() -> float:
    raise AssertionError("there was no connection, and yet a write was put on record")


def later() -> float:
    return time.monotonic() + LONG_S


def is_lost(reply: Reply, kind: str = "network") -> bool:
    return isinstance(reply, Unknown) and reply.problem.kind == kind


# ── no connection: not sent, and nothing is put on record ─────────────────────────────────────────────────


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("by_proxy", [False, True])
def test_a_refused_connection_is_not_sent(scheme: str, by_proxy: bool, refused_url: str, call: Any) -> None:
    url = refused_url.replace("http", scheme, 1)
    caller = call(f"{scheme}://intercom.test", http_proxy=refused_url) if by_proxy else call(url)
    reply = caller.perform(CREATE, before_send=never)
    assert isinstance(reply, NotSent)
    assert reply.problem.kind == "network"


def test_a_host_that_does_not_exist_is_not_sent(call: Any) -> None:
    assert isinstance(call("http://no-such-host.invalid").perform(CREATE, before_send=never), NotSent)


BEFORE_TLS: dict[str, Callable[[Any], None]] = {
    "at once": steps(),
    "after a byte": steps(take(1)),
    "after the client's hello": steps(some),
    "after half a hello": steps(some, send(b"\x16\x03\x03\x00\x7a\x02")),
    "after an answer without TLS": steps(some, answer()),
}


@pytest.mark.parametrize("point", BEFORE_TLS)
@pytest.mark.parametrize("way", ["tls"], indirect=True)
def test_tls_that_breaks_off_is_not_sent(point: str, way: Any, cut: Step) -> None:
    caller, server = way.raw(steps(BEFORE_TLS[point], cut))
    assert isinstance(caller.perform(CREATE, before_send=never), NotSent)
    assert server.requests == []


ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"
BEFORE_TUNNEL: dict[str, Callable[[Any], None]] = {
    "at once": steps(),
    "after the CONNECT": steps(whole),
    "after half an answer": steps(whole, send(b"HTTP/1.1 200 Conn")),
    "after an answer that is no HTTP": steps(whole, send(b"\x00\r\n\r\n")),
    "after a 502": steps(whole, answer("502 Bad Gateway")),
    "before TLS": steps(whole, send(ESTABLISHED)),
    "before TLS, with an answer to nothing": steps(whole, send(ESTABLISHED + ESTABLISHED)),
    "during TLS": steps(whole, send(ESTABLISHED), some),
}


@pytest.mark.parametrize("point", BEFORE_TUNNEL)
@pytest.mark.parametrize("way", ["tunnel"], indirect=True)
def test_a_tunnel_that_breaks_off_is_not_sent(point: str, way: Any, cut: Step) -> None:
    caller, server = way.raw(steps(BEFORE_TUNNEL[point], cut))
    assert isinstance(caller.perform(CREATE, before_send=never), NotSent)
    assert "POST" not in server.requests


@pytest.mark.parametrize("status", ["403 Forbidden", "407 Proxy Authentication Required"])
@pytest.mark.parametrize("way", ["tunnel"], indirect=True)
def test_a_tunnel_that_the_proxy_refuses_is_not_sent(status: str, way: Any) -> None:
    caller, server = way.raw(steps(whole, answer(status), some))
    reply = caller.perform(CREATE, before_send=never)
    assert isinstance(reply, NotSent)
    assert status[:3] in str(reply.problem.message)
    assert server.requests == ["CONNECT"]


@pytest.mark.parametrize("way", ["tls", "tunnel"], indirect=True)
def test_a_handshake_that_never_ends_is_not_sent(way: Any) -> None:
    def swallow(connection: Any) -> None:
        while connection.read():
            pass

    caller, server = way.raw(swallow, http_timeout_s=0.3)
    reply = caller.perform(CREATE, before_send=never)
    assert isinstance(reply, NotSent)
    assert reply.problem.kind == "timeout"
    caller.run(asyncio.to_thread(server.wait_ended, 1))  # the connection is closed, too


# ── a connection, and nothing sent yet ────────────────────────────────────────────────────────────────────


def test_a_connection_that_breaks_during_the_checkpoint_is_not_sent(way: Any, cut: Step) -> None:
    recorded = threading.Event()
    caller, server = way.to(steps(lambda _: recorded.wait(LONG_S), cut))

    async def checkpoint() -> float:
        recorded.set()
        await asyncio.to_thread(server.wait_ended, 1)
        for _ in range(5):  # rounds of the loop, in which it hears of the break
            await asyncio.sleep(0)
        return later()

    perform = caller.client.perform(CREATE, now_ms=lambda: 1, send_by=0.0, before_send=checkpoint)
    reply = caller.run(perform)

    assert isinstance(reply, NotSent)
    assert "POST" not in server.requests


def test_a_connection_that_breaks_unseen_may_have_carried_the_request(way: Any, cut: Step) -> None:
    """The loop has not heard of the break when the request leaves: unknown, although nobody read it."""
    recorded = threading.Event()
    caller, server = way.to(steps(lambda _: recorded.wait(LONG_S), cut))

    def checkpoint() -> float:
        recorded.set()
        server.wait_ended(1)
        return later()

    assert is_lost(caller.perform(CREATE, before_send=checkpoint))
    assert "POST" not in server.requests


# ── something has left: unknown, and never sent again ─────────────────────────────────────────────────────

AFTER_THE_FIRST_BYTE: dict[str, Callable[[Any], None]] = {
    "after a byte": steps(take(1)),
    "after the first line": steps(take(40)),
    "after the head": steps(head),
    "after the request": steps(whole),
    "in the answer's first line": steps(whole, send(b"HTTP/1.1 20")),
    "in the answer's head": steps(whole, send(b"HTTP/1.1 200 OK\r\nContent-Le")),
    "before the answer's body": steps(whole, send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")),
    "in the answer's body": steps(whole, send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")),
    "in a chunk": steps(whole, send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{")),
    "between chunks": steps(whole, send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n")),
    "after an interim answer": steps(whole, send(b"HTTP/1.1 103 Early Hints\r\n\r\n")),
}


@pytest.mark.parametrize("warm", [False, True], ids=["new", "kept"])
@pytest.mark.parametrize("point", AFTER_THE_FIRST_BYTE)
def test_a_request_that_may_have_arrived_is_unknown_and_not_repeated(
    point: str, warm: bool, way: Any, cut: Step
) -> None:
    first = steps(whole, answer()) if warm else steps()
    caller, server = way.to(steps(first, AFTER_THE_FIRST_BYTE[point], cut))
    if warm:
        assert isinstance(caller.perform(READ), Found)

    assert is_lost(caller.perform(CREATE, before_send=later))

    assert server.requests.count("POST") <= 1
    assert len(server.connections) == 1


@pytest.mark.parametrize("operation", EACH_METHOD, ids=lambda one: type(one).__name__)
def test_no_method_is_repeated_when_the_server_closes_a_kept_connection_on_a_request(
    operation: Operation, way: Any, cut: Step
) -> None:
    """The case in which other libraries repeat what they hold to be idempotent."""
    caller, server = way.to(steps(whole, answer(), whole, cut))
    assert isinstance(caller.perform(READ), Found)
    seen = len(server.requests)

    assert is_lost(caller.perform(operation))

    assert len(server.requests) == seen + 1
    assert len(server.connections) == 1


def test_the_next_call_after_a_break_has_a_connection_of_its_own(way: Any, cut: Step) -> None:
    def handler(connection: Any) -> None:
        connection.read_request()
        if len(server.connections) == 1:
            cut(connection)
        else:
            connection.answer()

    caller, server = way.to(handler)
    assert is_lost(caller.perform(CREATE))
    assert isinstance(caller.perform(CREATE), Found)
    assert server.requests.count("POST") == 2


def test_a_whole_answer_counts_whatever_comes_after_it(way: Any, cut: Step) -> None:
    caller, server = way.to(steps(whole, answer(), cut))
    reply = caller.perform(CREATE)
    assert isinstance(reply, Found) if cut is close else isinstance(reply, (Found, Unknown))
    assert server.requests.count("POST") == 1


def test_an_answer_without_a_length_ends_with_the_connection(way: Any) -> None:
    caller, _ = way.to(steps(whole, send(b"HTTP/1.1 200 OK\r\n\r\n" + CONTACT), close))
    assert isinstance(caller.perform(READ), Found)


# ── kept connections ──────────────────────────────────────────────────────────────────────────────────────


def test_a_kept_connection_that_the_server_closed_is_replaced_before_anything_is_put_on_record(
    way: Any, cut: Step
) -> None:
    answered = threading.Semaphore(0)
    caller, server = way.to(steps(whole, answer(), lambda _: answered.acquire(timeout=LONG_S), cut))
    recorded = []

    def before_send() -> float:
        recorded.append(1)
        return later()

    for number in range(1, 4):
        assert isinstance(caller.perform(CREATE, before_send=before_send), Found)
        answered.release()
        server.wait_ended(number)

    assert len(recorded) == len(server.connections) == server.requests.count("POST") == 3


@pytest.mark.parametrize("read", [True, False], ids=["read by the loop", "still to be read"])
def test_words_that_nobody_asked_for_close_a_kept_connection(read: bool, way: Any) -> None:
    """A server that is tired of waiting may say so, and go. That is no answer to the next request."""
    answered, told = threading.Semaphore(0), threading.Semaphore(0)

    def handler(connection: Any) -> None:
        connection.read_request()
        connection.answer()
        answered.acquire(timeout=LONG_S)
        connection.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")
        told.release()
        connection.read()

    caller, server = way.to(handler)
    assert isinstance(caller.perform(READ), Found)
    answered.release()
    assert told.acquire(timeout=LONG_S)
    if read:
        caller.run(asyncio.to_thread(server.wait_ended, 1))
    assert isinstance(caller.perform(CREATE), Found)
    assert len(server.connections) == 2
    answered.release()


def test_a_second_answer_in_one_piece_with_the_first_is_not_taken_for_the_next_ones(way: Any) -> None:
    one = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(CONTACT), CONTACT)
    caller, server = way.to(steps(whole, send(one + one), whole))
    assert isinstance(caller.perform(READ), Found)
    caller.perform(Probe())
    assert len(server.connections) == 2
