"""The client when all goes well: what it sends, what it makes of an answer, what it leaves alone."""

from __future__ import annotations

import gzip
import logging
import zlib
from collections.abc import Callable
from typing import Any

import pytest
import time_machine

from onelane_worker.planner.operations import (
    Create,
    FindByExternalId,
    Found,
    Read,
    Stopped,
    Throttled,
)

CONTACT_ID = "6a0f00000000000000000001"
CONTACT = b'{"type":"contact","id":"6a0f00000000000000000001","role":"user"}'
CREATE = Create({"role": "lead", "email": "ann@example.test"})
READ = Read(CONTACT_ID)

Serve = Callable[..., Any]
Call = Callable[..., Any]


def test_an_answer_becomes_facts_aged_from_the_send(polite: Any, call: Call) -> None:
    caller = call(polite.url)
    caller.now_ms = 1_234_567

    reply = caller.perform(READ)

    assert isinstance(reply, Found)
    assert (reply.facts.id, reply.facts.as_of_ms, reply.facts.source) == (CONTACT_ID, 1_234_567, "read")


def test_a_request_carries_token_version_and_our_name(polite: Any, call: Call) -> None:
    call(polite.url, intercom_version="2.16").perform(CREATE)

    head, _, body = polite.received[0].partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    assert first == "POST /contacts HTTP/1.1"
    assert body == b'{"role":"lead","email":"ann@example.test"}'
    assert headers["authorization"] == "bearer secret"
    assert headers["accept"] == headers["content-type"] == "application/json"
    assert headers["intercom-version"] == "2.16"
    assert headers["user-agent"].startswith("onelane/")


def test_cookies_are_given_back(serve: Serve, call: Call) -> None:
    def handler(connection: Any) -> None:
        while connection.read_request():
            connection.answer(headers="Set-Cookie: recent_write=1; Path=/\r\n")

    server = serve(handler)
    caller = call(server.url)
    caller.perform(CREATE)
    assert b"recent_write=1" not in server.received[0]
    caller.perform(READ)
    assert b"cookie: recent_write=1" in server.received[0].lower()


def test_a_cookie_that_has_expired_is_forgotten(serve: Serve, call: Call) -> None:
    def handler(connection: Any) -> None:
        cookie = "Set-Cookie: recent_write=1; Max-Age=1; Path=/\r\n"
        while connection.read_request():
            connection.answer(headers="" if b"ookie:" in connection.received else cookie)

    server = serve(handler)
    caller = call(server.url)
    with time_machine.travel(0, tick=False) as now:
        caller.perform(CREATE)
        caller.perform(READ)
        now.shift(2)
        caller.perform(READ)
    assert server.received[0].lower().count(b"cookie: recent_write=1") == 1
    assert not caller.client._cookies


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_compressed_answer_is_unpacked(coding: str, serve: Serve, call: Call) -> None:
    pack = {"gzip": gzip.compress, "deflate": zlib.compress}[coding]

    def handler(connection: Any) -> None:
        connection.read_request()
        connection.answer(pack(CONTACT), headers=f"Content-Encoding: {coding}\r\n")

    server = serve(handler)
    assert isinstance(call(server.url).perform(READ), Found)
    assert coding in server.received[0].decode().lower()


def test_the_url_may_have_a_path(polite: Any, call: Call) -> None:
    call(polite.url + "/intercom/").perform(READ)
    assert polite.received[0].startswith(b"GET /intercom/contacts/")


def test_proxies_of_the_environment_are_not_used(
    refused_url: str, polite: Any, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "ALL_PROXY", "http_proxy", "all_proxy"):
        monkeypatch.setenv(name, refused_url)
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert isinstance(call(polite.url).perform(READ), Found)


def test_urls_are_not_logged(polite: Any, call: Call, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    call(polite.url).perform(FindByExternalId("ann@example.test"))
    assert "example.test" not in caplog.text


@pytest.mark.parametrize(
    "status", ["301 Moved", "302 Found", "307 Temporary Redirect", "308 Permanent Redirect"]
)
def test_a_redirect_is_not_followed(status: str, serve: Serve, call: Call) -> None:
    def handler(connection: Any) -> None:
        while connection.read_request():
            connection.answer(b"", status, "Location: /elsewhere\r\n")

    server = serve(handler)
    reply = call(server.url).perform(CREATE)
    assert isinstance(reply, Stopped)
    assert server.received[0].count(b"HTTP/1.1") == 1


def test_a_429_is_measured_by_the_answers_own_clock(serve: Serve, call: Call) -> None:
    def handler(connection: Any) -> None:
        connection.read_request()
        when = "Date: Thu, 01 Jan 2026 00:00:00 GMT\r\nX-RateLimit-Reset: 1767225607\r\n"
        connection.answer(b"{}", "429 Too Many Requests", when)

    reply = call(serve(handler).url).perform(READ)
    assert isinstance(reply, Throttled)
    assert reply.retry_in_s == 7
