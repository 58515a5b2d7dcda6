"""`onelane lanes`: a workspace at a glance."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onelane_worker.cli import _breaker_words as breaker_words
from onelane_worker.cli import _output as output
from onelane_worker.cli import _standing_words as standing_words

if TYPE_CHECKING:
    from onelane_worker.operate.engines import Engine
    from onelane_worker.operate.open_workspace import OpenWorkspace
    from onelane_worker.operate.pause import Service
    from onelane_worker.operate.survey import StandingLane, Survey

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_BLOCKED = ("blocked_by_external_id", "blocked_by_lane")
_STATES = (
    ("leased", ("leased",)),
    ("ready", ("ready", "due")),
    ("blocked", _BLOCKED),
    ("retrying", ("retrying",)),
    ("held", ("held",)),
    ("reconciling", ("reconciling",)),
    ("parked", ("parked", "newer")),
    ("cut off", ("cut_off",)),
    ("stranded", ("stranded",)),
)
"""The words for people, and the states that each stands for."""


def lanes(
    limit: Annotated[int, typer.Option(min=1, help="Most lanes to show of each kind.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Show the lanes: who waits longest, the longest queues, and why.

    Also whether intents are served at all. Of very many lanes, the first and the last thousand are looked at.
    """
    from onelane_worker.cli._config import run

    page = run(lambda opened: _page(opened, limit))
    if as_json:
        output.print_json(page)
    else:
        _show(page)


async def _page(opened: OpenWorkspace, limit: int) -> dict[str, Any]:
    from onelane_worker.operate import engines, pause
    from onelane_worker.operate.survey import survey

    service = await pause.look(opened)
    found = await survey(opened, stopped=service.stopped)
    return _document(service, found, await engines.alive(opened), limit)


def _document(service: Service, found: Survey, workers: Sequence[Engine], limit: int) -> dict[str, Any]:
    breaker, hold = breaker_words.document(service.breaker), breaker_words.hold_words(service)
    stopped = standing_words.stopped_words(breaker, hold)
    by_age = sorted(found.lanes, key=lambda one: one.since_ms)
    by_length = sorted(found.lanes, key=lambda one: (-one.waiting, one.since_ms))
    oldest_ms = found.oldest_ms
    return {
        "breaker": breaker,
        "bulk": breaker_words.document(service.bulk),
        "hold_until_ms": service.hold_until_ms,
        "workers": [one.name for one in workers],
        "now_ms": found.now_ms,
        "intents": found.pending,
        "lanes": len(found.lanes),
        "whole": found.whole,
        "ready": found.ready,
        "due": found.due,
        "states": dict(found.by_why),
        "oldest_s": None if oldest_ms is None else (found.now_ms - oldest_ms) / 1000,
        "wake_ups": found.wakes,
        "waiting_longest": [_entry(one, found.now_ms, stopped) for one in by_age[:limit]],
        "longest_queues": [
            _entry(one, found.now_ms, stopped) for one in by_length[:limit] if one.waiting > 1
        ],
    }


def _entry(one: StandingLane, now_ms: int, stopped: str) -> dict[str, Any]:
    payload, error = _loaded(one.payload), _loaded(one.error)
    entry: dict[str, Any] = output.masked(
        {
            "lane": one.lane,
            "who": payload.get("email", "unreadable"),
            "head": one.head,
            "kind": payload.get("kind", "unreadable"),
            "waiting": one.waiting,
            "attempts": one.attempts,
            "waited_s": round((now_ms - one.since_ms) / 1000, 3),
            "state": one.standing.why,
            "until_ms": one.standing.until_ms,
            "blocked_by": one.standing.blocked_by,
            "error": error or None,
            "why": standing_words.words(
                one.standing, error, now_ms, stopped=stopped, reconciling=one.reconciling
            ),
        }
    )
    return entry


def _loaded(text: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


# ── for people ────────────────────────────────────────────────────────────────────────────────────────────


def _show(page: dict[str, Any]) -> None:
    output.print_facts([*_service(page), *_lanes(page)])
    if not page["lanes"]:
        return
    _print("Waiting longest", page["waiting_longest"])
    shown = {one["lane"] for one in page["waiting_longest"]}
    if any(one["lane"] not in shown for one in page["longest_queues"]):
        _print("Longest queues", page["longest_queues"])
    output.tell("")
    output.tell(f"`onelane lane {page['waiting_longest'][0]['head']}` tells what happened there.")


def _service(page: dict[str, Any]) -> list[output.Fact]:
    """Whether intents are served, and by whom."""
    breaker, bulk = page["breaker"], page["bulk"]
    facts = [_fact("breaker", breaker_words.words(breaker), breaker["state"] != "closed")]
    if breaker["state"] == "paused":
        facts.append(output.Fact("", "→ `onelane resume` starts it again."))
    elif breaker["state"] == "open":
        facts.append(
            output.Fact("", f"→ {breaker['todo'] or 'It closes by itself; `onelane resume` closes it now.'}")
        )
    if page["hold_until_ms"] is not None:
        left = output.span((page["hold_until_ms"] - page["now_ms"]) / 1000)
        facts.append(
            _fact("hold", f"Redis was restarted or failed over: nothing is served for {left} more", True)
        )
        facts.append(output.Fact("", "→ It ends by itself; `onelane resume --now` ends it at once."))
    if bulk["state"] != "closed":
        facts.append(_fact("bulk", f"stopped: {breaker_words.words(bulk)}", True))
        facts.append(output.Fact("", "→ Too many were rejected alike: mend what they bring."))
    names = ", ".join(name.replace("@", " on ") for name in page["workers"])  # they look like addresses
    workers = f"{len(page['workers'])}: {names}" if names else "none is alive"
    return [*facts, _fact("workers", workers, not names)]


def _lanes(page: dict[str, Any]) -> list[output.Fact]:
    if not page["lanes"]:
        return [output.Fact("waiting", "no intent")]
    oldest = output.span(page["oldest_s"])
    count = page["lanes"] if page["whole"] else page["ready"] + page["due"]
    waiting = f"{output.many(page['intents'], 'intent')} in {output.many(count, 'lane')}"
    more = "" if page["whole"] else f", {page['lanes']:,} of them looked at"
    counts = {word: sum(page["states"].get(state, 0) for state in states) for word, states in _STATES}
    counts["ready"] = max(counts["ready"], page["ready"])
    counted = ", ".join(f"{count:,} {word}" for word, count in counts.items() if count)
    facts = [
        output.Fact("waiting", f"{waiting}{more}, the oldest for {oldest}"),
        output.Fact("lanes", counted),
    ]
    if counts["stranded"]:
        facts.append(
            output.Fact("", "→ Stranded: due, and nobody came. `onelane doctor` looks why.", style="red")
        )
    return facts


def _fact(name: str, text: str, stands_out: bool) -> output.Fact:
    return output.Fact(name, text, style="bold yellow" if stands_out else "")


def _print(title: str, entries: Sequence[dict[str, Any]]) -> None:
    output.heading(title)
    rows = []
    for one in entries:
        state = "blocked" if one["state"] in _BLOCKED else one["state"].replace("_", " ")
        cells = [one["who"], f"{one['waiting']:,}", output.span(one["waited_s"]), str(one["attempts"])]
        rows.append(([*cells, state, output.kebab(one["kind"])], f"{one['head']}  {one['why']}"))
    output.print_entries(rows, ("who", "waiting", "for", "tries", "state", "head"))
