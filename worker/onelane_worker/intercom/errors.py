"""Intercom's error answers, read without trusting their shape.

The published envelope is `{"type": "error.list", "request_id": …, "errors": [{"code", "message"?, …}]}`;
proxies and outages answer with HTML, nothing, JSON of their own, or half of it. Nothing here raises.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from pydantic_core import from_json

from onelane import display
from onelane_worker.planner import operations as op

MAX_MESSAGE = 300
MAX_FAULTS = 20
DEFAULT_WAIT_S = 10.0
"""A whole rate limit window (documentation), for a 429 that does not say how long."""
MIN_WAIT_S = 1.0
"""Reset and Date are whole seconds: a shorter answer may only be rounding."""
MAX_WAIT_S = 120.0

_CODE = re.compile(r"[\w.-]{1,64}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Fault:
    """One entry of the envelope."""

    code: str | None
    message: str


def parse(body: bytes) -> Any:
    """The JSON of a body, or None if it is none. Not-a-number, lone surrogates and deep nesting are none."""
    try:
        return from_json(body, allow_inf_nan=False)
    except ValueError:
        return None


def faults_of(body: bytes) -> tuple[Fault, ...]:
    """The errors of an answer; empty if it does not carry Intercom's envelope."""
    envelope = parse(body)
    if not isinstance(envelope, dict) or envelope.get("type") != "error.list":
        return ()
    entries = envelope.get("errors")
    if not isinstance(entries, list):
        return ()
    return tuple(_fault(entry) for entry in entries[:MAX_FAULTS] if isinstance(entry, dict))


def _fault(entry: dict[str, Any]) -> Fault:
    code, message = entry.get("code"), entry.get("message")
    plain = isinstance(code, str) and _CODE.fullmatch(code)
    return Fault(code if plain else None, message if isinstance(message, str) else "")


def problem(
    kind: str, status: int | None, faults: tuple[Fault, ...] = (), message: str | None = None
) -> op.Problem:
    """A Problem that may be shown to people: the addresses in it are masked, and it is short."""
    first = faults[0] if faults else Fault(None, "")
    text = message if message is not None else first.message
    return op.Problem(kind, status, first.code, display.excerpt(text, MAX_MESSAGE) or None)


def retry_in_s(headers: Mapping[str, str], wall_s: float | None) -> float:
    """How long a 429 asks us to wait, in seconds between MIN_WAIT_S and MAX_WAIT_S.

    X-RateLimit-Reset is a time of Intercom's clock (recorded traffic 2021: the window's end + 2 s), so it is
    measured against the answer's own Date; `wall_s` (unix seconds) stands in for a missing Date. Retry-After
    is not documented, but honoured. A Reset that is minutes away from the Date tells of two clocks and is
    left out.
    """
    date = _date(headers.get("date")) or wall_s
    waits = (_until(headers.get("x-ratelimit-reset"), date), _after(headers.get("retry-after"), date))
    known = [wait for wait in waits if wait is not None]
    return min(MAX_WAIT_S, max(MIN_WAIT_S, *known)) if known else DEFAULT_WAIT_S


def _until(reset: str | None, date: float | None) -> float | None:
    at = _number(reset)
    if at is None or date is None:
        return None
    wait = at - date
    return wait if -MAX_WAIT_S <= wait <= MAX_WAIT_S else None


def _after(value: str | None, date: float | None) -> float | None:
    at = _date(value)
    if at is not None and date is not None:
        return at - date
    return _number(value)


def _number(value: str | None) -> float | None:
    """A plain count of seconds; at most 12 digits, so that the arithmetic stays exact."""
    return float(value) if value is not None and re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,6})?", value) else None


def _date(value: str | None) -> float | None:
    """An HTTP date as unix seconds."""
    if not value:
        return None
    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError, OSError):
        return None
