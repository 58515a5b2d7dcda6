"""Dead letters as documents and as lines for people. No address stands in them unmasked."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from onelane_worker.cli import _output as output

if TYPE_CHECKING:
    from onelane_worker.operate.dead_letters import DeadLetter

NOT_DONE = {
    "gone": "is no dead letter any more",
    "erasing": "the person is being erased: it ends with that",
    "lane_full": "its lane is full: replay it when that has drained",
    "queue_full": "the queue is full: replay it when that has drained",
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


_HEADINGS = ("id", "kind", "who", "dead for")


def entry(letter: DeadLetter) -> tuple[list[str], str]:
    """One letter in a list: cells, and why it died."""
    told = document(letter, whole=False)
    dead_for = output.span(time.time() - letter.buried_at_ms / 1000)
    return [letter.id, output.kebab(letter.kind), told["who"], dead_for], told["why"]


def show_list(letters: Sequence[DeadLetter], older: str, *, filtered: bool) -> None:
    """Those that there are; `older`: what to say of the others."""
    if not letters:
        output.tell(
            "No dead letter matches. `onelane dead list` shows all." if filtered else "No dead letters."
        )
        return
    output.print_entries([entry(letter) for letter in letters], _HEADINGS)
    if older:
        output.tell(older)
    output.tell("")
    output.tell("`onelane dead show ID` shows one whole, `onelane lane ID` what happened around it.")


def show(letter: DeadLetter, gone: frozenset[str] | None) -> None:
    """One, whole; `gone`: what a replay would leave out, None if that is not known."""
    told = document(letter, whole=True)
    output.tell(f"{output.kebab(letter.kind)}  {letter.id}  {told['who']}", style="bold")
    tries = output.many(letter.attempts, "attempt")
    wanted = [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in _wanted(told["payload"])]
    output.print_facts(
        [
            output.Fact("died", f"{_moment(letter.buried_at_ms)}, after {tries}"),
            output.Fact("why", told["why"], style="red"),
            output.Fact("accepted", _moment(letter.accepted_at_ms)),
            output.Fact("lane", letter.lane),
            *(output.Fact("" if n else "wanted", line) for n, line in enumerate(wanted)),
            output.Fact("replay", _replay_words(gone)),
        ]
    )
    output.tell("")
    output.tell("Once the cause is gone, or to give it up:")
    output.tell(f"onelane dead replay {letter.id}", indent=2)
    output.tell(f"onelane dead discard {letter.id} --reason TEXT", indent=2)


def _replay_words(gone: frozenset[str] | None) -> str:
    if gone is None:
        return NOT_DONE["forgotten"]
    return f"without {', '.join(sorted(gone))}: written since" if gone else "whole: nothing was written since"


def _moment(at_ms: int) -> str:
    clock = time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(at_ms / 1000))
    return f"{clock}, {output.span(time.time() - at_ms / 1000)} ago"


def _wanted(payload: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """What the intent names beside whom it is about."""
    for name, value in payload.items():
        if name in ("kind", "email"):
            continue
        if isinstance(value, dict):
            yield from ((f"{name}.{inner}", each) for inner, each in value.items())
        else:
            yield name, value


LISTED = 20
"""Letters that are named one by one before something is done with them; of more, counts tell the rest."""
Forecast = tuple["DeadLetter", frozenset[str] | None]
"""A letter, and what a replay would leave out; None if that is not known."""


Counts = Mapping[tuple[str, str], int]
"""How many there are of each kind and error; see `sort_of`."""


def show_chosen(first: Sequence[Forecast], counts: Counts, *, err: bool = False) -> None:
    """The letters that a replay or a discard concerns: the first one by one, and if there are more, how many
    of each sort there are."""
    if not first:
        output.tell("No dead letter matches.", err=err)
        return
    rows = []
    for letter, gone in first:
        cells, why = entry(letter)
        note = NOT_DONE["forgotten"] if gone is None else f"without {', '.join(sorted(gone))}" if gone else ""
        rows.append((cells, [why, note]))
    output.print_entries(rows, _HEADINGS, err=err)
    more = sum(counts.values()) - len(first)
    if more > 0:
        output.tell(f"… and {more:,} more; all together:", err=err)
        sorts = sorted(counts.items(), key=lambda one: (-one[1], one[0]))
        lines = [[f"{count:>7,}", output.kebab(kind), why] for (kind, why), count in sorts[:LISTED]]
        output.print_entries([(line, "") for line in lines], err=err)
        if sorts[LISTED:]:
            output.tell(f"… and {output.many(len(sorts) - LISTED, 'sort')} more", err=err)


def sort_of(letter: DeadLetter) -> tuple[str, str]:
    """Kind and error, without the words that differ from letter to letter."""
    error = _loaded(letter.error)
    error.pop("message", None)
    return letter.kind, output.error_words(error)


def _loaded(text: str | None) -> dict[str, Any]:
    """The JSON object in a stored text; empty for one that nobody can read."""
    try:
        found = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
