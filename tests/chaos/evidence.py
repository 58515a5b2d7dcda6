"""What a run leaves behind, so that it can be judged again without being run again."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.promise.history import Accepted

Json = dict[str, Any]


def dump(path: Path, accepted: list[Accepted], contacts: list[Json], requests: list[Json]) -> None:
    """Write everything that the checker was given."""
    evidence = {"accepted": [asdict(one) for one in accepted], "contacts": contacts, "requests": requests}
    path.write_text(json.dumps(evidence))


def load(path: Path) -> tuple[list[Accepted], list[Json], list[Json]]:
    """Read it back: accepted, contacts, requests."""
    evidence = json.loads(path.read_text())
    return [Accepted(**one) for one in evidence["accepted"]], evidence["contacts"], evidence["requests"]
