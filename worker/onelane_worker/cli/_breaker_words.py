"""How the circuit breakers and the failover hold stand, as documents and for people."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from onelane_worker.cli import _output as output

if TYPE_CHECKING:
    from onelane_worker.lanes.types import BreakerView
    from onelane_worker.operate.pause import Service

_NAMES = {"streak": "closed", "half": "half open"}


def document(view: BreakerView) -> dict[str, Any]:
    """A breaker: its state, since when and why, and what a person has to do."""
    from onelane_worker.engine.circuit_breaker import todo

    shut = view.state in ("open", "half", "paused")
    told: dict[str, Any] = output.masked(
        {
            "state": "closed" if view.state == "streak" else view.state,
            "why": _problem(view) or None if shut else None,
            "since_ms": (view.since_ms or None) if shut else None,
            "next_probe_ms": (view.next_ms or None) if view.state == "open" else None,
            "todo": (todo(view) or None) if shut else None,
        }
    )
    return told


def _problem(view: BreakerView) -> dict[str, Any]:
    if view.state == "paused":
        return {"class": "paused", "message": view.problem} if view.problem else {"class": "paused"}
    try:
        problem = json.loads(view.problem or "{}")
    except (ValueError, RecursionError):
        return {"message": view.problem}
    return problem if isinstance(problem, dict) else {}


def words(told: dict[str, Any], *, over: bool = False) -> str:
    """A document of a breaker for people. `over`: told of a stop that has just ended."""
    state, problem = told["state"], told["why"] or {}
    since = "" if told["since_ms"] is None else _since(told["since_ms"] / 1000, over)
    paused = problem.get("class") == "paused"
    said = problem.get("message", "") if paused else output.error_words(problem)
    said = said.removeprefix(": ")
    sentence = f"{_NAMES.get(state, state)}{since}: {said}" if said else f"{_NAMES.get(state, state)}{since}"
    if over:
        return sentence
    if state == "half":
        return f"{sentence}; one lane at a time is served until a call is answered"
    return sentence + _next_probe(told["next_probe_ms"]) if state == "open" else sentence


def _since(at_s: float, over: bool) -> str:
    """A stop that lasts has a beginning; only one that is over has a length."""
    length = output.span(time.time() - at_s)
    if over:
        return f" for {length}"
    then = time.localtime(at_s)
    of_today = then[:3] == time.localtime()[:3]
    clock = time.strftime("%H:%M:%S" if of_today else "%Y-%m-%d %H:%M:%S", then)
    return f" since {clock} ({length} ago)"


def _next_probe(at_ms: int | None) -> str:
    left_s = (at_ms or 0) / 1000 - time.time()
    return f"; probed again {output.when(left_s)}" if left_s > 0 else "; a probe is due"


def hold_words(service: Service) -> str:
    """The failover hold for people; empty if there is none."""
    if service.hold_until_ms is None:
        return ""
    left = output.span((service.hold_until_ms - service.now_ms) / 1000)
    return f"Redis was restarted or failed over: nothing is served for {left} more"
