"""Does the simulation bite? `python -m tests.simulation.mutants` puts every deliberate fault into a copy of the
product, one at a time, and tells how many histories it takes to notice. Exits with 1 if one goes unnoticed.

    --names belief-never-expires,…   only these      --histories 3000   at most so many each
    --seed-from 0                    begin elsewhere  --recorded         only the seeds on record
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .faults_in_code import CODE_FAULTS, SIMULATION, CodeFault
from .fleet import play_seeds

ROOT = Path(__file__).parents[2]
RECORD = Path(__file__).with_name("caught.json")
"""Fault → a seed that notices it."""
MOST_HISTORIES = 4_000


@dataclass(frozen=True, slots=True)
class Catch:
    """How one fault fared."""

    fault: CodeFault
    histories: int
    seed: int | None
    """The history that noticed; None if none did, or if a test had to."""
    what: str
    """What was noticed; empty: nothing."""

    @property
    def caught(self) -> bool:
        return bool(self.what)

    def __str__(self) -> str:
        after = f"{self.histories}" if self.seed is None else f"{self.histories} (seed {self.seed})"
        return f"{self.fault.name:30} {'caught' if self.caught else 'SURVIVED':9} {after:22} {self.what[:90]}"


@contextmanager
def faulty(fault: CodeFault) -> Iterator[Path]:
    """A copy of the product with the fault in it. Raises if the text to replace is not there exactly once."""
    with tempfile.TemporaryDirectory(prefix="onelane-mutant-") as folder:
        for package in ("worker", "producers"):
            shutil.copytree(
                ROOT / package, Path(folder) / package, ignore=shutil.ignore_patterns("__pycache__")
            )
        for edit in fault.edits:
            _apply(Path(folder) / edit.file, edit.old, edit.new, fault.name)
        yield Path(folder)


def _apply(file: Path, old: str, new: str, name: str) -> None:
    text = file.read_text("utf-8")
    if text.count(old) != 1:
        raise LookupError(f"{name}: {old!r} stands {text.count(old)} times in {file.name}, not once")
    file.write_text(text.replace(old, new), "utf-8")


def hunt(fault: CodeFault, first: int, histories: int, jobs: int) -> Catch:
    """Play until somebody notices the fault."""
    with faulty(fault) as folder:
        if fault.catcher != SIMULATION:
            return _by_test(fault, folder)
        return _by_simulation(fault, folder, first, histories, jobs)


def _by_simulation(fault: CodeFault, folder: Path, first: int, histories: int, jobs: int) -> Catch:
    result = play_seeds(first, histories, jobs, until_failure=True, path=str(folder))
    if result.lost:
        raise RuntimeError("\n".join(result.lost))
    if not result.failures:
        return Catch(fault, histories, None, "")
    seed = min(one["seed"] for one in result.failures)
    said = next(one for one in result.failures if one["seed"] == seed)["violations"][0]
    return Catch(fault, seed - first + 1, seed, said.splitlines()[0])


def _by_test(fault: CodeFault, folder: Path) -> Catch:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(ROOT / fault.catcher)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(folder), str(ROOT)))}
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    return Catch(fault, 0, None, fault.catcher if done.returncode == 1 else "")


def recorded() -> dict[str, int]:
    """Fault → a seed that has noticed it before."""
    return dict(json.loads(RECORD.read_text("utf-8"))) if RECORD.exists() else {}


def main(arguments: Sequence[str] | None = None) -> int:
    """Hunt all of them, and print the table."""
    asked = _parser().parse_args(arguments)
    names = asked.names.split(",") if asked.names else [fault.name for fault in CODE_FAULTS]
    known, survivors = recorded(), []
    print(f"{'fault':30} {'':9} {'after histories':22} noticed as")
    for fault in (one for one in CODE_FAULTS if one.name in names):
        if asked.recorded:
            catch = hunt(fault, known[fault.name], 1, 1)
        else:
            catch = hunt(fault, asked.seed_from, asked.histories, asked.jobs)
        print(catch, flush=True)
        if not catch.caught:
            survivors.append(fault.name)
        elif catch.seed is not None:
            known[fault.name] = catch.seed
    if asked.write:
        RECORD.write_text(json.dumps(dict(sorted(known.items())), indent=2) + "\n", "utf-8")
    print(f"{len(names) - len(survivors)} of {len(names)} caught", *survivors)
    return 1 if survivors else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutants")
    parser.add_argument("--names", default="")
    parser.add_argument("--histories", type=int, default=MOST_HISTORIES)
    parser.add_argument("--seed-from", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--recorded", action="store_true", help="only the seeds on record")
    parser.add_argument("--write", action="store_true", help="put the seeds that noticed on record")
    return parser


if __name__ == "__main__":
    sys.exit(main())
