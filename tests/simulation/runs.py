"""Long runs, on record in docs/simulation.md."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

from .fleet import Result

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "simulation.md"
END = "<!-- /runs -->"
HEAD = (
    "| day | product at | seeds from | histories | intents | faults | broken |\n"
    "| --- | ---------- | ---------: | --------: | ------: | -----: | -----: |\n"
)


def record(result: Result) -> None:
    """Add a row for this run."""
    text = PAGE.read_text("utf-8")
    head = "" if HEAD in text else HEAD
    PAGE.write_text(text.replace(END, f"{head}{_row(result)}\n{END}"), "utf-8")


def _row(result: Result) -> str:
    counts = result.counts
    cells = [f"{datetime.now(UTC):%Y-%m-%d}", _commit(), f"{result.first:,}", f"{result.histories:,}"]
    cells += [f"{counts['intents']:,}", f"{counts['faults']:,}", str(len(result.failures))]
    return f"| {' | '.join(cells)} |"


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return f"`{done.stdout.strip()}`" if done.returncode == 0 else "–"
