"""A Redis that refuses: stands before a real one and answers what it is told to with an error.

with RefusingRedis("127.0.0.1", 6379) as redis:
    worker(url=f"redis://127.0.0.1:{redis.port}/0")
    redis.refuse("OOM command not allowed when used memory > 'maxmemory'.")
    redis.accept()
"""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import BinaryIO, Self

HANDSHAKE = {b"HELLO", b"AUTH", b"CLIENT", b"INFO", b"QUIT"}
READS = HANDSHAKE | set(
    b"PING SELECT CONFIG COMMAND TIME ROLE GET MGET HGET HMGET HGETALL HLEN HEXISTS LLEN LRANGE LINDEX "
    b"ZSCORE ZRANGE ZRANGEBYSCORE ZREVRANGEBYSCORE ZCARD SMEMBERS SISMEMBER SCARD EXISTS TTL PTTL TYPE SCAN "
    b"SSCAN HSCAN ZSCAN SUBSCRIBE PSUBSCRIBE UNSUBSCRIBE PUNSUBSCRIBE PUBLISH MULTI EXEC DISCARD WATCH "
    b"UNWATCH SCRIPT".split()
)
NEVER_MORE_MEMORY = set(b"BRPOP RPOP LPOP ZREM HDEL DEL UNLINK LREM SREM EXPIRE".split())
"""Writes that Redis allows also when it is out of memory."""


class RefusingRedis:
    """Listens on a free port of this machine. Every method may be called from any thread."""

    def __init__(self, host: str, port: int) -> None:
        self._upstream = host, port
        self._server = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._error = b""
        self._allowed: set[bytes] = set()
        self.refused = 0
        """Commands refused since the last `refuse`."""

    @property
    def port(self) -> int:
        """Where to connect to."""
        port: int = self._server.getsockname()[1]
        return port

    def refuse(self, error: str, *, reads: bool = False) -> None:
        """Answer writes, or with `reads` everything but the handshake, with this error."""
        self._allowed = HANDSHAKE if reads else READS
        if error.startswith("OOM"):
            self._allowed = READS | NEVER_MORE_MEMORY
        if reads and not error.startswith("LOADING"):
            self._allowed = HANDSHAKE - {b"INFO"}
        self.refused = 0
        self._error = f"-{error}\r\n".encode()

    def accept(self) -> None:
        """Refuse nothing any more."""
        self._error = b""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:  # stopped
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with (
            contextlib.suppress(OSError, EOFError),
            client,
            socket.create_connection(self._upstream) as server,
        ):
            asked, answers = client.makefile("rb"), server.makefile("rb")
            in_transaction = broken = False
            while True:
                raw, name = _command(asked)
                if self._error and name not in self._allowed:
                    self.refused += 1
                    broken = in_transaction
                    client.sendall(self._error)
                    continue
                if name == b"EXEC" and broken:
                    server.sendall(b"*1\r\n$7\r\nDISCARD\r\n")
                    _reply(answers)
                    client.sendall(b"-EXECABORT Transaction discarded because of previous errors.\r\n")
                    in_transaction = broken = False
                    continue
                if name in (b"MULTI", b"EXEC", b"DISCARD"):
                    in_transaction, broken = name == b"MULTI", False
                server.sendall(raw)
                if name in (b"SUBSCRIBE", b"PSUBSCRIBE"):  # from here on anybody may speak at any time
                    threading.Thread(target=_pump, args=(server, client), daemon=True).start()
                    _pump(client, server)
                    return
                client.sendall(_reply(answers))


def _line(stream: BinaryIO) -> bytes:
    line = stream.readline()
    if not line:
        raise EOFError
    return line


def _command(stream: BinaryIO) -> tuple[bytes, bytes]:
    """One command as it came, and its name."""
    raw = _line(stream)
    words = []
    for _ in range(int(raw[1:])):
        head = _line(stream)
        word = stream.read(int(head[1:]) + 2)
        words.append(word[:-2])
        raw += head + word
    return raw, words[0].upper()


def _reply(stream: BinaryIO) -> bytes:
    """One reply, whole."""
    raw = _line(stream)
    kind, rest = raw[:1], raw[1:-2]
    if kind in b"$=!" and rest != b"-1":
        return raw + stream.read(int(rest) + 2)
    if kind in b"*~%>" and rest != b"-1":
        return raw + b"".join(_reply(stream) for _ in range(int(rest) * (2 if kind == b"%" else 1)))
    return raw


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while chunk := source.recv(65536):
            target.sendall(chunk)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)
