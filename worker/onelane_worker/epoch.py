"""Epochs: has Redis lost a moment?

A restart or a failover may roll Redis back by a second: accepted intents, but also journals and fences.
Every new connection looks which server it has reached; another one than on record begins a new epoch. In a
new epoch facts from before are not believed, and nobody is created without a unique key until a search has
proved, a settle window later, that there is nobody.
"""

from __future__ import annotations

import threading
from typing import Any

from redis import Redis

from onelane import keyspace
from onelane_worker.lanes.scripts import Scripts


class Epochs:
    """Watches one process's connections. Give `on_connect` to the client as its `redis_connect_func`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._server: str | None = None
        self._recorded: str | None = None
        self._since_ms = 0

    def on_connect(self, connection: Any) -> None:
        """Log in as usual, then ask the server who it is. Raises redis-py's errors.

        A connection is not checked while it is being opened: redis-py opens one whose check fails anew, which
        comes back here, and a server that accepts and hangs up would end in a RecursionError.
        """
        connection.next_health_check = float("inf")  # redis-py sets it again with every answer
        connection.on_connect()
        connection.send_command("INFO", "server")
        run_id = _field(connection.read_response(), "run_id")
        connection.send_command("INFO", "replication")
        history = _field(connection.read_response(), "master_replid")
        with self._lock:
            self._server = f"{run_id} {history}"

    def since_ms(self, redis: Redis) -> int | None:
        """When the present epoch began, Redis clock; None if there has been one server only.

        One more call to Redis after a new server was met, none otherwise.
        """
        with self._lock:
            server = self._server
        if server is not None and server != self._recorded:
            [since] = Scripts(redis).run("epoch", [keyspace.EPOCH], [server])
            with self._lock:
                self._recorded, self._since_ms = server, int(since)
        return self._since_ms or None


def _field(info: bytes | str, name: str) -> str:
    text = info.decode() if isinstance(info, bytes) else info
    for line in text.splitlines():
        if line.startswith(f"{name}:"):
            return line.partition(":")[2].strip()
    return ""
