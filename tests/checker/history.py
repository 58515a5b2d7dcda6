"""What the checker reads: accepted receipts, the sandbox's request log, and what a test owns up to.

Nothing of the worker and nothing of the SDK is imported here or anywhere beside: a judge who shares the
accused's code shares its mistakes.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from math import inf
from typing import Any

import idna

Json = Mapping[str, Any]


def normal(email: str) -> str:
    """The one spelling of an address: stripped, NFC, lower case, domain in ASCII."""
    text = unicodedata.normalize("NFC", email.strip()).lower()
    local, _, domain = text.rpartition("@")
    if domain.isascii():
        return f"{local}@{domain}"
    return f"{local}@{idna.encode(domain, uts46=True).decode('ascii')}"


@dataclass(frozen=True, slots=True)
class Accepted:
    """One accepted intent, and what became of it."""

    id: str
    kind: str
    email: str
    intent: Json
    rank: int
    """Its place among the intents of its address. Two with one rank were accepted at the same moment."""
    at: float = 0.0
    """When it was accepted (epoch seconds)."""
    outcome: Json | None = None
    """As the SDK reported it; None: it never ended."""
    ended: float | None = None
    """When it ended (epoch seconds), if the test knows: with it the rule on versions judges more."""

    @property
    def address(self) -> str:
        return normal(self.email)

    @property
    def external_id(self) -> str | None:
        return self.intent.get("external_id")

    @property
    def result(self) -> str | None:
        return None if self.outcome is None else self.outcome.get("result")

    @property
    def acted(self) -> float:
        """When the person acted: `occurred_at`, but never later than the acceptance; to the millisecond."""
        told = self.intent.get("occurred_at")
        if told is None:
            return round(self.at, 3)
        moment = datetime.fromisoformat(told) if isinstance(told, str) else told
        return round(min(moment.timestamp(), self.at), 3)

    def __str__(self) -> str:
        return f"{self.kind} {self.id[:8]} (rank {self.rank}, {self.result or 'no outcome'})"


@dataclass(frozen=True, slots=True)
class Request:
    """One line of the request log."""

    n: int
    at: float
    method: str
    path: str
    query: Json
    body: Any
    status: int | None
    duration_ms: float | None
    fault: str | None
    committed: bool

    @classmethod
    def of(cls, line: Json) -> Request:
        """From the log's JSON."""
        known: dict[str, Any] = {name: line.get(name) for name in cls.__slots__}
        return cls(**known)

    @property
    def end(self) -> float:
        """When it left the server: answered, or executed without an answer. Endless if it never did."""
        return inf if self.duration_ms is None else self.at + self.duration_ms / 1000

    @property
    def words(self) -> list[str]:
        """The path without its first slash, in parts."""
        return self.path.strip("/").split("/")

    @property
    def is_write(self) -> bool:
        """Whether it may change a contact."""
        return self.method != "GET" and self.words[0] == "contacts" and self.words[-1] != "search"

    @property
    def creates(self) -> bool:
        return self.method == "POST" and self.words == ["contacts"]

    def __str__(self) -> str:
        status = self.status if self.status is not None else "no answer"
        fault = f" [{self.fault}]" if self.fault else ""
        return f"#{self.n} {self.method} {self.path} → {status}{fault} at {self.at:.3f}+{self.duration_ms} ms"


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time (epoch seconds)."""

    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Declared:
    """What a test did itself, so that it is not held against the worker, and the settings that matter."""

    poison: frozenset[str] = frozenset()
    """Ids of intents that must end as dead letters; no other may."""
    foreign_contacts: frozenset[str] = frozenset()
    """Ids of contacts that somebody else made beside ours."""
    foreign_requests: frozenset[int] = frozenset()
    """Numbers of requests that somebody else made."""
    frozen: tuple[Span, ...] = ()
    """Times during which a worker was stopped with SIGSTOP: one late write per thread is documented."""
    frozen_slack_s: float = 0.5
    """How long after it woke a late write may take to arrive."""
    commit_window_s: float = inf
    """HTTP_TIMEOUT_S + WRITE_TAIL_S: a write that commits later than this after its arrival breaks what we
    were told of Intercom, and what follows from it is counted apart."""
    rollbacks: tuple[Span, ...] = ()
    """Moments that Redis lost (`appendfsync everysec`): from the oldest lost write to the server's return."""
    rollback_slack_s: float = 30.0
    """How long after its return the lost moment may show: intents whose end was lost are applied again."""
    newsletter_types: tuple[str, ...] = ()
    """NEWSLETTER_SUBSCRIPTION_TYPES."""
    type_kinds: Mapping[str, str] = field(default_factory=lambda: {"101": "opt_out", "102": "opt_in"})
    """Subscription type id → opt_out or opt_in."""
