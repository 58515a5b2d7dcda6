"""The verdict as data, and as text for people."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

LOST = "lost"
ORDER = "order"
OVERLAP = "overlap"
DUPLICATE = "duplicate"
MISSING = "missing"
FIELD = "field"
CONSENT = "consent"
DEAD_LETTER = "dead_letter"
OUTCOME = "outcome"
STRAY = "stray"

KINDS = {
    LOST: "accepted, but never ended",
    ORDER: "an older value was written after a newer one",
    OVERLAP: "two requests for one address at once",
    DUPLICATE: "more than one live contact for one person",
    MISSING: "applied, but there is no contact",
    FIELD: "a field does not hold what was asked last",
    CONSENT: "consent is not what the person said last",
    DEAD_LETTER: "an unexpected dead letter, or none where one was expected",
    OUTCOME: "an outcome that does not fit what happened",
    STRAY: "a value that nobody asked for was written",
}


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken promise, or (in `Report.apart`) one that is documented as possible."""

    kind: str
    address: str
    text: str
    evidence: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [f"{self.kind}: {self.address}: {self.text}", *(f"    {line}" for line in self.evidence)]
        return "\n".join(lines)


@dataclass(slots=True)
class Report:
    """Everything the checker found."""

    counts: Counter[str] = field(default_factory=Counter)
    """Sizes of what was read: intents, addresses, requests, writes, creates, unmapped, unjudged, …"""
    violations: list[Violation] = field(default_factory=list)
    apart: list[Violation] = field(default_factory=list)
    """What a declared freeze, a commit after Intercom's assumed tail, or a rollback of Redis explains."""

    @property
    def ok(self) -> bool:
        return not self.violations

    def of(self, kind: str) -> list[Violation]:
        """The violations of one kind."""
        return [one for one in self.violations if one.kind == kind]

    def found(self, kind: str, address: str, text: str, *evidence: object) -> None:
        """Note a violation."""
        self.violations.append(Violation(kind, address, text, tuple(map(str, evidence))))

    def set_apart(self, why: str, kind: str, address: str, text: str, *evidence: object) -> None:
        """Note what is documented as possible, and why it is thought to be that."""
        self.counts[f"apart: {why}"] += 1
        self.apart.append(Violation(kind, address, f"{text} ({why})", tuple(map(str, evidence))))

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "ok": self.ok,
            "counts": dict(self.counts),
            "violations": [asdict(one) for one in self.violations],
            "apart": [asdict(one) for one in self.apart],
        }

    def __str__(self) -> str:
        tally = Counter(one.kind for one in self.violations)
        head = "the promise holds" if self.ok else f"BROKEN: {dict(tally)}"
        sizes = ", ".join(f"{name} {count}" for name, count in sorted(self.counts.items()))
        return "\n".join([f"{head} ({sizes})", *map(str, self.violations)])
