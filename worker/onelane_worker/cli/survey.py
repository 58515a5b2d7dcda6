"""`onelane lanes`, `pause` and `resume`: the whole of the lanes at a glance, and the hand on the switch."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onelane_worker.cli import _output as output

if TYPE_CHECKING:
    from redis import Redis

    from onelane_worker.breaker import Gate
    from onelane_worker.lanes.survey import Standing, Survey

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_LINE = {
    "closed": "running",
    "streak": "running",
    "trial": "stopped",
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
    from onelane_worker.cli._config import open_redis
    from onelane_worker.lanes.survey import survey

    with open_redis() as redis:
        gate, bulk = look(redis), look_bulk(redis)
        found = survey(redis, stopped=gate.stopped)
    page = _page(found, gate, bulk, limit)
    if as_json:
        output.print_json(page)
    else:
        _show(page)


def pause(
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="Shown to whoever asks why nothing moves.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Stop the line: no worker writes to Intercom until `resume`, nor does `repair`.

    Intents are accepted and wait; no attempt is counted. What is under way at this moment ends first.
    """
    from onelane_worker.cli._config import open_redis

    with open_redis() as redis:
        before = look(redis).word
        problem = {"class": "paused", "message": output.masked(reason), "at_ms": int(time.time() * 1000)}
        _breaker(redis).pause(json.dumps({name: value for name, value in problem.items() if value}))
    if as_json:
        output.print_json({"line": "paused", "was": _LINE[before], "reason": output.masked(reason) or None})
        return
    said = "was paused already; the reason is the new one" if before == "paused" else "is paused"
    output.tell(f"The line {said}. What is under way ends first; whatever is enqueued waits.")
    output.tell("`onelane resume` starts it again.")


def resume(as_json: AsJson = False) -> None:
    """Start the line again, whatever had stopped it. Parked lanes are offered at once.

    If Intercom is still away, a few failed calls stop it again. Bulk intents that are stopped because too
    many were rejected alike are tried at once, one by one; they all run again when that goes well.
    """
    from onelane_worker.cli._config import open_redis
    from onelane_worker.lanes.waking import offer_parked

    with open_redis() as redis:
        gate, bulk = look(redis), look_bulk(redis)
        _breaker(redis).resume()
        if bulk.stopped:
            _bulk_breaker(redis).untold()
        offered = offer_parked(redis)
    if as_json:
        tried = {"bulk": "tried"} if bulk.stopped else {}
        output.print_json({"line": "running", "was": _LINE[gate.word], **tried, "offered": offered})
        return
    if bulk.stopped:
        output.tell(f"Bulk intents are tried again now; they were {bulk_words(bulk, over=True)}.")
    elif not gate.stopped:
        output.tell("The line was not stopped.")
    if gate.stopped:
        output.tell(f"The line runs again; it was {_line_words(line_of(gate), over=True)}.")
    if offered:
        output.tell(f"{output.many(offered, 'parked lane')} {'is' if offered == 1 else 'are'} served now.")


def _breaker(redis: Redis) -> Any:
    from onelane_worker.breaker import Breaker

    return Breaker(redis, calls=1, lanes=1, pause_ms=1)  # these are of no meaning to a person's own acts


def look(redis: Redis) -> Gate:
    """How the line stands."""
    gate: Gate = _breaker(redis).look()
    return gate


def _bulk_breaker(redis: Redis) -> Any:
    from onelane_worker.breaker import BulkBreaker

    return BulkBreaker(redis, rejections=1, pause_ms=1)


def look_bulk(redis: Redis) -> Gate:
    """How the class of bulk intents stands."""
    gate: Gate = _bulk_breaker(redis).look()
    return gate


def bulk_words(gate: Gate, *, over: bool = False) -> str:
    """The class of bulk intents for people."""
    return _line_words(line_of(gate), over=over)


def line_of(gate: Gate) -> dict[str, Any]:
    """The line as a document: running, or stopped since when and why."""
    try:
        problem = json.loads(gate.problem or "{}")
    except (ValueError, RecursionError):  # a bare reason
        problem = {"message": gate.problem}
    why = problem if gate.stopped and isinstance(problem, dict) else {}
    line: dict[str, Any] = output.masked(
        {
            "state": gate.word if gate.stopped else "running",
            "why": {name: value for name, value in why.items() if name != "at_ms"} or None,
            "since_ms": why.get("at_ms", gate.since_ms or None),
            "next_trial_ms": gate.next_ms or None,
            "todo": (gate.todo if gate.stopped else "") or None,
        }
    )
    return line


def line_words(gate: Gate) -> str:
    """The line for people."""
    return _line_words(line_of(gate))


def _line_words(line: dict[str, Any], *, over: bool = False) -> str:
    """`over`: told of a stop that has just ended."""
    state, problem = _LINE.get(line["state"], "running"), line["why"] or {}
    since = "" if line["since_ms"] is None else _since(line["since_ms"] / 1000, over)
    said = problem.get("message", "") if problem.get("class") == "paused" else output.error_words(problem)
    said = said.removeprefix(": ")
    words = f"{state}{since}: {said}" if said else f"{state}{since}"
    by_itself = not over and line["state"] in ("open", "trial")
    return words + _next_trial(line["next_trial_ms"]) if by_itself else words


def _since(at_s: float, over: bool) -> str:
    """A stop that lasts has a beginning; only one that is over has a length."""
    length = output.span(time.time() - at_s)
    if over:
        return f" for {length}"
    then = time.localtime(at_s)
    of_today = then[:3] == time.localtime()[:3]
    clock = time.strftime("%H:%M:%S" if of_today else "%Y-%m-%d %H:%M:%S", then)
    return f" since {clock} ({length} ago)"


def _next_trial(at_ms: int | None) -> str:
    left_s = (at_ms or 0) / 1000 - time.time()
    return f"; tried again {output.when(left_s)}" if left_s > 0 else "; the next trial is due"


def _page(found: Survey, gate: Gate, bulk: Gate, limit: int) -> dict[str, Any]:
    by_age = sorted(found.lanes, key=lambda one: one.since_ms)
    by_length = sorted(found.lanes, key=lambda one: (-one.waiting, one.since_ms))
    return {
        "line": line_of(gate),
        "bulk": {name: value for name, value in line_of(bulk).items() if name != "todo"},
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
            return f"due for {until.removesuffix(' ago')}, and nobody came: is a worker running?"
        case "moving":
            return "its turn is about to be handed out"
        case "parked" if error.get("class") in ("open", "paused"):
            return "waits until the line runs again"
        case "parked" if error.get("class") == "bulk_stopped":
            return "waits until bulk intents run again"
    said = output.error_words(error) if error else ""
    again = f"; again {until}" if one.until_ms is not None and one.until_ms > now_ms else ""
    return f"{said or one.why}{again}"


def _loaded(text: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _show(page: dict[str, Any]) -> None:
    line = page["line"]
    style = "" if line["state"] == "running" else "bold yellow"
    output.tell(f"The line is {_line_words(line)}.", style=style)
    if line["state"] == "paused":
        output.tell("`onelane resume` starts it again.")
    elif style:
        if line["todo"]:
            output.tell(line["todo"])
        output.tell(
            "It runs again with the first call that succeeds; `onelane resume` does not wait for that."
        )
    if page["bulk"]["state"] != "running":
        words = f"Bulk intents are {_line_words(page['bulk'])}."
        output.tell(f"{words} Too many were rejected alike: mend what they bring.", style="bold yellow")
        output.tell("They run again when some in a row are written; `onelane resume` tries at once.")
    if not page["lanes"]:
        output.tell("No intent waits.")
        return
    waiting = f"{output.many(page['intents'], 'intent')} in {output.many(page['lanes'], 'lane')}"
    output.tell(f"{waiting}{'' if page['whole'] else ' and more: not all were looked at'}")
    if page["stranded"]:
        stranded = output.many(page["stranded"], "lane")
        output.tell(f"{stranded} stranded: due, and nobody came. `onelane doctor` looks why.", style="red")
    _print("Blocked longest", page["blocked_longest"])
    shown = {one["lane"] for one in page["blocked_longest"]}
    if any(one["lane"] not in shown for one in page["longest"]):
        _print("Longest queues", page["longest"])
    output.tell("")
    output.tell(f"`onelane lane {page['blocked_longest'][0]['head']}` tells what happened there.")


def _print(title: str, entries: Sequence[dict[str, Any]]) -> None:
    output.heading(title)
    rows = []
    for one in entries:
        state = one["state"].replace("_", " ")
        cells = [one["who"], f"{one['waiting']:,}", output.span(one["blocked_s"]), str(one["attempts"])]
        cells += [state, output.kebab(one["kind"])]
        rows.append((cells, f"{one['head']}  {one['why']}"))
    output.print_entries(rows, ("who", "waiting", "blocked", "tries", "state", "head"))
