"""A run over several processes, with its progress, its failures in words, and a file to resume it from."""

from __future__ import annotations

import gc
import json
import logging
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field, fields
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

CHUNK = 20
"""Seeds that a process plays before it tells what it found, and collects its garbage: a history is full of
circles, and small."""
EXPLAINED = 3
"""Failures that are told in full."""


@dataclass(slots=True)
class Result:
    """What a run has found."""

    first: int
    """Its first seed."""
    histories: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[dict[str, Any]] = field(default_factory=list)
    """seed, violations"""
    took_s: float = 0.0

    def __str__(self) -> str:
        names = ("intents", "writes", "faults", "troubles", "steps")
        sizes = ", ".join(f"{name} {self.counts[name]}" for name in names)
        rate = self.histories / self.took_s if self.took_s else 0.0
        head = f"{self.histories} histories in {self.took_s:.0f} s ({rate:.0f}/s): {sizes}"
        lines = [f"seed {one['seed']}: {one['violations'][0]}" for one in self.failures]
        verdict = f"BROKEN in {len(self.failures)} histories" if self.failures else "every promise held"
        return "\n".join([head, verdict, *lines])


def play_seeds(
    first: int,
    count: int,
    jobs: int,
    *,
    mutant: str = "",
    until_failure: bool = False,
    show: bool = False,
    keep: Path | None = None,
) -> Result:
    """Play `count` seeds from `first` on in `jobs` processes. `keep`: a file with what was found so far;
    a run that was broken off goes on from there."""
    result = _kept(keep, first)
    begin = first + result.histories
    os.environ["PYTHONHASHSEED"] = "0"  # sets of strings have an order, too
    began = time.monotonic() - result.took_s
    chunks = [range(n, min(n + CHUNK, first + count)) for n in range(begin, first + count, CHUNK)]
    with get_context("spawn").Pool(jobs, _ready, (mutant,)) as pool, _bar(show) as bar:
        task = bar.add_task("", total=count, broken=0)
        for done, counts, failures in pool.imap(partial(_play, until_failure=until_failure), chunks):
            result.histories += done
            result.counts.update(counts)
            result.failures += failures
            result.took_s = time.monotonic() - began
            bar.update(task, completed=result.histories, broken=len(result.failures))
            if keep is not None:
                _keep(keep, result)
            if until_failure and failures:
                break
        pool.terminate()
    return result


def run_fleet(result: Result) -> None:
    """Tell the result, and explain the first failures."""
    print(result)
    for one in result.failures[:EXPLAINED]:
        seed = str(one["seed"])
        print(f"\n── {sys.executable} -m tests.simulation --seed {seed} --shrink")
        subprocess.run([sys.executable, "-m", "tests.simulation", "--seed", seed, "--shrink"], check=False)


# ── in the processes that play ──


def _ready(mutant: str) -> None:
    from .mutants import MUTANTS

    logging.disable(logging.CRITICAL)
    if mutant:
        MUTANTS[mutant].apply()
    gc.collect()
    gc.freeze()
    gc.disable()


def _play(seeds: range, until_failure: bool) -> tuple[int, Counter[str], list[dict[str, Any]]]:
    from .drawing import draw
    from .play import play

    done, counts, failures = 0, Counter[str](), []
    for seed in seeds:
        verdict, _ = play(draw(seed))
        done += 1
        counts.update(verdict.counts)
        if verdict.violations:
            failures.append({"seed": verdict.seed, "violations": verdict.violations})
            if until_failure:
                break
    gc.collect()
    return done, counts, failures


# ── what is kept ──


def _kept(keep: Path | None, first: int) -> Result:
    if keep is None or not keep.exists():
        return Result(first)
    told = json.loads(keep.read_text("utf-8"))
    if told["first"] != first:
        raise SystemExit(f"{keep} is of another run: it begins at seed {told['first']}")
    return Result(**{**told, "counts": Counter(told["counts"])})


def _keep(keep: Path, result: Result) -> None:
    new = keep.with_suffix(".new")
    new.write_text(json.dumps({one.name: getattr(result, one.name) for one in fields(result)}), "utf-8")
    new.replace(keep)


def _bar(show: bool) -> Progress:
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("histories, broken: {task.fields[broken]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True), disable=not show)
