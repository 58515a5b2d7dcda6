"""Many histories, in several processes, with progress and a record that can be gone on with."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

from onelane_worker.lanes import types

from .play import Played, play

CHUNK: Final = 100
SHOWN: Final = 20
"""Violations that are kept."""
HERE: Final = Path(__file__).parent


@dataclass
class Run:
    """Histories with the numbers `first` to `until`, of those up to `goal`."""

    first: int
    goal: int
    until: int
    suite: str | None = None
    model: str = ""
    """Digest of the model's sources."""
    commit: str = ""
    violations: int = 0
    shown: list[dict[str, Any]] = field(default_factory=list)
    """The first violations: number, suite, what."""
    faults: int = 0
    intents: int = 0
    seconds: float = 0.0

    @property
    def histories(self) -> int:
        return self.until - self.first

    def add(self, chunk: Iterable[Played]) -> None:
        """What came of the next histories."""
        for one in chunk:
            self.until = one.number + 1
            self.faults += one.faults
            self.intents += one.intents
            if one.violations:
                self.violations += 1
                if len(self.shown) < SHOWN:
                    self.shown.append(
                        {"number": one.number, "suite": one.suite, "violations": list(one.violations)}
                    )

    def line(self) -> str:
        """How far it is."""
        rate = self.histories / self.seconds if self.seconds else 0.0
        return (
            f"{self.histories:,} of {self.goal - self.first:,} histories, {self.faults:,} faults, "
            f"{self.violations} with violations, {rate:.0f} a second"
        )


def run_fleet(run: Run, jobs: int, record: Path | None, quiet: bool) -> None:
    """Play what is left of a run; every few seconds its state is stored and told."""
    begun, told, before = time.monotonic(), 0.0, run.seconds
    for chunk in _chunks(run, jobs):
        run.add(chunk)
        now = time.monotonic()
        run.seconds = round(before + now - begun, 1)
        if now - told >= (2.0 if sys.stderr.isatty() else 30.0):
            told = now
            if record is not None:
                store(record, run)
            if not quiet:
                print(run.line(), file=sys.stderr, end="\r" if sys.stderr.isatty() else "\n", flush=True)
    if record is not None:
        store(record, run)


def _chunks(run: Run, jobs: int) -> Iterator[list[Played]]:
    starts = range(run.until, run.goal, CHUNK)
    work = partial(_play_chunk, goal=run.goal, suite=run.suite)
    if jobs <= 1:
        yield from map(work, starts)
        return
    with processes(jobs) as pool:
        yield from pool.map(work, starts)


def processes(jobs: int) -> ProcessPoolExecutor:
    """Processes that share nothing with this one."""
    return ProcessPoolExecutor(jobs, get_context("spawn"))


def _play_chunk(start: int, goal: int, suite: str | None) -> list[Played]:
    return [play(number, suite) for number in range(start, min(start + CHUNK, goal))]


# ── the record ──


def model_digest() -> str:
    """Digest of all that a history depends on."""
    sources = [*sorted(HERE.glob("*.py")), Path(types.__file__)]
    sources = [path for path in sources if not path.name.startswith("test_")]
    return hashlib.sha256(b"\0".join(path.read_bytes() for path in sources)).hexdigest()[:16]


def begun_run(first: int, goal: int, suite: str | None, record: Path | None) -> Run:
    """A new run, or the recorded one that is not at its goal and was made by this very model."""
    model = model_digest()
    for known in _recorded(record):
        same = (known.first, known.goal, known.suite, known.model) == (first, goal, suite, model)
        if same and known.until < known.goal:
            return known
    return Run(first, goal, first, suite, model, _commit())


def store(record: Path, run: Run) -> None:
    """Put a run on record, in the place of its earlier state."""
    runs = [
        known
        for known in _recorded(record)
        if (known.first, known.goal, known.suite, known.model) != (run.first, run.goal, run.suite, run.model)
    ]
    text = json.dumps([asdict(one) for one in [*runs, run]], indent=1)
    draft = record.with_suffix(".tmp")
    draft.write_text(text + "\n", "utf-8")
    draft.replace(record)


def _recorded(record: Path | None) -> list[Run]:
    if record is None or not record.exists():
        return []
    return [Run(**one) for one in json.loads(record.read_text("utf-8"))]


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    return done.stdout.strip()
