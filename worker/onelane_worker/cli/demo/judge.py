"""What the sandbox's true state says of a story's end. Nothing that a side claims about itself is asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from onelane_sandbox.client import JsonObject, SandboxControl
from onelane_worker.cli.demo.stories import Person

_LOOK_PAUSE_S = 0.02


@dataclass(frozen=True, slots=True)
class Verdict:
    """One side of one story."""

    people: int
    contacts: int
    duplicates: int
    lost: tuple[str, ...]
    """What should be true and is not, on the contact of each person that comes nearest to it."""
    calls: int = 0
    visible_s: float | None = None
    """From the first intent until the true state showed all of it; None: never."""

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "people": self.people,
            "contacts": self.contacts,
            "duplicates": self.duplicates,
            "lost": list(self.lost),
            "calls": self.calls,
            "visible_s": None if self.visible_s is None else round(self.visible_s, 3),
        }


def judge(contacts: Iterable[JsonObject], people: Sequence[Person]) -> Verdict:
    """Who is there how often, and what is missing."""
    live = [one for one in contacts if not (one["archived"] or one["deleted"] or one["merged_into"])]
    found = [[one for one in live if one["email"] == person.email] for person in people]
    lost = [word for person, mine in zip(people, found, strict=True) for word in _missing(person, mine)]
    return Verdict(
        people=len(people),
        contacts=len(live),
        duplicates=sum(max(0, len(mine) - 1) for mine in found),
        lost=tuple(lost),
    )


def _missing(person: Person, mine: Sequence[JsonObject]) -> list[str]:
    wrong = [[name for name, value in person.holds.items() if one.get(name) != value] for one in mine]
    return min(wrong, key=len, default=list(person.holds))


class Watch:
    """Looks at the true state while a side works, to see when all of it is there. A context manager."""

    def __init__(self, sandbox: SandboxControl, people: Sequence[Person]) -> None:
        self._sandbox = sandbox
        self._people = people
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, name="onelane-demo-watch", daemon=True)
        self._all_arrived = threading.Event()
        self._visible_s: float | None = None
        self._since = 0.0

    def last_step_begins(self) -> None:
        """From now on the true state counts: before, it may only look like the end."""
        self._all_arrived.set()

    def verdict(self) -> Verdict:
        """After the end: the true state, with calls and time."""
        found = judge(self._sandbox.contacts(), self._people)
        calls = len(self._sandbox.requests())
        visible_s = None if found.lost else self._visible_s
        return Verdict(found.people, found.contacts, found.duplicates, found.lost, calls, visible_s)

    def _look(self) -> None:
        while True:
            last, counts = self._ended.is_set(), self._all_arrived.is_set()
            seen = judge(self._sandbox.contacts(), self._people)
            if seen.lost or not counts:
                self._visible_s = None  # not there yet, or no more
            elif self._visible_s is None:
                self._visible_s = time.monotonic() - self._since
            if last:
                return
            self._ended.wait(_LOOK_PAUSE_S)

    def __enter__(self) -> Self:
        self._since = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()
