"""What the client promises when it goes wrong: what it holds back, when a call ends, which answer is none."""

from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Callable
from typing import Any

import pytest

from onelane_worker.intercom import client, connections
from onelane_worker.planner.operations import (
    Create,
    Found,
    NotSent,
    Read,
    Refused,
    Reply,
    Stopped,
    Unknown,
    Update,
)

CONTACT_ID = "6a0f00000000000000000001"
LONG_S = 30.0
SHORT_S = 0.5
CONTACT = b'{"type":"contact","id":"6a0f00000000000000000001","role":"user"}'
CREATE = Create({"role": "lead", "email": "ann@example.test"})
READ = Read(CONTACT_ID)

Serve = Callable[..., Any]
Call = Callable[..., Any]


def kind(reply: Reply) -> str:
    assert isinstance(reply, (NotSent, Unknown, Refused, Stopped))
    return reply.problem.kind


# ── held back ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_late_request_does_not_leave(silent: Any, call: Call) -> None:
    caller = call(silent.url)

    reply = caller.perform(CREATE, send_by=time.monotonic() - 0.001)

    assert isinstance(reply, NotSent)
    assert kind(reply) == "late"
    silent.wait_ended(1)
    assert silent.received == [b""]


def test_a_request_leaves_after_the_checkpoint_on_a_connection_that_is_there(way: Any) -> None:
    def handler(connection: Any) -> None:
        while connection.read_request():
            connection.answer()

    caller, server = way.to(handler)
    seen = []

    def checkpoint() -> float:
        server.wait_for(lambda s: len(s.connections) == 1)
        seen.append(server.requests.count("POST"))
        return time.monotonic() + LONG_S

    for _ in range(2):  # on a new connection and on a kept one
        assert isinstance(caller.perform(CREATE, send_by=0.0, before_send=checkpoint), Found)
    assert seen == [0, 1]
    assert server.requests.count("POST") == 2
    assert len(server.connections) == 1


def test_the_checkpoint_may_find_that_it_is_too_late(way: Any) -> None:
    def handler(connection: Any) -> None:
        while connection.read_request():
            connection.answer()

    caller, server = way.to(handler)
    assert kind(caller.perform(CREATE, before_send=lambda: 0.0)) == "late"
    assert isinstance(caller.perform(READ), Found)
    assert "POST" not in server.requests


def test_what_the_checkpoint_raises_holds_the_request_back(polite: Any, call: Call) -> None:
    caller = call(polite.url)

    def fenced() -> float:
        raise LookupError("fenced")

    with pytest.raises(LookupError, match="fenced"):
        caller.perform(CREATE, before_send=fenced)
    assert isinstance(caller.perform(READ), Found)
    assert polite.requests == ["GET"]
    assert len(polite.connections) == 1  # nothing was sent on it, so it is used


def test_a_clock_that_fails_holds_the_request_back(polite: Any, call: Call) -> None:
    caller = call(polite.url)

    def broken() -> int:
        raise RuntimeError("no clock")

    reply = caller.run(caller.client.perform(CREATE, now_ms=broken, send_by=time.monotonic() + LONG_S))
    assert isinstance(reply, NotSent)
    assert "POST" not in polite.requests


@pytest.mark.parametrize(
    "operation",
    [Read(""), Update(CONTACT_ID, {"name": float("nan")}), Update(CONTACT_ID, {"name": object()})],
)
def test_what_cannot_be_put_into_words_is_refused(operation: Any, silent: Any, call: Call) -> None:
    assert kind(call(silent.url).perform(operation)) == "unsendable"
    assert not silent.connections


# ── the end of a call ─────────────────────────────────────────────────────────────────────────────────────


def test_no_answer_is_unknown(silent: Any, call: Call) -> None:
    reply = call(silent.url, http_timeout_s=SHORT_S).perform(CREATE)
    assert isinstance(reply, Unknown)
    assert kind(reply) == "timeout"
    assert silent.received[0].startswith(b"POST /contacts ")


@pytest.mark.parametrize(
    "drip",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\nX-Slow: a", id="headers"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n{ ", id="body"),
    ],
)
def test_a_slow_drip_does_not_outlive_the_total_time(drip: bytes, serve: Serve, call: Call) -> None:
    def handler(connection: Any) -> None:
        connection.read_request()
        connection.drip(drip)

    reply = call(serve(handler).url, http_timeout_s=SHORT_S).perform(CREATE)
    assert kind(reply) == "timeout"
    assert isinstance(reply, Unknown)


def test_the_time_for_the_answer_begins_when_the_request_leaves(serve: Serve, call: Call) -> None:
    def handler(connection: Any) -> None:
        connection.read_request()
        connection.stop.wait(SHORT_S * 0.6)
        connection.answer()

    def slow_checkpoint() -> float:
        time.sleep(SHORT_S * 0.6)
        return time.monotonic() + LONG_S

    caller = call(serve(handler).url, http_timeout_s=SHORT_S)
    assert isinstance(caller.perform(CREATE, before_send=slow_checkpoint), Found)


def test_a_call_that_is_cancelled_closes_its_connection(silent: Any, call: Call) -> None:
    caller = call(silent.url)

    async def story() -> None:
        task = asyncio.create_task(caller.ask(CREATE))
        await asyncio.to_thread(silent.wait_for, lambda s: any(s.received))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(silent.wait_ended, 1)

    caller.run(story())


def test_a_call_that_is_cancelled_while_it_connects_leaves_nothing_behind(silent: Any, call: Call) -> None:
    caller = call(silent.url.replace("http:", "https:"))

    async def story() -> None:
        task = asyncio.create_task(caller.ask(CREATE))
        await asyncio.to_thread(silent.wait_for, lambda s: any(s.received))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.to_thread(silent.wait_ended, 1)

    caller.run(story())


def test_closing_ends_the_calls_in_flight_and_later_ones(silent: Any, call: Call) -> None:
    caller = call(silent.url)

    async def story() -> tuple[Reply, Reply]:
        sent = asyncio.create_task(caller.ask(CREATE))
        await asyncio.to_thread(silent.wait_for, lambda s: any(s.received))
        await caller.client.aclose()
        return await sent, await caller.ask(READ)

    sent, later = caller.run(story())
    assert isinstance(sent, Unknown)
    assert isinstance(later, NotSent)
    assert (kind(sent), kind(later)) == ("closed", "closed")
    assert len(silent.connections) == 1


# ── answers that are none ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"\x00\x01 nonsense\r\n\r\n", id="no HTTP"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", id="no gzip"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", id="two lengths"
        ),
        pytest.param(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n", id="another protocol"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"x" * connections.MAX_HEAD_BYTES, id="endless head"),
    ],
)
def test_a_broken_answer_is_unknown(answer: bytes, serve: Serve, call: Call) -> None:
    def handler(connection: Any) -> None:
        connection.read_request()
        connection.send(answer)
        connection.read()

    assert isinstance(call(serve(handler).url).perform(CREATE), Unknown)


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"id":null,"role":"user"}', b"[1]"])
def test_an_unreadable_200_is_unknown(body: bytes, serve: Serve, call: Call) -> None:
    def handler(connection: Any) -> None:
        connection.read_request()
        connection.answer(body)

    assert kind(call(serve(handler).url).perform(CREATE)) == "unreadable"


@pytest.mark.parametrize("length", [True, False])
def test_an_endless_answer_is_unknown(
    length: bool, serve: Serve, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_BODY_BYTES", 1000)

    def handler(connection: Any) -> None:
        connection.read_request()
        if length:
            connection.answer(CONTACT + b" " * 2000)
        else:
            connection.drip(b"HTTP/1.1 200 OK\r\n\r\n" + CONTACT + b" " * 2000)

    assert kind(call(serve(handler).url).perform(CREATE)) == "unreadable"


def test_an_answer_that_unfolds_without_end_is_unknown(
    serve: Serve, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "MAX_BODY_BYTES", 1000)

    def handler(connection: Any) -> None:
        connection.read_request()
        connection.answer(gzip.compress(CONTACT + b" " * 2000), headers="Content-Encoding: gzip\r\n")

    assert kind(call(serve(handler).url).perform(CREATE)) == "unreadable"


@pytest.mark.parametrize("status", ["403 Forbidden", "404 Not Found", "502 Bad Gateway"])
def test_a_page_of_something_in_between_may_hide_what_was_done(status: str, serve: Serve, call: Call) -> None:
    def handler(connection: Any) -> None:
        connection.read_request()
        connection.answer(b"<html>", status)

    reply = call("http://intercom.test", http_proxy=serve(handler).url).perform(CREATE)
    assert isinstance(reply, Unknown)
