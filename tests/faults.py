"""Deliberate faults in the product, as data, and copies of it that have one."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
SIMULATION = "simulation"


@dataclass(frozen=True, slots=True)
class Edit:
    """A piece of source text, replaced. It must stand there exactly once."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class CodeFault:
    """One deliberate mistake."""

    name: str
    about: str
    edits: tuple[Edit, ...]
    catcher: str = SIMULATION
    """Who has to notice: the simulation, or the test of this id."""


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


def import_path(product: Path) -> str:
    """The PYTHONPATH under which that copy of the product is imported, and these tests."""
    return os.pathsep.join(map(str, (product / "producers", product / "worker", ROOT)))


def _apply(file: Path, old: str, new: str, name: str) -> None:
    text = file.read_text("utf-8")
    if text.count(old) != 1:
        raise LookupError(f"{name}: {old!r} stands {text.count(old)} times in {file.name}, not once")
    file.write_text(text.replace(old, new), "utf-8")
