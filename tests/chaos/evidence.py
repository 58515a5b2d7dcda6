"""What a run leaves behind, so that it can be judged again without being run again."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.checker.history import Accepted, Declared, Span

Json = dict[str, Any]
_TOLD = ("commit_window_s", "frozen_slack_s", "rollback_slack_s", "newsletter_types")


def dump(
    path: Path, accepted: list[Accepted], contacts: list[Json], requests: list[Json], declared: Declared
) -> None:
    """Write everything that the checker was given."""
    told = {name: getattr(declared, name) for name in _TOLD}
    spans = {name: [asdict(span) for span in getattr(declared, name)] for name in ("frozen", "rollbacks")}
    evidence = {
        "accepted": [asdict(one) for one in accepted],
        "contacts": contacts,
        "requests": requests,
        "declared": {**told, **spans, "poison": sorted(declared.poison)},
    }
    path.write_text(json.dumps(evidence))


def load(path: Path) -> tuple[list[Accepted], list[Json], list[Json], Declared]:
    """Read it back, in the order of the checker's arguments."""
    evidence = json.loads(path.read_text())
    told = evidence["declared"]
    declared = Declared(
        poison=frozenset(told["poison"]),
        frozen=tuple(Span(**span) for span in told["frozen"]),
        rollbacks=tuple(Span(**span) for span in told["rollbacks"]),
        commit_window_s=told["commit_window_s"],
        frozen_slack_s=told["frozen_slack_s"],
        rollback_slack_s=told["rollback_slack_s"],
        newsletter_types=tuple(told["newsletter_types"]),
    )
    accepted = [Accepted(**one) for one in evidence["accepted"]]
    return accepted, evidence["contacts"], evidence["requests"], declared
