"""Whose certificates the client believes, and by which proxy it goes: what it was told, and nothing else."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from typing import Any

import pytest
import trustme
from pydantic import ValidationError

from onelane_worker.planner.operations import Create, Found, NotSent, Read, Reply
from onelane_worker.settings import Settings, complaints

READ = Read("6a0f00000000000000000001")
HOST = "intercom.test"
CONTACT = b'{"type":"contact","id":"6a0f00000000000000000001","role":"user"}'

Serve = Callable[..., Any]
Call = Callable[..., Any]


def context(authority: trustme.CA, name: str) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(made)
    return made


def with_tls(of_server: ssl.SSLContext) -> Callable[[Any], None]:
    def handler(connection: Any) -> None:
        connection.secure(of_server)
        while connection.read_request():
            connection.answer()

    return handler


def secure(url: str) -> str:
    return url.replace("http://127.0.0.1", "https://localhost")


@pytest.fixture
def behind_a_private_authority(serve: Serve, authority: trustme.CA) -> str:
    return secure(serve(with_tls(context(authority, "localhost"))).url)


def test_a_private_authority_is_trusted_if_it_is_named(
    behind_a_private_authority: str, ca_file: str, call: Call
) -> None:
    assert isinstance(call(behind_a_private_authority, ca_file=ca_file).perform(READ), Found)


@pytest.mark.parametrize("variable", ["SSL_CERT_FILE", None])
def test_without_that_it_is_not_whatever_the_environment_says(
    variable: str | None,
    behind_a_private_authority: str,
    ca_file: str,
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if variable:
        monkeypatch.setenv(variable, ca_file)
    assert isinstance(call(behind_a_private_authority).perform(READ), NotSent)


def test_a_certificate_of_another_host_is_not_taken(
    serve: Serve, authority: trustme.CA, ca_file: str, call: Call
) -> None:
    url = secure(serve(with_tls(context(authority, HOST))).url)
    assert isinstance(call(url, ca_file=ca_file).perform(READ), NotSent)


class TestProxy:
    @pytest.fixture
    def tunnels(self, authority: trustme.CA) -> Callable[[Any], None]:
        """A proxy that opens a tunnel, and stands at its other end as well."""
        of_host = context(authority, HOST)

        def handler(connection: Any) -> None:
            connection.read_request()
            connection.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            with_tls(of_host)(connection)

        return handler

    def test_https_goes_through_a_tunnel_and_the_token_only_inside_it(
        self, serve: Serve, tunnels: Any, ca_file: str, call: Call
    ) -> None:
        server = serve(tunnels)
        proxy = server.url.replace("http://", "http://ann:s3cret@")
        assert isinstance(call(f"https://{HOST}", ca_file=ca_file, http_proxy=proxy).perform(READ), Found)
        connect, _, inside = server.received[0].partition(b"\r\n\r\n")
        assert connect.startswith(f"CONNECT {HOST}:443 ".encode())
        assert b"Proxy-Authorization: Basic YW5uOnMzY3JldA==" in connect
        assert b"Bearer" not in connect
        assert b"Bearer secret" in inside
        assert b"roxy-" not in inside

    def test_without_tls_the_proxy_reads_the_request_and_has_its_password_beside_it(
        self, polite: Any, call: Call
    ) -> None:
        proxy = polite.url.replace("http://", "http://ann:s3cret@")
        assert isinstance(call(f"http://{HOST}", http_proxy=proxy).perform(READ), Found)
        lines = polite.received[0].split(b"\r\n")
        assert lines[0] == f"GET http://{HOST}/contacts/{READ.contact_id} HTTP/1.1".encode()
        assert b"Proxy-Authorization: Basic YW5uOnMzY3JldA==" in lines
        assert b"Host: intercom.test" in lines

    def test_who_stands_at_the_other_end_must_have_a_certificate_that_is_trusted(
        self, serve: Serve, tunnels: Any, call: Call
    ) -> None:
        server = serve(tunnels)
        assert isinstance(call(f"https://{HOST}", http_proxy=server.url).perform(READ), NotSent)
        assert b"Bearer" not in server.received[0]

    def test_a_proxy_with_tls_is_checked_by_the_same_certificates(
        self, serve: Serve, authority: trustme.CA, ca_file: str, call: Call
    ) -> None:
        proxy = secure(serve(with_tls(context(authority, "localhost"))).url)
        believing = call(f"http://{HOST}", ca_file=ca_file, http_proxy=proxy)
        assert isinstance(believing.perform(READ), Found)
        assert isinstance(call(f"http://{HOST}", http_proxy=proxy).perform(READ), NotSent)

    def test_a_tunnel_may_lead_through_a_proxy_with_tls(
        self, authority: trustme.CA, ca_file: str, call: Call
    ) -> None:
        seen = []

        async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            seen.append((await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0])
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            await writer.start_tls(context(authority, HOST))
            seen.append((await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")[0])
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(CONTACT), CONTACT))
            await reader.read()
            writer.close()

        async def story() -> Reply:
            server = await asyncio.start_server(proxy, "localhost", 0, ssl=context(authority, "localhost"))
            port = server.sockets[0].getsockname()[1]
            caller = call(f"https://{HOST}", ca_file=ca_file, http_proxy=f"https://localhost:{port}")
            async with server:
                reply = await caller.ask(READ)
                await caller.client.aclose()
                await asyncio.sleep(0)
            return reply

        assert isinstance(asyncio.run(story()), Found)
        assert seen == [
            f"CONNECT {HOST}:443 HTTP/1.1".encode(),
            f"GET /contacts/{READ.contact_id} HTTP/1.1".encode(),
        ]

    @pytest.mark.parametrize("url", ["socks5://proxy:1080", "proxy:3128", "ftp://proxy"])
    def test_what_is_no_http_proxy_is_refused_at_the_door(self, url: str) -> None:
        with pytest.raises(ValidationError) as refused:
            Settings(http_proxy=url)
        assert complaints(refused.value) == ["ONELANE_HTTP_PROXY: must begin with http:// or https://"]

    @pytest.mark.parametrize("name", ["http_proxy", "intercom_url"])
    @pytest.mark.parametrize(
        "url",
        [
            "http://user:s3c/ret@proxy:8080",
            "http://user:s3c#ret@proxy:8080",
            "http://proxy:port",
            "http://[::1",
            "http://",
            "http://:8080",
            "http://a host:80",
            "http://-\u00e4..b:80",
        ],
    )
    def test_a_url_that_cannot_be_read_is_refused_at_the_door_and_not_shown(
        self, name: str, url: str
    ) -> None:
        with pytest.raises(ValidationError) as refused:
            Settings(**{name: url})
        [said] = complaints(refused.value)
        assert said.startswith(f"ONELANE_{name.upper()}: ")
        assert "s3c" not in said

    def test_its_password_is_shown_nowhere(self, refused_url: str, call: Call) -> None:
        proxy = refused_url.replace("http://", "http://ann:s3cret@")
        caller = call(f"https://{HOST}", http_proxy=proxy)
        reply = caller.perform(Create({"email": "ann@example.test"}))
        assert isinstance(reply, NotSent)
        assert "s3cret" not in f"{reply}{Settings(http_proxy=proxy)!r}"
