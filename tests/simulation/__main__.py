"""`python -m tests.simulation`: many histories, or one.

    --histories 1000000 --seed-from 5000 --jobs 2     a long run, with its progress
    --seed 4711 --trace                               one history, step by step
    --seed 4711 --shrink                              and without the parts that it does not need

Exits with 1 if a promise was broken. A seed is the same history every time, in every process.
"""

from __future__ import annotations

import argparse
import os
import sys

from .drawing import draw
from .fleet import run_fleet
from .histories import TAIL, explain, play, shrink
from .runs import record
from .seeds import work


def main() -> int:
    """Read the arguments and do as told."""
    if os.environ.get("PYTHONHASHSEED") != "0":  # sets of strings have an order, too
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.simulation", *sys.argv[1:]])
    arguments = _parser().parse_args()
    if arguments.worker:
        return work(range(arguments.seed_from, arguments.seed_to, arguments.step), arguments.until_failure)
    if arguments.seed is not None:
        return _one(arguments.seed, arguments.trace, arguments.shrink)
    result = run_fleet(arguments.seed_from, arguments.histories, arguments.jobs, arguments.until_failure)
    if arguments.record:
        record(arguments.seed_from, result)
    return 0 if result.ok else 1


def _one(seed: int, trace: bool, smaller: bool) -> int:
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
    parser.add_argument("--seed-from", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--record", action="store_true", help="put the run on record in docs/simulation.md")
    parser.add_argument("--until-failure", action="store_true", help="stop at the first broken promise")
    parser.add_argument("--seed", type=int, help="one history only")
    parser.add_argument("--trace", action="store_true", help="tell all that happened in it")
    parser.add_argument("--shrink", action="store_true", help="leave out what it does not need to fail")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--seed-to", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--step", type=int, default=1, help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
