"""What a check has found. Of its own, so that the probe of a container imports nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warn", "bad"]
_START = "Start one: `onelane worker`. One that runs cannot tell so while Redis refuses writes."


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer to one question."""

    name: str
    level: Level
    says: str
    todo: str = ""


def verdict(findings: Iterable[Finding]) -> Level:
    """The worst of them."""
    levels = {finding.level for finding in findings}
    return "bad" if "bad" in levels else "warn" if "warn" in levels else "ok"


def of_workers(names: Sequence[str], where: str = "") -> Finding:
    """Who is at work? `names` as `presence.alive` gives them."""
    if not names:
        return Finding("workers", "bad", f"none is alive{where}", _START)
    shown = ", ".join(name.replace("@", " on ") for name in names)  # they look like addresses
    return Finding("workers", "ok", f"{len(names)}: {shown}")
