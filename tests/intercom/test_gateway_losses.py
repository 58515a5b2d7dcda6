"""What the gateway promises when it goes wrong: what was provably not sent, what is unknown, when it ends."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from onelane_worker.intercom import gateway as module
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
CREATE = Create({"role": "lead", "email": "ann@example.test"})
READ = Read(CONTACT_ID)

Serve = Callable[..., Any]
Call = Callable[..., Any]


def kind(reply: Reply) -> str:
    assert isinstance(reply, (NotSent, Unknown, Refused, Stopped))
    return reply.problem.kind


# ── not sent ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_refused_connection_is_not_sent(refused_url: str, call: Call) -> None:
    reply = call(refused_url).perform(CREATE)
    assert isinstance(reply, NotSent)
    assert kind(reply) == "network"


def test_an_impossible_host_is_not_sent(call: Call) -> None:
    assert isinstance(call("http://no-such-host.invalid").perform(CREATE), NotSent)


def test_a_tls_handshake_that_fails_is_not_sent(serve: Serve, call: Call) -> None:
    def handler(connection: Any) -> None:
        connection.read()
        connection.answer()  # no TLS at all

    url = serve(handler).url.replace("http:", "https:")
    assert isinstance(call(url).perform(CREATE), NotSent)


def test_a_tls_handshake_that_never_ends_is_not_sent(silent: Any, call: Call) -> None:
    url = silent.url.replace("http:", "https:")
    reply = call(url, http_timeout_s=SHORT_S).perform(CREATE)
    assert isinstance(reply, NotSent)
    assert kind(reply) == "timeout"


def test_a_full_pool_is_not_sent(silent: Any, call: Call, soon: Callable[[], float]) -> None:
    caller = call(silent.url, connections=1)
    holding = caller.start(READ)
    silent.wait_for(lambda s: any(s.received))

    reply = caller.perform(CREATE, deadline=soon())

    assert isinstance(reply, NotSent)
    assert not holding.done()
    assert b"POST" not in silent.received[0]


def test_a_late_request_does_not_leave(silent: Any, call: Call) -> None:
    caller = call(silent.url)

    reply = caller.perform(CREATE, send_by=time.monotonic() - 0.001)

    assert isinstance(reply, NotSent)
    assert kind(reply) == "late"
    caller.gateway.close()
    silent.wait_ended(1)
    assert silent.received == [b""]


def test_a_call_past_its_deadline_is_not_even_begun(silent: Any, call: Call) -> None:
    assert isinstance(call(silent.url).perform(CREATE, deadline=time.monotonic() - 1), NotSent)
    assert not any(silent.received)


@pytest.mark.parametrize("operation", [Read(""), Update(CONTACT_ID, {"name": float("nan")})])
def test_what_cannot_be_put_into_words_is_refused(operation: Any, silent: Any, call: Call) -> None:
    assert kind(call(silent.url).perform(operation)) == "unsendable"
    assert not any(silent.received)


# ── a word before the send ─────────────────────────────────────────────────────────────────────────────────


def test_before_send_runs_here_while_a_connection_waits(polite: Any, call: Call) -> None:
    seen: list[Any] = []

    def before_send() -> float:
        polite.wait_for(lambda s: len(s.connections) == 1)
        seen.extend([threading.current_thread(), polite.received])
        return time.monotonic() + LONG_S

    assert isinstance(call(polite.url).perform(CREATE, before_send=before_send), Found)
    assert seen == [threading.current_thread(), [b""]]


def test_before_send_may_find_that_it_is_too_late(silent: Any, call: Call) -> None:
    caller = call(silent.url)
    reply = caller.perform(CREATE, send_by=time.monotonic() + LONG_S, before_send=lambda: 0.0)
    assert kind(reply) == "late"
    caller.gateway.close()
    silent.wait_ended(1)
    assert silent.received == [b""]


def test_what_before_send_raises_keeps_the_request_back(silent: Any, call: Call) -> None:
    caller = call(silent.url)

    def fenced() -> float:
        raise LookupError("fenced")

    with pytest.raises(LookupError, match="fenced"):
        caller.perform(CREATE, before_send=fenced)
    silent.wait_ended(1)  # the connection is given up at once, not at close
    assert silent.received == [b""]


def test_before_send_is_not_called_without_a_connection(refused_url: str, call: Call) -> None:
    def never() -> float:
        raise AssertionError

    assert isinstance(call(refused_url).perform(CREATE, before_send=never), NotSent)


def test_a_call_that_ends_during_before_send_is_not_sent(silent: Any, call: Call, soon: Any) -> None:
    caller = call(silent.url)

    def slow() -> float:
        silent.wait_ended(1)  # the gateway gave up and closed the connection
        return time.monotonic() + LONG_S

    assert kind(caller.perform(CREATE, deadline=soon(), before_send=slow)) == "timeout"
    assert silent.received == [b""]


# ── unknown ────────────────────────────────────────────────────────────────────────────────────────────────


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
def test_a_slow_drip_does_not_outlive_the_total_deadline(drip: bytes, serve: Serve, call: Call) -> None:
    def handler(connection: Any) -> None:
        connection.read_request()
        connection.drip(drip)

    started = time.monotonic()
    reply = call(serve(handler).url, http_timeout_s=SHORT_S).perform(CREATE)
    assert kind(reply) == "timeout"
    assert isinstance(reply, Unknown)
    assert time.monotonic() - started < LONG_S


def test_the_callers_deadline_ends_a_call_too(silent: Any, call: Call, soon: Callable[[], float]) -> None:
    assert isinstance(call(silent.url).perform(CREATE, deadline=soon()), Unknown)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Le", id="half a header"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", id="half a body"),
        pytest.param(b"\x00\x01 nonsense\r\n\r\n", id="no HTTP"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", id="no gzip"
        ),
    ],
)
def test_a_broken_answer_is_unknown(answer: bytes, serve: Serve, call: Call) -> None:
    def handler(connection: Any) -> None:
        connection.read_request()
        connection.send(answer)

    assert isinstance(call(serve(handler).url).perform(CREATE), Unknown)


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b'{"id":null,"role":"user"}', b"[1]"])
def test_an_unreadable_200_is_unknown(body: bytes, serve: Serve, call: Call) -> None:
    def handler(connection: Any) -> None:
        connection.read_request()
        connection.answer(body)

    assert kind(call(serve(handler).url).perform(CREATE)) == "unreadable"


def test_an_endless_answer_is_unknown(serve: Serve, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BODY_BYTES", 1000)

    def handler(connection: Any) -> None:
        connection.read_request()
        connection.answer(gzip.compress(b" " * 2000), headers="Content-Encoding: gzip\r\n")

    assert kind(call(serve(handler).url).perform(CREATE)) == "unreadable"


def test_close_ends_the_calls_in_flight(silent: Any, call: Call) -> None:
    caller = call(silent.url, connections=1)
    sent = caller.start(CREATE)
    silent.wait_for(lambda s: any(s.received))
    waiting = caller.start(READ)

    caller.gateway.close()

    reply = sent.result(LONG_S)
    assert isinstance(reply, Unknown)
    assert kind(reply) == "closed"
    # Whether the second call had reached the gateway before it closed or began anew after it, it has an end.
    silent.close()
    assert isinstance(waiting.result(LONG_S), (NotSent, Unknown))
