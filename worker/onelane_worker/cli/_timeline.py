"""What happened to one person, in order: from accepted intents, attempts, calls and outcomes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Any

from onelane_worker.cli import _output as output

Entry = dict[str, Any]
SHOWN = 40
"""Entries that a page shows; `--json` has them all."""


def entries(stored: Sequence[str], waiting: Iterable[Entry]) -> list[Entry]:
    """The entries of a lane, oldest first. `stored`: its events as JSON; `waiting`: the documents of intents
    that have not ended."""
    events = [event for event in map(_loaded, stored) if event is not None]
    accepted: dict[str, Entry] = {}
    for event in events:  # the first that tells of an intent; a later one may tell of its return
        if "accepted_ms" in event:
            accepted.setdefault(event["id"], _accepted(event, event["accepted_ms"]))
    for one in waiting:
        accepted.setdefault(one["id"], _accepted(one, _ms(one["accepted_at"])))
    return sorted([*accepted.values(), *events], key=lambda entry: int(entry["at_ms"]))


def _loaded(text: str) -> Entry | None:
    try:
        event = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and "at_ms" in event else None


def _accepted(told: Entry, at_ms: int) -> Entry:
    return {"at_ms": at_ms, "what": "accepted", "id": told["id"], "kind": told["kind"]}


def _ms(moment: str) -> int:
    from datetime import datetime

    return round(datetime.fromisoformat(moment).timestamp() * 1000)


# ── for people ────────────────────────────────────────────────────────────────────────────────────────────


def show(entries: Sequence[Entry]) -> None:
    """The timeline, newest at the end; the day stands above its entries."""
    output.heading("Timeline")
    if len(entries) > SHOWN:
        output.tell(f"… {len(entries) - SHOWN:,} earlier")
    for day, of_day in groupby(entries[-SHOWN:], key=_day):
        output.tell(day, style="dim")
        output.print_entries([_row(entry) for entry in of_day])


def _day(entry: Entry) -> str:
    moment = time.localtime(entry["at_ms"] / 1000)
    return time.strftime("%Y-%m-%d, %Z", moment)


def _row(entry: Entry) -> output.Entry:
    clock = time.strftime("%H:%M:%S", time.localtime(entry["at_ms"] / 1000)) + f".{entry['at_ms'] % 1000:03d}"
    cells = [clock, entry["what"].replace("_", " "), output.kebab(entry["kind"]), entry["id"]]
    calls = ", ".join(f"{name} → {said}, {ms} ms" for name, said, ms in entry.get("calls", ()))
    return cells, [_words(entry), calls]


def _words(entry: Entry) -> str:
    match entry["what"]:
        case "ended" | "buried":
            return _outcome(entry)
        case "put_back":
            again = output.span((entry.get("again_ms", entry["at_ms"]) - entry["at_ms"]) / 1000)
            said = output.error_words(entry.get("error", {}))
            words = [entry["state"], said if said != entry["state"] else "", f"again after {again}"]
            return ", ".join(word for word in words if word)
        case "replayed":
            how = "whole" if entry.get("whole") else "whatever was written since stands"
            return f"{how}: {entry['reason']}" if entry.get("reason") else how
        case "discarded":
            return str(entry.get("reason", ""))
    return ""


def _outcome(entry: Entry) -> str:
    words = [entry["result"], entry.get("reason", ""), entry.get("contact_id", "")]
    words += [flag for flag in ("adopted", "revived", "ambiguous") if entry.get(flag)]
    words += [f"by {entry['superseded_by']}"] if "superseded_by" in entry else []
    words += [f"in one write with {entry['folded_with']}"] if "folded_with" in entry else []
    words += [f"attempt {entry['attempt']}"] if entry.get("attempt", 0) > 1 else []
    return ", ".join(word for word in words if word)
