"""`onelane lanes`, `pause` and `resume`: the whole of the lanes at a glance, and the hand on the switch."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.cli import output

if TYPE_CHECKING:
    from redis import Redis

    from worker.breaker import Gate
    from worker.lanes.survey import Standing, Survey

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_LINE = {
    "closed": "running",
    "streak": "running",
    "trial": "stopped, about to be tried again",
    "open": "stopped",
    "paused": "paused",
}


def lanes(
    limit: Annotated[int, typer.Option(min=1, help="Most lanes to show of each kind.")] = 10,
    as_json: AsJson = False,
) -> None:
    """Show the lanes: blocked longest, longest queues, and why.

    Looks at the first thousand lanes of each partition and state.
    """
    from worker.cli.config import open_redis
    from worker.lanes.survey import survey

    with open_redis() as redis:
        found, gate = survey(redis), _look(redis)
    page = _page(found, gate, limit)
    if as_json:
        output.print_json(page)
    else:
        _show(page)


def pause(
    reason: Annotated[str, typer.Option(help="Shown to whoever asks why nothing moves.")] = "",
    as_json: AsJson = False,
) -> None:
    """Stop the line: nobody calls Intercom until `resume`.

    Intents are accepted and wait; no attempt is counted. What is under way at this moment ends first.
    """
    from worker.cli.config import open_redis

    with open_redis() as redis:
        before = _look(redis).word
        problem = {"class": "paused", "message": output.masked(reason), "at_ms": int(time.time() * 1000)}
        _breaker(redis).pause(json.dumps({name: value for name, value in problem.items() if value}))
    if as_json:
        output.print_json({"line": "paused", "was": _LINE[before], "reason": output.masked(reason) or None})
    else:
        typer.echo("The line was paused already; the reason is the new one." if before == "paused" else
                   "The line is paused. `onelane resume` starts it again.")  # fmt: skip


def resume(as_json: AsJson = False) -> None:
    """Start the line again, whatever had stopped it.

    If Intercom is still away, a few failed calls stop it once more.
    """
    from worker.cli.config import open_redis

    with open_redis() as redis:
        gate = _look(redis)
        _breaker(redis).resume()
    stopped = gate.word in ("open", "paused", "trial")
    if as_json:
        output.print_json({"line": "running", "was": _LINE[gate.word]})
    elif stopped:
        typer.echo(f"The line runs again; it was {_line_words(_line(gate))}.")
    else:
        typer.echo("The line was not stopped.")


def _breaker(redis: Redis) -> Any:
    from worker.breaker import Breaker

    return Breaker(redis, calls=1, lanes=1, pause_ms=1)  # these are of no meaning to a person's own acts


def _look(redis: Redis) -> Gate:
    gate: Gate = _breaker(redis).look()
    return gate


def _line(gate: Gate) -> dict[str, Any]:
    try:
        problem = json.loads(gate.problem or "{}")
    except ValueError:  # a bare reason
        problem = {"message": gate.problem}
    stopped = gate.word in ("open", "paused", "trial")
    line: dict[str, Any] = output.masked(
        {
            "state": gate.word if stopped else "running",
            "why": problem if stopped and isinstance(problem, dict) else None,
            "next_trial_ms": gate.next_ms or None,
        }
    )
    return line


def line_words(gate: Gate) -> str:
    """The line for people."""
    return _line_words(_line(gate))


def _line_words(line: dict[str, Any]) -> str:
    state = _LINE.get(line["state"], "running")
    problem = {name: value for name, value in (line["why"] or {}).items() if name != "at_ms"}
    if problem.get("class") == "paused":
        return f"{state}: {problem['message']}" if problem.get("message") else state
    said = output.error_words(problem) if problem else ""
    return f"{state}: {said.removeprefix(': ')}" if said else state


def _page(found: Survey, gate: Gate, limit: int) -> dict[str, Any]:
    by_age = sorted(found.lanes, key=lambda one: one.since_ms)
    by_length = sorted(found.lanes, key=lambda one: (-one.waiting, one.since_ms))
    return {
        "line": _line(gate),
        "now_ms": found.now_ms,
        "lanes": len(found.lanes),
        "intents": found.pending,
        "whole": found.whole,
        "stranded": sum(one.why == "stranded" for one in found.lanes),
        "blocked_longest": [_entry(one, found.now_ms) for one in by_age[:limit]],
        "longest": [_entry(one, found.now_ms) for one in by_length[:limit] if one.waiting > 1],
    }


def _entry(one: Standing, now_ms: int) -> dict[str, Any]:
    payload, error = _loaded(one.payload), _loaded(one.error)
    entry: dict[str, Any] = output.masked(
        {
            "lane": one.lane,
            "who": payload.get("email", "unreadable"),
            "head": one.head,
            "kind": payload.get("kind", "unreadable"),
            "waiting": one.waiting,
            "attempts": one.attempts,
            "blocked_s": round((now_ms - one.since_ms) / 1000, 3),
            "state": one.why,
            "until_ms": one.until_ms,
            "error": error or None,
            "why": _why(one, error, now_ms),
        }
    )
    return entry


def _why(one: Standing, error: dict[str, Any], now_ms: int) -> str:
    until = "" if one.until_ms is None else output.when((one.until_ms - now_ms) / 1000)
    match one.why:
        case "working":
            return "a worker is at it"
        case "cut_off":
            return "its worker never came back; the next one goes on from what is recorded"
        case "held":
            return f"a write whose answer was lost may still take effect; certain {until}"
        case "sent":
            return "its turn waits for a free worker"
        case "stranded":
            return f"due since {until.removesuffix(' ago')}, and nobody came: is a worker running?"
        case "moving":
            return "its turn is about to be handed out"
    said = output.error_words(error) if error else ""
    return f"{one.why}{f' ({said})' if said else ''}, again {until}"


def _loaded(text: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _show(page: dict[str, Any]) -> None:
    typer.echo(f"The line is {_line_words(page['line'])}.")
    if not page["lanes"]:
        typer.echo("No intent waits.")
        return
    waiting = f"{output.many(page['intents'], 'intent')} in {output.many(page['lanes'], 'lane')}"
    typer.echo(f"{waiting}{'' if page['whole'] else ' and more: not all were looked at'}")
    if page["stranded"]:
        typer.echo(f"{output.many(page['stranded'], 'lane')} stranded: due, and nobody came")
    output.console().print("\n[bold]Blocked longest[/]")
    _print(page["blocked_longest"])
    if page["longest"]:
        output.console().print("\n[bold]Longest queues[/]")
        _print(page["longest"])


def _print(entries: Sequence[dict[str, Any]]) -> None:
    rows = []
    for one in entries:
        tries = output.many(one["attempts"], "attempt") if one["attempts"] else ""
        cells = [one["who"], output.many(one["waiting"], "intent"), output.span(one["blocked_s"])]
        rows.append(([*cells, output.kebab(one["kind"]), one["head"], tries], one["why"]))
    output.print_entries(rows)
