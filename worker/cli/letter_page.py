"""Dead letters as documents and as lines for people. No address stands in them unmasked."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import typer

from worker.cli import output

if TYPE_CHECKING:
    from worker.lanes.model import DeadLetter

NOT_DONE = {
    "gone": "is no dead letter any more",
    "lane_full": "its lane is full: replay it when that has drained",
    "queue_full": "its partition of the queue is full: replay it when that has drained",
    "forgotten": "what was written since is not remembered any more: --as-is applies it whole",
    "unreadable": "no worker could read it: only discarding is left",
}


def document(letter: DeadLetter, *, whole: bool) -> dict[str, Any]:
    """What `--json` says of it."""
    payload = _loaded(letter.payload)
    error = _loaded(letter.error)
    email = payload.get("email")
    told = {
        "id": letter.id,
        "kind": letter.kind,
        "who": output.masked(email) if isinstance(email, str) else "unreadable",
        "why": output.error_words(error),
        "attempts": letter.attempts,
        "accepted_at_ms": letter.accepted_at_ms,
        "buried_at_ms": letter.buried_at_ms,
        "lane": letter.lane,
    }
    if whole:
        told |= {"payload": payload, "error": error, "outcome": _loaded(letter.outcome)}
    masked: dict[str, Any] = output.masked(told)
    return masked


def entry(letter: DeadLetter) -> tuple[list[str], str]:
    """One letter in a list: cells, and why it died."""
    told = document(letter, whole=False)
    buried = output.when(letter.buried_at_ms / 1000 - time.time())
    return [letter.id, output.kebab(letter.kind), told["who"], buried], told["why"]


def show_forecast(found: Sequence[tuple[DeadLetter, frozenset[str] | None]]) -> None:
    """What a replay or a discard would concern."""
    if not found:
        typer.echo("No dead letter matches.")
        return
    rows = []
    for letter, gone in found:
        cells, why = entry(letter)
        note = NOT_DONE["forgotten"] if gone is None else f"without {', '.join(sorted(gone))}" if gone else ""
        rows.append((cells, f"{why}{f' ({note})' if note else ''}"))
    output.print_entries(rows)
    typer.echo(f"{output.many(len(found), 'dead letter')}; nothing was changed.")


def _loaded(text: str | None) -> dict[str, Any]:
    """The JSON object in a stored text; empty for one that nobody can read."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
