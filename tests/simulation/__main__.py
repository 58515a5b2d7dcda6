"""`python -m tests.simulation`: many histories, or one.

    --histories 1000000 --seed0 5000 --jobs 2 --keep run.json   a long run; the same command resumes it
    --seed 4711 --trace                                         one history, step by step
    --seed 4711 --shrink                                        without the parts that it does not need

Exits with 1 if a promise was broken. A seed is the same history every time, in every process.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

from .drawing import draw
from .fleet import play_seeds, run_fleet
from .mutants import MUTANTS
from .play import TAIL, explain, play, shrink
from .runs import record


def main() -> int:
    """Read the arguments and do as told."""
    if os.environ.get("PYTHONHASHSEED") != "0":  # sets of strings have an order, too
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])
    asked = _parser().parse_args()
    if asked.seed is not None:
        return _one(asked.seed, asked.mutant, asked.trace, asked.shrink)
    result = play_seeds(
        asked.seed0,
        asked.histories,
        asked.jobs,
        mutant=asked.mutant,
        until_failure=asked.until_failure,
        show=True,
        keep=asked.keep,
    )
    run_fleet(result)
    if asked.record:
        record(result)
    return 1 if result.failures else 0


def _one(seed: int, mutant: str, trace: bool, smaller: bool) -> int:
    logging.disable(logging.CRITICAL)
    if mutant:
        MUTANTS[mutant].apply()
    script = shrink(draw(seed)) if smaller else draw(seed)
    verdict, _ = play(script)
    if trace or verdict.violations:
        print(explain(script, 1_000_000 if trace else TAIL))
    print(f"seed {seed}: {'BROKEN' if verdict.violations else 'the promise holds'}, {dict(verdict.counts)}")
    return 1 if verdict.violations else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--histories", type=int, default=1_000)
    parser.add_argument("--seed0", type=int, default=0, help="the first seed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--keep", type=Path, help="a file that holds what was found; go on from there")
    parser.add_argument("--record", action="store_true", help="put the run on record in docs/simulation.md")
    parser.add_argument("--until-failure", action="store_true", help="stop at the first broken promise")
    parser.add_argument("--mutant", choices=sorted(MUTANTS), default="", help="with this rule switched off")
    parser.add_argument("--seed", type=int, help="one history only")
    parser.add_argument("--trace", action="store_true", help="tell all that happened in it")
    parser.add_argument("--shrink", action="store_true", help="leave out what it does not need to fail")
    return parser


if __name__ == "__main__":
    sys.exit(main())
