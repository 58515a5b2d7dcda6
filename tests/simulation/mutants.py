"""Does the simulation bite? `python -m tests.simulation.mutants` puts every deliberate fault into a copy of
the product, one at a time, and tells how many histories it takes to notice. Exits with 1 if one survives.

    --names belief-never-expires,…   only these       --histories 3000   at most so many each
    --seed-from 0                    begin elsewhere  --recorded         only the seeds on record
    --write                          put what was found on record, and into docs/simulation.md
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.faults import SIMULATION, CodeFault, faulty, import_path

from .faults_in_code import CODE_FAULTS
from .fleet import play_seeds

ROOT = Path(__file__).parents[2]
RECORD = Path(__file__).with_name("caught.json")
PAGE = ROOT / "docs" / "simulation.md"
MOST_HISTORIES = 4_000
WORDS = 90
"""Characters of a violation that are told."""


@dataclass(frozen=True, slots=True)
class Found:
    """What is on record of a fault."""

    seed: int
    """A history that notices it: so many went by before, from seed 0 on."""
    what: str
    """What it notices first."""


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
        verdict = "caught" if self.caught else "SURVIVED"
        return f"{self.fault.name:30} {verdict:9} {after:22} {self.what[:WORDS]}"


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
    environment = {**os.environ, "PYTHONPATH": import_path(folder)}
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=False)
    return Catch(fault, 0, None, fault.catcher if done.returncode == 1 else "")


def recorded() -> dict[str, Found]:
    """Fault → how it has been noticed before."""
    told = json.loads(RECORD.read_text("utf-8")) if RECORD.exists() else {}
    return {name: Found(**found) for name, found in told.items()}


def record(known: Mapping[str, Found]) -> None:
    """Put it on record."""
    told = {name: asdict(found) for name, found in sorted(known.items())}
    RECORD.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", "utf-8")
    begin, end = "<!-- faults -->\n", "<!-- /faults -->"
    before, _, rest = PAGE.read_text("utf-8").partition(begin)
    _, _, after = rest.partition(end)
    PAGE.write_text(f"{before}{begin}{as_table(known)}\n{end}{after}", "utf-8")


def as_table(known: Mapping[str, Found]) -> str:
    """The record as a page shows it."""
    rows = [
        "| fault | what is done | by seed | noticed as |",
        "| ----- | ------------ | ------: | ---------- |",
    ]
    for fault in CODE_FAULTS:
        found = known[fault.name]
        rows.append(f"| `{fault.name}` | {fault.about} | {found.seed} | {found.what.replace('|', '/')} |")
    return "\n".join(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Hunt all of them, and print the table."""
    asked = _parser().parse_args(arguments)
    names = asked.names.split(",") if asked.names else [fault.name for fault in CODE_FAULTS]
    known, survivors = recorded(), []
    print(f"{'fault':30} {'':9} {'after histories':22} noticed as")
    for fault in (one for one in CODE_FAULTS if one.name in names):
        if asked.recorded:
            catch = hunt(fault, known[fault.name].seed, 1, 1)
        else:
            catch = hunt(fault, asked.seed_from, asked.histories, asked.jobs)
        print(catch, flush=True)
        if not catch.caught:
            survivors.append(fault.name)
        elif catch.seed is not None:
            known[fault.name] = Found(catch.seed, _plain(catch.what))
    if asked.write:
        record(known)
    print(f"{len(names) - len(survivors)} of {len(names)} caught", *survivors)
    return 1 if survivors else 0


def _plain(what: str) -> str:
    """A violation without its moment, ids and details, short enough for a table."""
    text = re.sub(r"^at [\d.]+: |; lane .*| \{.*|: (\[')?a0000.*", "", what)
    return text if len(text) <= WORDS else f"{text[:WORDS]}…"


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
