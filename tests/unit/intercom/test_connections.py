"""Which connections are used, how long they are kept, and what closes them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from onelane_worker.intercom import client, connections
from onelane_worker.planner.operations import Create, Found, NotSent, Read, Reply, Update
from onelane_worker.settings import Settings

CONTACT_ID = "6a0f00000000000000000001"
LONG_S = 30.0
CREATE = Create({"role": "lead", "email": "ann@example.test"})
UPDATE = Update(CONTACT_ID, {"name": "Ann"})
READ = Read(CONTACT_ID)

Serve = Callable[..., Any]
Call = Callable[..., Any]


def test_nothing_is_opened_before_the_first_call(polite: Any, call: Call) -> None:
    call(polite.url).run(asyncio.sleep(0))
    assert polite.connections == []


def test_one_connection_serves_one_call_after_the_other(polite: Any, call: Call) -> None:
    caller = call(polite.url)
    for operation in (READ, CREATE, UPDATE) * 5:
        assert isinstance(caller.perform(operation), Found)
    assert len(polite.connections) == 1


def test_calls_at_once_have_a_connection_each_and_later_ones_use_them_again(serve: Serve, call: Call) -> None:
    all_here = threading.Barrier(10)

    def handler(connection: Any) -> None:
        while connection.read_request():
            all_here.wait(LONG_S)
            connection.answer()

    server = serve(handler)
    caller = call(server.url)

    async def together() -> list[Reply]:
        return await asyncio.gather(*(caller.ask(READ) for _ in range(10)))

    for _ in range(3):
        assert all(isinstance(reply, Found) for reply in caller.run(together()))
    assert len(server.connections) == 10


def test_a_create_takes_no_connection_that_was_idle_for_long(
    polite: Any, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that closes it while the create is on its way would cost the person a settle window."""
    monkeypatch.setattr(connections, "FRESH_S", 0.0)
    caller = call(polite.url)
    for operation in (READ, UPDATE, CREATE):
        assert isinstance(caller.perform(operation), Found)
    polite.wait_for(lambda server: server.requests.count("POST") == 1)
    assert [b"POST" in received for received in polite.received] == [False, True]


def test_the_connection_that_a_create_did_not_take_serves_other_calls(
    polite: Any, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "FRESH_S", 0.0)
    caller = call(polite.url)

    async def story() -> None:
        await caller.ask(READ)
        await caller.ask(CREATE)
        await asyncio.gather(caller.ask(READ), caller.ask(UPDATE))

    caller.run(story())
    assert len(polite.connections) == 2


def test_a_connection_that_was_idle_for_too_long_is_closed(
    polite: Any, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "KEEPALIVE_S", 0.0)
    caller = call(polite.url)
    for _ in range(3):
        assert isinstance(caller.perform(READ), Found)
    assert len(polite.connections) == 3
    caller.run(asyncio.to_thread(polite.wait_ended, 2))


@pytest.mark.parametrize("headers", ["Connection: close\r\n", "Connection: Close, X\r\n"])
def test_a_connection_that_the_server_wants_closed_is_not_used_again(
    headers: str, serve: Serve, call: Call
) -> None:
    def handler(connection: Any) -> None:
        while connection.read_request():
            connection.answer(headers=headers)

    server = serve(handler)
    caller = call(server.url)
    for _ in range(2):
        assert isinstance(caller.perform(READ), Found)
    caller.run(asyncio.to_thread(server.wait_ended, 2))


def test_a_server_that_does_not_accept_is_waited_for_no_longer_than_for_an_answer(call: Call) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener, contextlib.ExitStack() as waiting:
        for _ in range(3):  # fill its queue
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(listener.getsockname())
        caller = call(f"http://127.0.0.1:{listener.getsockname()[1]}", http_timeout_s=0.3)

        reply = caller.perform(CREATE, before_send=never)

    assert isinstance(reply, NotSent)
    assert reply.problem.kind == "timeout"


def never() -> float:
    raise AssertionError("there was no connection, and yet a write was put on record")


def test_a_request_that_the_server_answers_unread_is_the_last_on_its_connection(
    serve: Serve, call: Call
) -> None:
    def handler(connection: Any) -> None:
        connection.read(1)
        connection.answer()
        connection.stop.wait(LONG_S)

    server = serve(handler)
    caller = call(server.url)
    assert isinstance(caller.perform(Update(CONTACT_ID, {"name": "x" * 10_000_000})), Found)
    assert isinstance(caller.perform(READ), Found)
    assert len(server.connections) == 2


def test_interim_answers_are_passed_over(serve: Serve, call: Call) -> None:
    def handler(connection: Any) -> None:
        while connection.read_request():
            connection.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
            connection.answer()

    server = serve(handler)
    caller = call(server.url)
    for _ in range(2):
        assert isinstance(caller.perform(READ), Found)
    assert len(server.connections) == 1


def test_an_idle_connection_is_probed_so_that_gateways_do_not_forget_it(polite: Any, call: Call) -> None:
    caller = call(polite.url)

    async def story() -> tuple[int, int]:
        taken = await connections.Connections(client._route(Settings(intercom_url=polite.url))).take()
        sock = taken._transport.get_extra_info("socket")
        probed = sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        after = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
        taken.close()
        return probed, after

    assert caller.run(story()) == (1, connections.PROBE_S)


def test_the_second_address_of_a_host_is_tried_when_the_first_refuses(
    polite: Any, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = int(polite.url.rpartition(":")[2])

    async def two_addresses(self: Any, *args: Any, **options: Any) -> list[Any]:
        kind = (socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        return [
            (socket.AF_INET6, *kind, ("::1", port, 0, 0)),
            (socket.AF_INET, *kind, ("127.0.0.1", port)),
        ]

    monkeypatch.setattr(asyncio.SelectorEventLoop, "getaddrinfo", two_addresses)
    assert isinstance(call(f"http://two.test:{port}").perform(READ), Found)
