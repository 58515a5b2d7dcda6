"""The first hit of the search is the contact, whoever it is; after a 409 it is searched again. Seen in
plug-ins of shop systems."""

from __future__ import annotations

import re
import time

from bench.policies.find_then_create import FindThenCreate
from bench.policies.setting import Body
from onelane import Intent

_NAMED = re.compile(r"id=([0-9a-f]{24})")
TRIES, PAUSE_S = 3, 2.0


def named_by(status: int, answer: Body) -> str | None:
    """Whom a 409 names."""
    named = _NAMED.search(str(answer)) if status == 409 else None
    return named[1] if named else None


class FirstHit(FindThenCreate):
    """What comes first is right."""

    def choose(self, hits: list[Body]) -> Body | None:
        return hits[0] if hits else None

    def create(self, intent: Intent) -> tuple[int, Body]:
        status, answer = super().create(intent)
        for _ in range(TRIES):
            if status != 409:
                break
            time.sleep(self.setting.s(PAUSE_S))
            if (found := self.choose(self.search(intent))) is not None:
                self.update(found, intent)
                break
            status, answer = super().create(intent)
        return status, answer
