"""What commands print: tables for people on a terminal, JSON for programs.

Text for people goes through `onelane.display.shown` here, whoever wrote it: no address in full, no character
that steers the terminal.
"""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TextIO

import typer

if TYPE_CHECKING:
    from rich.console import Console

    from onelane import Outcome

_PIPED_WIDTH = 120  # without a terminal nobody says how wide the paper is; ids must not be broken
_COLOURS: Final = {
    **dict.fromkeys(("working", "sent", "moving", "waiting"), "cyan"),
    **dict.fromkeys(("retrying", "reconciling", "parked", "held", "cut off", "put back"), "yellow"),
    **dict.fromkeys(("stranded", "dead", "buried", "discarded"), "red"),
    **dict.fromkeys(("ended", "merged", "done"), "green"),
}
"""Words that are cells of their own, and what a person should see of them at a glance."""


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


def tell(text: str, *, indent: int = 0, err: bool = False, style: str = "") -> None:
    """A sentence for people: on a terminal broken between words, elsewhere one line. Without text an empty
    line."""
    from rich.text import Text

    stream = notes() if err else console()
    for part in _broken(text, indent, stream):
        stream.print(Text(" " * indent + part, style=style), soft_wrap=True)


def heading(text: str) -> None:
    """What the next lines are about, below an empty line."""
    tell("")
    tell(text, style="bold")


def print_facts(facts: Sequence[Fact]) -> None:
    """Names and what there is to say of each, in two columns; no name: more of the same."""
    from rich.text import Text

    stream = console()
    width = max((len(fact.name) for fact in facts), default=0) + 2
    marks = max((len(fact.mark) for fact in facts), default=0) + 2
    for fact in facts:
        indent = width + marks
        for n, part in enumerate(_broken(fact.text, indent, stream)):
            line = Text(" " * indent if n else "")
            if not n:
                line.append(fact.mark.ljust(marks), style=fact.style)
                line.append(shown(fact.name).ljust(width))
            line.append(part, style="" if fact.mark else fact.style)
            _print_line(stream, line)


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of `print_facts`. The style is that of the mark, if there is one."""

    name: str
    text: str
    mark: str = ""
    style: str = ""


def _broken(text: str, indent: int, stream: Console) -> list[str]:
    """For a terminal, its lines; never broken inside of a word: half an id cannot be copied."""
    text = shown(text)
    width = max(stream.width - indent, 20) if stream.is_terminal else None
    if width is None or len(text) <= width:
        return [text]
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)


def shown(text: str) -> str:
    """The text as a person may read it."""
    from onelane import display

    return display.shown(text)


# ── JSON ──────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(slots=True)
class _Answer:
    wants_json: bool
    printed: bool = False


_ANSWER: ContextVar[_Answer | None] = ContextVar("answer", default=None)


@contextmanager
def answering(*, wants_json: bool) -> Iterator[None]:
    """While a command runs: whether a program reads its standard output."""
    before = _ANSWER.set(_Answer(wants_json))
    try:
        yield
    finally:
        _ANSWER.reset(before)


def print_json(value: Any) -> None:
    """One JSON document on one line of standard output."""
    answer = _ANSWER.get()
    if answer is not None:
        answer.printed = True
    typer.echo(escaped_json(value))


def escaped_json(value: Any) -> str:
    """JSON in which also those characters are escaped that steer a terminal and that JSON lets stand."""
    from onelane.display import steers

    document = json.dumps(value, ensure_ascii=False, default=str)
    if document.isprintable():
        return document
    return "".join(json.dumps(one)[1:-1] if steers(one) else one for one in document)


def print_failure(code: int, message: str, hint: str | None) -> None:
    """For a program that has got no document yet: why there is none."""
    answer = _ANSWER.get()
    if answer is not None and answer.wants_json and not answer.printed:
        print_json({"failed": masked({"exit_code": code, "message": message, "hint": hint})})


# ── entries ───────────────────────────────────────────────────────────────────────────────────────────────

_WIDEST: Final = 32
"""Of a column: as wide as an id. One long name shifts its own line, and not all of them."""
Entry = tuple[Sequence[str], str | Sequence[str]]
"""Cells in columns; and below them, what may be long."""


def print_entries(entries: Sequence[Entry], headings: Sequence[str] = (), *, err: bool = False) -> None:
    """Entries for people. Nothing is cut or broken: a cell that has no room goes to the next line."""
    rows = [*([headings] if headings else []), *([shown(cell) for cell in cells] for cells, _ in entries)]
    if not rows:
        return
    stream = notes() if err else console()
    widths = _widths(rows, bool(headings), _room(stream))
    if headings:
        _print_row(stream, headings, widths, style="dim")
    for cells, (_, detail) in zip(rows[bool(headings) :], entries, strict=True):
        _print_row(stream, cells, widths)
        for line in [detail] if isinstance(detail, str) else detail:
            if line:
                tell(line, indent=4, err=err)


def _widths(rows: Sequence[Sequence[str]], with_headings: bool, room: int | None) -> list[int]:
    """Of the columns. Where a table is wider than the screen, the one that suits most cells is made narrower:
    the others go to a line of their own, and not the last column of every row."""
    columns = list(zip(*rows, strict=True))
    widths = [min(max(map(len, column)), _WIDEST) for column in columns]
    over = 0 if room is None else sum(widths) + 2 * (len(widths) - 1) - room
    if over > 0 and with_headings:
        may = [n for n, column in enumerate(columns[:-1]) if widths[n] - over >= len(column[0])]
        fitting = {n: sum(len(cell) <= widths[n] - over for cell in columns[n]) for n in may}
        if fitting:
            widths[max(fitting, key=lambda n: (fitting[n], widths[n]))] -= over
    return widths


def _room(stream: Console) -> int | None:
    """Columns of the screen; None where nothing is broken, because a program may read it."""
    return stream.width if stream.is_terminal else None


def _print_row(stream: Console, cells: Sequence[str], widths: Sequence[int], style: str = "") -> None:
    from rich.text import Text

    room, start = _room(stream), 0
    line, used = Text(style=style), 0
    for cell, width in zip(cells, widths, strict=True):
        start += width + 2
        if room is not None and used and used + len(cell) > room:
            _print_line(stream, line)
            line, used = Text("    ", style=style), 4
        line.append(cell.ljust(width) + "  ", style=style or _COLOURS.get(cell, ""))
        used += max(width, len(cell)) + 2
        if room is not None and len(cell) > width:  # the next cells stay in their columns, one line below
            _print_line(stream, line)
            line, used = Text(" " * start, style=style), start
    _print_line(stream, line)


def _print_line(stream: Console, line: Any) -> None:
    line.rstrip()
    if line.plain:
        stream.print(line, soft_wrap=True)


# ── words ─────────────────────────────────────────────────────────────────────────────────────────────────


def masked(value: Any) -> Any:
    """A document for `--json` with every email address in it masked."""
    from onelane import display  # late: the whole SDK comes with it

    return display.masked(value)


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


_NO_ERROR: Final = {
    "reconciling": "the index may not show everybody yet",
    "second_look": "nobody was found, which proves nothing yet; a second look follows",
}
"""Not an error of the intent, but what it waits for."""


def error_words(error: dict[str, Any]) -> str:
    """An error for people: class, what Intercom said, and how."""
    kind = error.get("class")
    if kind in _NO_ERROR:
        return _NO_ERROR[kind]
    code = error.get("code")
    named = [kind, error.get("http_status"), None if code == kind else code]
    words = " ".join(str(part) for part in named if part is not None)
    message = error.get("message")
    return f"{words}: {masked(message)}" if message else words
