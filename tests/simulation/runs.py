"""Long runs, on record in docs/simulation.md."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime

from .fleet import Result
from .mutants import PAGE, ROOT

END = "<!-- /runs -->"
HEAD = (
    "| day | product at | seeds from | histories | intents | faults | broken |\n"
    "| --- | ---------- | ---------: | --------: | ------: | -----: | -----: |\n"
)


def record(first: int, result: Result) -> None:
    """Add a row for this run."""
    text = PAGE.read_text("utf-8")
    head = "" if HEAD in text else HEAD
    PAGE.write_text(text.replace(END, f"{head}{_row(first, result)}\n{END}"), "utf-8")


def _row(first: int, result: Result) -> str:
    counts = result.counts
    cells = [f"{datetime.now(UTC):%Y-%m-%d}", _commit(), f"{first:,}", f"{result.histories:,}"]
    cells += [f"{counts['intents']:,}", f"{counts['faults']:,}", str(len(result.failures))]
    return f"| {' | '.join(cells)} |"


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return f"`{done.stdout.strip()}`" if done.returncode == 0 else "–"
