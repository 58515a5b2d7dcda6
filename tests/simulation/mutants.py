"""Does the simulation bite? `python -m tests.simulation.mutants` switches off one rule of the product after
the other, and tells how many histories it takes to notice. Exits with 1 if one survives.

What few histories notice is looked for by the comparison of the scripts with the model of the protocol, too
(tests/unit/lanes/test_conformance.py).

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
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

from .mutant import Mutant
from .mutants_in_lanes import IN_LANES
from .mutants_in_rules import IN_RULES

MUTANTS: Mapping[str, Mutant] = {mutant.name: mutant for mutant in (*IN_LANES, *IN_RULES)}
RECORD = Path(__file__).with_name("caught.json")
MOST_HISTORIES = 4_000
FEW_HISTORIES = 400
COMPARISONS = 200
Way = Literal["history", "comparison"]
WORDS = 90
"""Characters of a violation that are told."""


@dataclass(frozen=True, slots=True)
class Found:
    """What is on record of a mutant."""

    seed: int
    """The first history, or comparison, that notices it."""
    what: str
    """What it notices first."""
    by: Way = "history"


def hunt(mutant: Mutant, first: int, histories: int, jobs: int) -> Found | None:
    """Look for what notices it: some histories, the comparison, all histories. None: nothing does."""
    few = min(FEW_HISTORIES, histories)
    return (
        in_histories(mutant, first, few, jobs)
        or in_comparisons(mutant, 0, COMPARISONS)
        or in_histories(mutant, first + few, histories - few, jobs)
    )


def in_histories(mutant: Mutant, first: int, histories: int, jobs: int) -> Found | None:
    """Play until a history notices."""
    from .fleet import play_seeds

    result = play_seeds(first, histories, jobs, mutant=mutant.name, until_failure=True)
    if not result.failures:
        return None
    failure = min(result.failures, key=lambda one: int(one["seed"]))
    return Found(failure["seed"], _plain(failure["violations"][0].splitlines()[0]))


def in_comparisons(mutant: Mutant, first: int, count: int) -> Found | None:
    """Compare scripts and model until they differ."""
    with get_context("spawn").Pool(1) as pool:
        return pool.apply(_compare, (mutant.name, range(first, first + count)))


def _compare(name: str, seeds: range) -> Found | None:
    from tests.model.twin import Difference
    from tests.unit.lanes.test_conformance import SmallServer, compare

    MUTANTS[name].apply()
    for seed in seeds:
        try:
            compare(SmallServer(), seed, keys_end=True)
        except Difference as difference:
            return Found(seed, _plain(str(difference).splitlines()[0]), "comparison")
    return None


def again(mutant: Mutant, found: Found) -> Found | None:
    """What is on record, played again."""
    if found.by == "comparison":
        return in_comparisons(mutant, found.seed, 1)
    return in_histories(mutant, found.seed, 1, 1)


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
        "| rule switched off | what happens | noticed by | as |",
        "| ----------------- | ------------ | ---------: | -- |",
    ]
    for name, mutant in MUTANTS.items():
        found = known.get(name)
        told = (
            f"{found.by} {found.seed} | {found.what.replace('|', '/')}" if found else f"– | {mutant.covered}"
        )
        rows.append(f"| `{name}` | {mutant.about} | {told} |")
    return "\n".join(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Hunt all of them, and print the table."""
    asked = _parser().parse_args(arguments)
    names = (
        asked.names.split(",") if asked.names else [name for name, one in MUTANTS.items() if not one.covered]
    )
    known, survivors = recorded(), []
    for name in names:
        if asked.recorded:
            found = again(MUTANTS[name], known[name])
        else:
            found = hunt(MUTANTS[name], asked.seed0, asked.histories, asked.jobs)
        print(f"{name:34}", f"{found.by} {found.seed}: {found.what}" if found else "SURVIVED", flush=True)
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
