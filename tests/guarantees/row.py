"""One row of the table "Promised" in docs/guarantees.md, and how it can be broken."""

from __future__ import annotations

from dataclasses import dataclass

from tests.faults import CodeFault, Edit


@dataclass(frozen=True, slots=True)
class Row:
    """A promise and the faults that break it, each with the test that must notice (its `catcher`)."""

    promise: str
    """As it stands in bold in the docs, without the full stop."""
    faults: tuple[CodeFault, ...]

    @property
    def tests(self) -> list[str]:
        """The tests that the docs must name, in the order of the faults."""
        return list(dict.fromkeys(fault.catcher for fault in self.faults))


def broken(catcher: str, about: str, *edits: tuple[str, str, str]) -> CodeFault:
    """A fault by its edits (file, old text, new text), that the test `catcher` has to notice."""
    name = catcher.rpartition("::")[2]
    return CodeFault(name, about, tuple(Edit(*edit) for edit in edits), catcher)
