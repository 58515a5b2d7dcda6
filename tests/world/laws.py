"""What must be true of every lane whenever a script has run: it is asleep, ready, leased or due."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .world import World

LAWS = Path(__file__).with_name("laws.lua").read_text()


class Laws:
    """Looks at every lane that a script has touched since the history began."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._fences: dict[str, int] = {}
        self._writes = -1

    def check(self) -> list[str]:
        """What is broken now, in words."""
        world = self._world
        writes = world.redis.writes()
        if writes == self._writes:
            return []
        self._writes = writes
        told: list[str] = world.redis.run(LAWS, world.workspace.keys.prefix, [int(world.now * 1000)], "laws")
        fences = told[told.index("fences") + 1 :]
        broken = told[: told.index("fences")]
        for lane, text in zip(fences[::2], fences[1::2], strict=True):
            if int(text) < self._fences.get(lane, 0):
                broken.append(f"{lane}: its fence went back to {text}")
            self._fences[lane] = int(text)
        return broken

    def forget(self) -> None:
        """Another server has taken over: what was may come again."""
        self._fences.clear()
