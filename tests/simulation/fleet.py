"""A run over several processes, with its progress, and its failures in words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from tempfile import TemporaryFile
from typing import IO, Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from tests.faults import import_path

EXPLAINED = 3
"""Failures that are told in full."""


@dataclass(slots=True)
class Result:
    """What a run has found."""

    histories: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[dict[str, Any]] = field(default_factory=list)
    """seed, violations"""
    lost: list[str] = field(default_factory=list)
    """What processes said that ended in an unforeseen way."""
    took_s: float = 0.0

    @property
    def ok(self) -> bool:
        return not self.failures and not self.lost

    def __str__(self) -> str:
        sizes = ", ".join(f"{name} {self.counts[name]}" for name in ("intents", "writes", "faults", "events"))
        rate = self.histories / self.took_s if self.took_s else 0.0
        head = f"{self.histories} histories in {self.took_s:.0f} s ({rate:.0f}/s): {sizes}"
        lines = [f"seed {one['seed']}: {one['violations'][0]}" for one in self.failures]
        verdict = "every promise held" if self.ok else f"BROKEN in {len(self.failures)} histories"
        return "\n".join([head, verdict, *lines, *self.lost])


def play_seeds(
    first: int, count: int, jobs: int, *, until_failure: bool = False, show: bool = False, path: str = ""
) -> Result:
    """Play `count` seeds from `first` on in `jobs` processes. `path`: where they find the product."""
    jobs = max(1, min(jobs, count))
    with ExitStack() as files:
        errors = [files.enter_context(TemporaryFile("w+")) for _ in range(jobs)]
        workers = [
            _start(first + job, first + count, jobs, until_failure, path, errors[job]) for job in range(jobs)
        ]
        result = _heard(workers, count, until_failure, show)
        for worker, said_last in zip(workers, errors, strict=True):
            _missing(worker, said_last, result, until_failure)
    return result


def _heard(workers: Sequence[subprocess.Popen[str]], count: int, until_failure: bool, show: bool) -> Result:
    """Listen to them until all are silent."""
    began, result, said = time.monotonic(), Result(), SimpleQueue[tuple[int, str | None]]()
    for number, worker in enumerate(workers):
        threading.Thread(target=_listen, args=(number, worker, said), daemon=True).start()
    shares: dict[int, dict[str, Any]] = {}
    running = set(range(len(workers)))
    with _bar(show) as bar:
        task = bar.add_task("", total=count, broken=0)
        while running:
            number, line = said.get()
            if line is None:
                running.discard(number)
                continue
            _hear(line, number, shares, result)
            done = sum(one["done"] for one in shares.values())
            bar.update(task, completed=done, broken=len(result.failures))
            if until_failure and result.failures:
                for worker in workers:
                    worker.terminate()
    result.took_s = time.monotonic() - began
    for one in shares.values():
        result.histories += one["done"]
        result.counts.update(one["counts"])
    return result


def _bar(show: bool) -> Progress:
    columns = (
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("histories, broken: {task.fields[broken]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True), disable=not show)


def _start(
    first: int, end: int, step: int, until_failure: bool, path: str, errors: IO[str]
) -> subprocess.Popen[str]:
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-m", "tests.simulation", "--worker"]
    command += ["--seed-from", str(first), "--seed-to", str(end), "--step", str(step)]
    command += ["--until-failure"] if until_failure else []
    environment = {
        **os.environ,
        "PYTHONHASHSEED": "0",
        "PYTHONPATH": import_path(Path(path or root)),
    }
    return subprocess.Popen(
        command, env=environment, cwd=path or root, stdout=subprocess.PIPE, stderr=errors, text=True
    )


def _listen(number: int, worker: subprocess.Popen[str], said: SimpleQueue[tuple[int, str | None]]) -> None:
    assert worker.stdout is not None
    for line in worker.stdout:
        said.put((number, line))
    said.put((number, None))


def _hear(line: str, number: int, shares: dict[int, dict[str, Any]], result: Result) -> None:
    try:
        word = json.loads(line)
    except ValueError:  # somebody's print
        return
    if "seed" in word:
        result.failures.append(word)
    else:
        shares[number] = word


def _missing(worker: subprocess.Popen[str], errors: IO[str], result: Result, until_failure: bool) -> None:
    with worker:
        status = worker.wait()
        errors.seek(0)
        if status not in (0, 1) and not (until_failure and result.failures):
            result.lost.append(f"a process ended with {status}: {errors.read()[-2000:]}")


def run_fleet(first: int, count: int, jobs: int, until_failure: bool) -> Result:
    """The command: play, show, explain."""
    result = play_seeds(first, count, jobs, until_failure=until_failure, show=True)
    print(result)
    for one in result.failures[:EXPLAINED]:
        seed = str(one["seed"])
        print(f"\n── {sys.executable} -m tests.simulation --seed {seed} --shrink")
        subprocess.run([sys.executable, "-m", "tests.simulation", "--seed", seed, "--shrink"], check=False)
    return result
