"""Record, then send: what the gateway needs of httpx to keep that order, and what it does if it changes.

Over real sockets: the word before the send is asked for when a connection stands and nothing of the request
has left, by whatever way it goes; and whatever is not known to precede the send is taken for it.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpcore
import pytest
import trustme

from onelane_worker.intercom import gateway as module
from onelane_worker.planner.operations import Create, Found, NotSent, Read, Unknown

CONTACT_ID = "6a0f00000000000000000001"
LONG_S = 30.0
CREATE = Create({"role": "lead", "email": "ann@example.test"})
READ = Read(CONTACT_ID)
HOST = "intercom.test"

Serve = Callable[..., Any]
Call = Callable[..., Any]


@pytest.fixture
def authority(monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """A private authority that httpx trusts."""
    authority = trustme.CA()
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    monkeypatch.setattr("httpx._transports.default.create_ssl_context", lambda **_: trusting)
    return authority


def tunnel_to_ourselves(authority: trustme.CA) -> Callable[[Any], None]:
    """A proxy that opens every tunnel and is also what stands at its other end, with TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(context)

    def handler(connection: Any) -> None:
        connection.read_request()
        connection.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with context.wrap_socket(connection.socket, server_side=True) as connection.socket:
            while connection.read_request():
                connection.answer()

    return handler


def requests_of(server: Any) -> list[bytes]:
    """The first words of everything that has reached the server."""
    lines = (one.splitlines() for one in server.received)
    return [line.split(b" ")[0] for one in lines for line in one if line.endswith(b" HTTP/1.1")]


class TestTheOrder:
    """By every way that a request can go: one word, and nothing of the request has left before it."""

    @pytest.fixture(params=["directly", "by a proxy", "by a proxy's tunnel"])
    def way(self, request: Any, serve: Serve, polite: Any, call: Call, authority: Any) -> Iterator[Any]:
        if request.param == "directly":
            yield call(polite.url), polite
        elif request.param == "by a proxy":
            yield call("http://intercom.test", http_proxy=polite.url), polite
        else:
            server = serve(tunnel_to_ourselves(authority))
            yield call(f"https://{HOST}", http_proxy=server.url), server

    def test_on_a_new_connection(self, way: Any) -> None:
        caller, server = way
        seen = []

        def before_send() -> float:
            seen.append(b"POST" in requests_of(server))
            return time.monotonic() + LONG_S

        assert isinstance(caller.perform(CREATE, before_send=before_send), Found)
        assert seen == [False]
        assert requests_of(server).count(b"POST") == 1

    def test_on_a_connection_that_is_used_again(self, way: Any) -> None:
        caller, server = way
        assert isinstance(caller.perform(READ), Found)
        seen = []

        def before_send() -> float:
            seen.append(b"POST" in requests_of(server))
            return time.monotonic() + LONG_S

        assert isinstance(caller.perform(CREATE, before_send=before_send), Found)
        assert (seen, len(server.connections)) == ([False], 1)

    def test_what_the_word_refuses_does_not_leave(self, way: Any) -> None:
        caller, server = way
        assert isinstance(caller.perform(CREATE, before_send=lambda: 0.0), NotSent)
        assert isinstance(caller.perform(READ), Found)
        assert b"POST" not in requests_of(server)


def test_a_connection_that_the_server_closed_while_idle_is_replaced_before_the_word(
    serve: Serve, call: Call
) -> None:
    def handler(connection: Any) -> None:
        connection.read_request()
        connection.answer()  # and close, without having said so

    server = serve(handler)
    caller = call(server.url)
    assert isinstance(caller.perform(READ), Found)
    server.wait_ended(1)
    words = []

    def before_send() -> float:
        words.append(len(server.connections))
        return time.monotonic() + LONG_S

    assert isinstance(caller.perform(CREATE, before_send=before_send), Found)
    assert (len(words), len(server.connections)) == (1, 2)


class TestBehindAProxy:
    @pytest.mark.parametrize(
        "refusal", ["403 Forbidden", "407 Proxy Authentication Required", "502 Bad Gateway"]
    )
    def test_a_tunnel_that_is_refused_is_not_sent(self, refusal: str, serve: Serve, call: Call) -> None:
        def handler(connection: Any) -> None:
            connection.read_request()
            connection.answer(b"<html>", refusal)

        caller = call(f"https://{HOST}", http_proxy=serve(handler).url)
        assert isinstance(caller.perform(CREATE, before_send=_never), NotSent)

    def test_a_tunnel_that_ends_before_tls_stands_is_not_sent(self, serve: Serve, call: Call) -> None:
        def handler(connection: Any) -> None:
            connection.read_request()
            connection.send(b"HTTP/1.1 200 OK\r\n\r\n")
            connection.read()

        caller = call(f"https://{HOST}", http_proxy=serve(handler).url)
        assert isinstance(caller.perform(CREATE, before_send=_never), NotSent)

    def test_a_proxy_that_is_away_is_not_sent(self, refused_url: str, call: Call) -> None:
        for url in (f"https://{HOST}", f"http://{HOST}"):
            caller = call(url, http_proxy=refused_url)
            assert isinstance(caller.perform(CREATE, before_send=_never), NotSent)

    def test_a_page_of_the_proxy_may_hide_what_was_done(self, serve: Serve, call: Call) -> None:
        def handler(connection: Any) -> None:
            connection.read_request()
            connection.answer(b"<html>", "403 Forbidden")

        reply = call(f"http://{HOST}", http_proxy=serve(handler).url).perform(CREATE)
        assert isinstance(reply, Unknown)
        assert reply.problem.kind == "not_from_intercom"


def _never() -> float:
    raise AssertionError("nothing could be sent, and yet a write was put on record")


class TestOtherLibraries:
    """httpcore's events by other names, or without any of some sort."""

    @pytest.fixture
    def renamed(self, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, str | None]], None]:
        """Gives events other names; those named None are not told."""
        told = httpcore._trace.Trace.atrace

        def rename(names: dict[str, str | None]) -> None:
            async def atrace(self: Any, name: str, info: dict[str, Any]) -> None:
                step, _, end = name.rpartition(".")
                new = names.get(step, names.get("every", step))
                if new is not None:
                    await told(self, f"{new}.{end}", info)

            monkeypatch.setattr(httpcore._trace.Trace, "atrace", atrace)

        return rename

    @pytest.mark.parametrize(
        "names",
        [
            {"send_request_headers": "request_headers_sent"},
            {"send_request_headers": None},
            {"send_request_headers": None, "send_request_body": "out"},
            {"connect_tcp": "dial", "start_tls": "secure"},
            {"every": "something"},
        ],
        ids=str,
    )
    def test_a_write_still_waits_for_the_word(
        self, names: Any, renamed: Any, polite: Any, call: Call
    ) -> None:
        """A step that is not known is taken for the send, also if it comes before it."""
        renamed(names)
        words = []

        def before_send() -> float:
            words.append(polite.received)
            return time.monotonic() + LONG_S

        call(polite.url).perform(CREATE, before_send=before_send)
        assert len(words) == 1
        assert not any(b'"email"' in one for one in words[0])  # without its body it cannot be done

    def test_a_failure_after_the_connection_counts_as_sent_if_no_send_is_ever_told(
        self, renamed: Any, silent: Any, call: Call
    ) -> None:
        renamed({"every": None, "connect_tcp": "connect_tcp"})
        assert isinstance(call(silent.url, http_timeout_s=0.5).perform(CREATE), Unknown)

    def test_it_does_so_if_nothing_at_all_is_told(self, renamed: Any, silent: Any, call: Call) -> None:
        renamed({"every": None})
        assert isinstance(call(silent.url, http_timeout_s=0.5).perform(CREATE), Unknown)

    def test_an_answer_without_a_send_is_an_error_and_nothing_is_written_after_it(
        self, renamed: Any, polite: Any, call: Call, caplog: pytest.LogCaptureFixture
    ) -> None:
        renamed({"every": None})
        caller = call(polite.url)

        reply = caller.perform(READ)
        refused = caller.perform(CREATE, before_send=_never)

        assert isinstance(reply, Unknown)
        assert isinstance(refused, NotSent)
        assert (reply.problem.kind, refused.problem.kind) == ("send_unseen", "send_unseen")
        assert "does not tell when a request leaves" in caplog.text
        assert b"POST" not in requests_of(polite)


def test_the_steps_before_a_send_are_told_by_the_names_that_are_known(
    polite: Any, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a write is put on record too early, and what has not left counts as sent: safe, but slow."""
    told = []
    original = module.Call.leaves_at

    def leaves_at(self: Any, event: str, info: Any) -> bool:
        leaves = original(self, event, info)
        told.append((event, leaves))
        return leaves

    monkeypatch.setattr(module.Call, "leaves_at", leaves_at)
    call(polite.url).perform(CREATE)
    assert [event for event, leaves in told if leaves] == ["http11.send_request_headers.started"]
    assert told[0] == ("connection.connect_tcp.started", False)
