"""One row of the table "Promised" in docs/guarantees.md, and how it can be broken."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.faults import Fault


@dataclass(frozen=True, slots=True)
class Row:
    """A promise and the faults that break it, each with the test that must notice (its `catcher`)."""

    promise: str
    """As it stands in bold in the docs, without the full stop."""
    faults: tuple[Fault, ...]

    @property
    def tests(self) -> list[str]:
        """The tests that the docs must name, in the order of the faults."""
        return list(dict.fromkeys(fault.catcher for fault in self.faults))


def broken(catcher: str, about: str, apply: Callable[[], None]) -> Fault:
    """A fault that the test `catcher` has to notice; it is named after what it is about."""
    return Fault(about.replace(" ", "-"), about, apply, catcher)
