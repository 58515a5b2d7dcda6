"""`python -m tests.model`: many histories of the protocol's model, or its mutants.

    --histories 20000 --jobs 2                    numbers 0 … 19,999, over all suites
    --histories 1000000 --record FILE             the same, stored as it goes; called again it goes on
    --suite ext2 --show 4711                      one history, step by step
    mutants --histories 400 --write               every rule off in turn; what caught it goes on record

Exits with 1 if the judge has found a violation, or if a mutant that is on record was not caught.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

from .fleet import begun_run, run_fleet
from .mutants import hunt_all, recorded
from .play import play
from .rules import RULES, Rules
from .suites import SUITES


def main() -> int:
    """Read the arguments and do as told."""
    parser = _parser()
    arguments = parser.parse_args()
    if arguments.what == "mutants":
        return _mutants(arguments)
    if arguments.show is not None:
        return _show(arguments.show, arguments.suite, arguments.off)
    first, goal = arguments.seed0, arguments.seed0 + arguments.histories
    run = begun_run(first, goal, arguments.suite, arguments.record)
    run_fleet(run, arguments.jobs, arguments.record, arguments.json)
    if arguments.json:
        print(json.dumps(asdict(run)))
    else:
        for one in run.shown:
            print(f"{one['suite']} {one['number']}: {'; '.join(one['violations'])}")
        print(run.line())
    return 1 if run.violations else 0


def _mutants(arguments: argparse.Namespace) -> int:
    known = recorded()
    result = hunt_all(arguments.histories, arguments.jobs, arguments.off, arguments.write)
    caught = [name for name, found in result.items() if found]
    missed = [name for name in result if name not in caught]
    if arguments.json:
        print(json.dumps({"caught": {name: result[name] for name in caught}, "not_caught": missed}))
    else:
        print(f"{len(caught)} of {len(result)} mutants caught; not caught: {', '.join(missed) or 'none'}")
    return 1 if any(name in known for name in missed) else 0


def _show(number: int, suite: str | None, off: list[str]) -> int:
    trace: list[str] = []
    played = play(number, suite, Rules(*off), trace)
    print("\n".join(trace))
    print(f"{played.suite} {number}: {'; '.join(played.violations) or 'no violation'}")
    return 1 if played.violations else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.model",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("what", nargs="?", choices=("histories", "mutants"), default="histories")
    parser.add_argument("--histories", type=int, default=1_000, help="how many; of each mutant")
    parser.add_argument("--seed0", type=int, default=0, help="the first history's number")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--suite", choices=SUITES, help="one kind of history only")
    parser.add_argument("--record", type=Path, help="a file in which the run is stored, and gone on with")
    parser.add_argument("--show", type=int, metavar="NUMBER", help="tell all that happens in one history")
    parser.add_argument(
        "--off", nargs="*", default=[], choices=RULES, metavar="RULE", help="rules to switch off"
    )
    parser.add_argument("--write", action="store_true", help="of mutants: put what caught them on record")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
