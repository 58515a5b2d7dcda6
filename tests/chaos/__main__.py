"""`python -m tests.chaos`: a long chaos run; `--short` for the one of the test suite.

`--takeover` times what becomes of the lanes of a killed worker, `--failover` counts what a lost moment of
Redis costs.

Exit status 0: the promise held; 1: it was broken, or too little could be proven, as the last line says.
"""

from __future__ import annotations

import argparse
import io
import json
import secrets
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console, RenderableType
from tests.checker.checker import check

from . import failover, takeover
from .evidence import load
from .run import Options, run
from .scale import LONG, SHORT
from .table import PAPER_WIDTH, as_json, page

REPORT_EVERY_S = 5.0


class Progress:
    """One line that changes on a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._shown_at = float("-inf")

    def __call__(self, line: str) -> None:
        """Show it, if it is time."""
        now = time.monotonic()
        routine = line.endswith(("to come", "draining"))
        if self._terminal:
            sys.stderr.write(f"\r\033[K{line}")
        elif routine and now - self._shown_at < REPORT_EVERY_S:
            return
        else:
            sys.stderr.write(f"{line}\n")
        self._shown_at = now
        sys.stderr.flush()


def _options(arguments: argparse.Namespace) -> Options:
    seed = secrets.randbelow(1_000_000) if arguments.seed is None else arguments.seed
    scale = SHORT if arguments.short else LONG
    return Options(scale, seed, arguments.appendfsync)


def _judge(evidence: Path, as_data: bool) -> int:
    report = check(*load(evidence))
    print(json.dumps(report.as_json()) if as_data else report)
    return 0 if report.ok else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--short", action="store_true", help="the form of the test suite")
    form.add_argument("--takeover", action="store_true", help="kill the only worker with 64 lanes at work")
    form.add_argument("--failover", action="store_true", help="kill Redis, with and without the hold")
    form.add_argument("--judge", type=Path, metavar="EVIDENCE", help="judge what an earlier run left")
    parser.add_argument("--seed", type=int, help="plays the same schedule again")
    parser.add_argument("--appendfsync", choices=("always", "everysec"), default="always")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--folder", type=Path, help="where logs, evidence and the result go")
    return parser


def main() -> int:
    """Run; print the table; 0 or 1."""
    parser = _parser()
    arguments = parser.parse_args()
    if arguments.judge:
        return _judge(arguments.judge, arguments.json)
    options = _options(arguments)
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="onelane-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        parser.error(f"{folder} is not empty")
    print(f"seed {options.seed}, logs in {folder}", file=sys.stderr, flush=True)
    outcome = _outcome(arguments, options, folder)
    sys.stderr.write("\n")
    paper = io.StringIO()
    Console(file=paper, width=PAPER_WIDTH, highlight=False).print(outcome.shown)
    (folder / "result.json").write_text(json.dumps(outcome.data, indent=1))
    (folder / "table.txt").write_text(paper.getvalue())
    if arguments.json:
        print(json.dumps(outcome.data))
    else:
        width = None if sys.stdout.isatty() else PAPER_WIDTH
        Console(highlight=False, width=width).print(outcome.shown)
    return 0 if outcome.ok else 1


@dataclass(frozen=True)
class _Outcome:
    ok: bool
    shown: RenderableType
    data: object


def _outcome(arguments: argparse.Namespace, options: Options, folder: Path) -> _Outcome:
    if arguments.takeover:
        taken = takeover.run(options.seed, folder, Progress())
        return _Outcome(taken.ok, taken.table(), taken.as_json())
    if arguments.failover:
        seen = failover.run(options.seed, folder, Progress())
        return _Outcome(all(one.ok for one in seen), failover.table(seen), [one.as_json() for one in seen])
    result = run(options, folder, Progress())
    return _Outcome(result.ok, page(result), as_json(result))


if __name__ == "__main__":
    sys.exit(main())
