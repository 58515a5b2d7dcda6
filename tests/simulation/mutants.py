"""Does the simulation bite? `python -m tests.simulation.mutants` switches off one rule of the product after
the other, and tells how many histories it takes to notice. Exits with 1 if one survives.

    --names belief-never-expires,…   only these       --histories 3000   at most so many each
    --seed0 0                        begin elsewhere  --recorded         only the seeds on record
    --write                          put what was found on record, and into docs/simulation.md
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from .mutant import Mutant
from .mutants_in_lanes import IN_LANES
from .mutants_in_rules import IN_RULES

MUTANTS: Mapping[str, Mutant] = {mutant.name: mutant for mutant in (*IN_LANES, *IN_RULES)}
RECORD = Path(__file__).with_name("caught.json")
MOST_HISTORIES = 4_000
WORDS = 90
"""Characters of a violation that are told."""


@dataclass(frozen=True, slots=True)
class Found:
    """What is on record of a mutant."""

    seed: int
    """The first history that notices it."""
    what: str
    """What it notices first."""


def hunt(mutant: Mutant, first: int, histories: int, jobs: int) -> Found | None:
    """Play until a history notices; None if none does."""
    from .fleet import play_seeds

    result = play_seeds(first, histories, jobs, mutant=mutant.name, until_failure=True)
    if not result.failures:
        return None
    failure = min(result.failures, key=lambda one: int(one["seed"]))
    return Found(failure["seed"], _plain(failure["violations"][0].splitlines()[0]))


def recorded() -> dict[str, Found]:
    """Mutant → how it has been noticed before."""
    told = json.loads(RECORD.read_text("utf-8")) if RECORD.exists() else {}
    return {name: Found(**found) for name, found in told.items()}


def record(known: Mapping[str, Found]) -> None:
    """Put it on record."""
    from .runs import PAGE

    told = {name: asdict(found) for name, found in sorted(known.items()) if name in MUTANTS}
    RECORD.write_text(json.dumps(told, indent=2, ensure_ascii=False) + "\n", "utf-8")
    begin, end = "<!-- faults -->\n", "<!-- /faults -->"
    before, _, rest = PAGE.read_text("utf-8").partition(begin)
    _, _, after = rest.partition(end)
    PAGE.write_text(f"{before}{begin}{as_table(known)}\n{end}{after}", "utf-8")


def as_table(known: Mapping[str, Found]) -> str:
    """The record as a page shows it."""
    rows = [
        "| rule switched off | what happens | by seed | noticed as |",
        "| ----------------- | ------------ | ------: | ---------- |",
    ]
    for name, mutant in MUTANTS.items():
        found = known.get(name, Found(-1, "**not noticed**"))
        rows.append(f"| `{name}` | {mutant.about} | {found.seed} | {found.what.replace('|', '/')} |")
    return "\n".join(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Hunt all of them, and print the table."""
    asked = _parser().parse_args(arguments)
    names = asked.names.split(",") if asked.names else list(MUTANTS)
    known, survivors = recorded(), []
    for name in names:
        if asked.recorded:
            found = hunt(MUTANTS[name], known[name].seed, 1, 1)
        else:
            found = hunt(MUTANTS[name], asked.seed0, asked.histories, asked.jobs)
        print(f"{name:34} {found.seed if found else 'SURVIVED':>8} {found.what if found else ''}", flush=True)
        if found is None:
            survivors.append(name)
            known.pop(name, None)
        else:
            known[name] = found
    if asked.write:
        record(known)
    print(f"{len(names) - len(survivors)} of {len(names)} caught", *survivors)
    return 1 if survivors else 0


def _plain(what: str) -> str:
    """A violation without its moment, ids and details, short enough for a table."""
    text = re.sub(
        r"^at [\d.]+: (at [\d.]+, after \w+: \w+: )?|; lane .*| \{.*|: dict_values.*|: (\[')?[0-9a-f]{8}.*",
        "",
        what,
    )
    return text if len(text) <= WORDS else f"{text[:WORDS]}…"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.mutants")
    parser.add_argument("--names", default="")
    parser.add_argument("--histories", type=int, default=MOST_HISTORIES)
    parser.add_argument("--seed0", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--recorded", action="store_true", help="only the seeds on record")
    parser.add_argument("--write", action="store_true", help="put the seeds that noticed on record")
    return parser


if __name__ == "__main__":
    sys.exit(main())
