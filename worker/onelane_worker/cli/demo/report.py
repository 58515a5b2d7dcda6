"""The result of the demo: as a document, and as a table that fits a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from onelane_worker.cli import _output as output
from onelane_worker.cli.demo.judge import Verdict
from onelane_worker.cli.demo.stories import Story

if TYPE_CHECKING:
    from rich.table import Table

BEFORE, AFTER = "find-then-create", "Onelane"


@dataclass(frozen=True, slots=True)
class Row:
    """One story, played by both sides."""

    story: Story
    before: Verdict
    after: Verdict


@dataclass(frozen=True, slots=True)
class Total:
    """All stories of one side."""

    people: int
    contacts: int
    duplicates: int
    lost: int
    calls: int

    @property
    def is_clean(self) -> bool:
        return not self.duplicates and not self.lost


def total(verdicts: Sequence[Verdict]) -> Total:
    """The sum of one side's stories."""
    return Total(
        people=sum(one.people for one in verdicts),
        contacts=sum(one.contacts for one in verdicts),
        duplicates=sum(one.duplicates for one in verdicts),
        lost=sum(len(one.lost) for one in verdicts),
        calls=sum(one.calls for one in verdicts),
    )


def passed(rows: Sequence[Row]) -> bool:
    """Whether Onelane made each person once and lost nothing."""
    return total([row.after for row in rows]).is_clean


def document(rows: Sequence[Row], index_lag_s: float) -> dict[str, Any]:
    """For `--json`."""
    return {
        "index_lag_s": index_lag_s,
        "stories": [
            {
                "story": row.story.title,
                "intents": row.story.intents,
                "note": row.story.note,
                "find_then_create": row.before.document(),
                "onelane": row.after.document(),
            }
            for row in rows
        ],
        "total": {
            "find_then_create": _total_document([row.before for row in rows]),
            "onelane": _total_document([row.after for row in rows]),
        },
        "passed": passed(rows),
    }


def _total_document(verdicts: Sequence[Verdict]) -> dict[str, int]:
    found = total(verdicts)
    names = ("people", "contacts", "duplicates", "lost", "calls")
    return {name: getattr(found, name) for name in names}


def show(rows: Sequence[Row], index_lag_s: float) -> None:
    """The table, its notes, and the verdict."""
    console = output.console()
    table = _table()
    notes: list[str] = []
    for row in rows:
        mark = ""
        if row.story.note is not None:
            notes.append(row.story.note)
            mark = f" [{len(notes)}]"
        _add(table, row.story.title + mark, BEFORE, row.before)
        _add(table, "", AFTER, row.after)
    console.print(table)
    for number, note in enumerate(notes, 1):
        console.print(f"[{number}] {note}", style="dim", markup=False)
    console.print(_about(index_lag_s), style="dim")
    _show_verdict(rows)


def _table() -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("story", max_width=26)
    table.add_column("by", no_wrap=True)
    for name in ("made", "dupl.", "lost", "calls", "visible"):
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _add(table: Table, title: str, side: str, told: Verdict) -> None:
    from rich.markup import escape

    visible = "never" if told.visible_s is None else f"{told.visible_s:.2f} s"
    cells = [str(told.contacts), _bad(told.duplicates), _bad(len(told.lost)), str(told.calls), visible]
    table.add_row(escape(title), side, *cells)


def _bad(count: int) -> str:
    return f"[bold red]{count}[/]" if count else "0"


def _about(index_lag_s: float) -> str:
    return (
        f"Index lag {index_lag_s:g} s. Contacts made, duplicates and lost values as the true state shows "
        "them; visible: from the first intent until all of it was true."
    )


def _show_verdict(rows: Sequence[Row]) -> None:
    before, after = total([row.before for row in rows]), total([row.after for row in rows])
    console = output.console()
    console.print()
    console.print(f"{BEFORE}  {_verdict(before)}")
    console.print(
        f"{AFTER:{len(BEFORE)}}  {_verdict(after)}", style="bold green" if after.is_clean else "bold red"
    )


def _verdict(side: Total) -> str:
    duplicates, lost = output.many(side.duplicates, "duplicate"), output.many(side.lost, "lost value")
    return f"{output.many(side.contacts, 'contact')} for {side.people} people: {duplicates}, {lost}"
