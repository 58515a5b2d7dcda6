"""`python -m bench.stub PORT [LATENCY_MS]`: a light stub of Intercom's contacts API in a process of its own.

It keeps nothing but ids, answers after a fixed time, and costs little CPU, so that a benchmark measures its
client. With `POST /_log {"on": true}` it records when each request arrived; `GET /_log` returns and clears
the record."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

import msgspec

LATENCY_MS = 20.0
PAGES = {"type": "pages", "page": 1, "per_page": 50, "total_pages": 0}
NOBODY = msgspec.json.encode({"type": "list", "data": [], "total_count": 0, "pages": PAGES})
APP = {"type": "app", "id_code": "bench", "name": "bench"}
ME = msgspec.json.encode({"type": "admin", "id": "1", "email": "bench@example.test", "app": APP})


class Stub:
    """What all connections share."""

    def __init__(self, latency_ms: float) -> None:
        self.latency_s = latency_ms / 1000
        self.requests = 0
        self.log: list[tuple[float, str, bytes]] | None = None
        self._contacts: dict[str, dict[str, Any]] = {}

    def answer(self, method: str, path: str, body: bytes) -> bytes:
        self.requests += 1
        if self.log is not None:
            self.log.append((time.time(), f"{method} {path}", body))
        if path == "/contacts" and method == "POST":
            return self._write(f"{len(self._contacts) + 1:024x}", body)
        if path == "/contacts/search":
            return NOBODY
        if path.startswith("/contacts/"):
            return self._write(path[10:34], body)
        return ME

    def _write(self, contact_id: str, body: bytes) -> bytes:
        kept = self._contacts.setdefault(contact_id, {})
        if body:
            kept.update(msgspec.json.decode(body))
        return contact(contact_id, kept)

    def control(self, method: str, path: str, body: bytes) -> bytes:
        if method == "POST":
            self.log = [] if msgspec.json.decode(body)["on"] else None
            return b"{}"
        if path == "/_count":
            return b"%d" % self.requests
        log, self.log = self.log or [], []
        return msgspec.json.encode([(at, what, body.decode()) for at, what, body in log])


def contact(contact_id: str, sent: dict[str, Any]) -> bytes:
    """A contact as Intercom shows it, with what was written."""
    shown = {
        "type": "contact",
        "id": contact_id,
        "workspace_id": "bench",
        "external_id": sent.get("external_id"),
        "role": sent.get("role", "user"),
        "email": sent.get("email"),
        "name": sent.get("name"),
        "phone": sent.get("phone"),
        "avatar": None,
        "owner_id": None,
        "signed_up_at": sent.get("signed_up_at"),
        "last_seen_at": None,
        "unsubscribed_from_emails": False,
        "created_at": 1_760_000_000,
        "updated_at": 1_760_000_000,
        "custom_attributes": sent.get("custom_attributes", {}),
        "tags": {"type": "list", "data": [], "url": "/tags", "total_count": 0, "has_more": False},
    }
    return msgspec.json.encode(shown)


class Connection(asyncio.Protocol):
    """HTTP/1.1, one request at a time, kept alive."""

    def __init__(self, stub: Stub) -> None:
        self._stub = stub
        self._buffer = b""
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end]
            at = head.lower().find(b"content-length:")
            length = int(head[at + 15 : (head + b"\r\n").find(b"\r\n", at)]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            body, self._buffer = self._buffer[end + 4 : end + 4 + length], self._buffer[end + 4 + length :]
            method, path, _ = (
                head[: head.find(b"\r\n") if b"\r\n" in head else len(head)].decode().split(" ", 2)
            )
            if path.startswith("/_"):
                self._send(self._stub.control(method, path, body))
            else:
                answer = self._stub.answer(method, path.partition("?")[0], body)
                self._loop.call_later(self._stub.latency_s, self._send, answer)

    def _send(self, body: bytes) -> None:
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json; charset=utf-8\r\n"
            b"X-RateLimit-Limit: 10000\r\nX-RateLimit-Remaining: 9999\r\nContent-Length: %d\r\n\r\n%b"
            % (len(body), body)
        )


async def serve(port: int, latency_ms: float) -> None:
    stub = Stub(latency_ms)
    server = await asyncio.get_running_loop().create_server(lambda: Connection(stub), "127.0.0.1", port)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2]) if len(sys.argv) > 2 else LATENCY_MS))
