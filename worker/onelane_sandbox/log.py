"""The request log: what arrived, what became of it, and whether it took effect."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, fields
from typing import Any

from onelane_sandbox.messages import JsonObject, Request

KEPT = 100_000


@dataclass(slots=True)
class Entry:
    """One request. It stands in the log from its arrival; the fields after `body` are filled in as it goes.

    `at` is its arrival (epoch seconds); `status` is null until an answer was sent, and stays null if none
    ever was; `committed` is true as soon as a write took effect or a read was evaluated.
    """

    n: int
    at: float
    method: str
    path: str
    query: dict[str, str]
    body: Any
    status: int | None = None
    duration_ms: float | None = None
    fault: str | None = None
    committed: bool = False


_NAMES = [field.name for field in fields(Entry)]


class RequestLog:
    """The last hundred thousand requests, numbered from 1."""

    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=KEPT)
        self._count = 0

    def arrived(self, request: Request, at: float) -> Entry:
        """A new entry."""
        self._count += 1
        entry = Entry(
            self._count, at, request.method, request.path, dict(request.query), request.parsed_body()
        )
        self._entries.append(entry)
        return entry

    def clear(self) -> None:
        """Forget the entries; numbering goes on."""
        self._entries.clear()

    def listing(self) -> list[JsonObject]:
        """All entries, oldest first."""
        return [{name: getattr(entry, name) for name in _NAMES} for entry in self._entries]
