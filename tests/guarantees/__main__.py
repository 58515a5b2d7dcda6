"""`python -m tests.guarantees` breaks every promise of docs/guarantees.md, one at a time, and tells whether
the test named beside it notices. Exits with 1 if one does not, or fails on the product as it is.

    --only TEXT    only the rows whose promise or test contains it      --jobs 2    at most so many at a time
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from rich.console import Console
from rich.table import Table
from tests.faults import Fault

from .proof import Verdict, passes, prove
from .row import Row
from .rows import ROWS


def main(arguments: Sequence[str] | None = None) -> int:
    """Prove them all, and print the table."""
    asked = _parser().parse_args(arguments)
    pairs = [(row, fault) for row in ROWS for fault in row.faults]
    pairs = [pair for pair in pairs if asked.only.lower() in f"{pair[0].promise} {pair[1].catcher}".lower()]
    console = Console(width=None if sys.stdout.isatty() else 150)
    began = time.monotonic()
    with ThreadPoolExecutor(asked.jobs) as pool:
        whole = pool.submit(passes, list(dict.fromkeys(fault.catcher for _, fault in pairs)))
        verdicts = list(pool.map(_told, [fault for _, fault in pairs]))
        intact = whole.result()
    console.print(_table([(*pair, verdict) for pair, verdict in zip(pairs, verdicts, strict=True)]))
    survivors = [fault for (_, fault), verdict in zip(pairs, verdicts, strict=True) if not verdict.caught]
    rows = len({row.promise for row, _ in pairs})
    console.print(
        f"{rows} promises, {len(pairs)} faults, {len(pairs) - len(survivors)} caught, "
        f"{len(survivors)} survived; on the product as it is all tests "
        f"{'pass' if intact.caught else 'do NOT pass'} ({time.monotonic() - began:.0f} s)"
    )
    if not intact.caught:
        console.print(intact.why, markup=False)
    return 1 if survivors or not intact.caught else 0


def _told(fault: Fault) -> Verdict:
    verdict = prove(fault)
    print(
        f"{verdict.seconds:5.1f} s  {verdict.why or 'caught'}  {fault.catcher}", file=sys.stderr, flush=True
    )
    return verdict


def _table(told: Sequence[tuple[Row, Fault, Verdict]]) -> Table:
    table = Table("promise", "fault", "test", "", "s", box=None, pad_edge=False, header_style="bold")
    table.columns[2].overflow = "fold"
    table.columns[4].justify = "right"
    before = ""
    for row, fault, verdict in told:
        word = "[green]caught[/]" if verdict.caught else f"[red]SURVIVED[/] {verdict.why}"
        promise = "" if row.promise == before else row.promise
        before = row.promise
        table.add_row(
            promise, fault.about, fault.catcher.removeprefix("tests/"), word, f"{verdict.seconds:.1f}"
        )
    return table


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.guarantees")
    parser.add_argument("--only", default="")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    return parser


if __name__ == "__main__":
    sys.exit(main())
