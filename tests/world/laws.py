"""What must be true of every lane whenever a script has run: where it stands, and what may be granted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .world import World

LAWS = Path(__file__).with_name("laws.lua").read_text()


class Laws:
    """Looks at every lane that a script has changed."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._fences: dict[str, int] = {}
        self._tried: dict[str, int] = {}
        """Lanes that were granted while the circuit breaker was half open, and are leased still → fence."""
        self._writes = -1

    def check(self, what: str) -> list[str]:
        """What is broken now, after this script, in words."""
        world = self._world
        writes = world.redis.writes()
        if writes == self._writes:
            return []
        self._writes = writes
        args = [int(world.now * 1000), world.knobs.lanes.failover_hold_ms]
        state, count, *words = world.redis.run(LAWS, world.workspace.keys.prefix, args, "laws")
        broken: list[str] = words[: int(count)]
        lanes = words[int(count) :]
        for lane, fence, leased in zip(lanes[::3], lanes[1::3], lanes[2::3], strict=True):
            broken += self._check_fence(lane, int(fence))
            if what == "claim" and leased == "1":
                broken += self._check_grant(lane, int(fence), state)
            elif leased == "0":
                self._tried.pop(lane, None)
        return broken

    def forget(self) -> None:
        """Another server has taken over: what was may come again."""
        self._fences.clear()
        self._tried.clear()

    def _check_fence(self, lane: str, fence: int) -> list[str]:
        before, self._fences[lane] = self._fences.get(lane, 0), fence
        return [f"{lane}: its fence went back to {fence}"] if fence < before else []

    def _check_grant(self, lane: str, fence: int, state: str) -> list[str]:
        if state in ("open", "paused", "hold"):
            return [f"{lane}: granted while the line stands still ({state})"]
        if state == "half":
            self._tried[lane] = fence
        return [f"two lanes while half open: {sorted(self._tried)}"] if len(self._tried) > 1 else []
