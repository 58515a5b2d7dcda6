"""What commands print: tables for people on a terminal, JSON for programs, and never an address in full."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from producers import Outcome

_PIPED_WIDTH = 120  # without a terminal nobody says how wide the paper is; ids must not be broken
_ADDRESS = re.compile(r"[^\s@<>()\[\]{}\"',;:=]+@[^\s@<>()\[\]{}\"',;:=]+")


def console() -> Console:
    """Standard output for people."""
    return _console(sys.stdout, stderr=False)


def notes() -> Console:
    """Standard error for people: progress, and what is no result."""
    return _console(sys.stderr, stderr=True)


def _console(stream: TextIO, *, stderr: bool) -> Console:
    from rich.console import Console

    known = stream.isatty() or "COLUMNS" in os.environ
    return Console(stderr=stderr, highlight=False, width=None if known else _PIPED_WIDTH)


@contextmanager
def progress(what: str, *, quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """Tells on standard error what is being done: a spinner on a terminal, else a line for each step."""
    stream = notes()
    if quiet:
        yield lambda step: None
    elif stream.is_terminal:
        with stream.status(f"{what} …") as spinner:
            yield lambda step: spinner.update(f"{what} {step} …")
    else:
        yield lambda step: stream.print(f"{what} {step} …")


@contextmanager
def bar(what: str, total: int, least: int = 20) -> Iterator[Callable[[int], None]]:
    """A bar on standard error, for at least so many things and a person who watches."""
    stream = notes()
    if total < least or not stream.is_terminal:
        yield lambda done: None
        return
    from rich.progress import Progress

    with Progress(console=stream, transient=True) as shown:
        task = shown.add_task(what, total=total)
        yield lambda done: shown.advance(task, done)


def print_json(value: Any) -> None:
    """One JSON document on one line of standard output."""
    typer.echo(json.dumps(value, ensure_ascii=False, default=str))


def print_pretty_json(value: Any) -> None:
    """One JSON document for people: indented, not wrapped."""
    typer.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def print_entries(entries: Sequence[tuple[Sequence[str], str]]) -> None:
    """Entries for people: cells in columns, and below them what may be long. Nothing is cut or broken."""
    widths = [max(map(len, column)) for column in zip(*(cells for cells, _ in entries), strict=True)]
    for cells, detail in entries:
        line = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        typer.echo(line.rstrip())
        if detail:
            typer.echo(f"    {detail}")


def masked(value: Any) -> Any:
    """The value with every email address in it masked, in whatever depth."""
    match value:
        case str():
            return _ADDRESS.sub(_mask, value)
        case dict():
            return {masked(key): masked(inner) for key, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return [masked(inner) for inner in value]
    return value


def _mask(match: re.Match[str]) -> str:
    from producers.identity import mask

    return mask(match[0])


def kebab(kind: str) -> str:
    """A kind as the command line spells it."""
    return kind.replace("_", "-")


def span(seconds: float) -> str:
    """A length of time in the unit that people would choose."""
    seconds = abs(seconds)
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def when(seconds: float) -> str:
    """A moment `seconds` from now; the past is negative."""
    return f"in {span(seconds)}" if seconds > 0 else f"{span(seconds)} ago"


def many(count: int, noun: str) -> str:
    """`1 intent`, `1,200 intents`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def outcome_words(outcome: Outcome) -> str:
    """An outcome for people."""
    words: list[str] = [outcome.result]
    words += [f"{outcome.role} {outcome.contact_id}"] if outcome.contact_id else []
    words += [name for name in ("adopted", "revived", "ambiguous") if getattr(outcome, name)]
    words += [outcome.reason] if outcome.reason else []
    words += [f"by {outcome.superseded_by}"] if outcome.superseded_by else []
    words.append(many(outcome.calls, "call"))
    return ", ".join(words) + (f": {masked(outcome.message)}" if outcome.message else "")


def error_words(error: dict[str, Any]) -> str:
    """An error for people: class, what Intercom said, and how."""
    named = [error.get("class"), error.get("http_status"), error.get("code")]
    words = " ".join(str(part) for part in named if part is not None)
    message = error.get("message")
    return f"{words}: {masked(message)}" if message else words
