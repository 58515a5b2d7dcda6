"""How soon the lanes of a killed worker are served again, with the windows that workers have by default.

The only worker is killed (SIGKILL) with all its slots at work: half of its lanes wait for the answer to a
read, half for the answer to a write. Another worker starts at once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from onelane import ContactQueue, ContactSync, LeadCapture
from onelane_worker.cli._local_stack import is_ready

from .fleet import START_S, Fleet
from .processes import wait_until
from .recovery import LEASE_SLACK_S, TIME_SLACK_S, Recovery, Scene, watch
from .scale import Scale, Windows

LANES = 64
SLOW_S = 6.0
"""What a call takes in the meantime: all lanes must be at work at one moment."""
SCALE = Scale(intents=0, addresses=0, duration_s=0, workers=1, windows=Windows())


@dataclass(frozen=True, slots=True)
class Takeover:
    """What was seen. Seconds."""

    recovery: Recovery
    ended_s: float
    """From the kill until the last of the intents had ended."""

    @property
    def ok(self) -> bool:
        """All lanes were at work at the kill, and have moved in time."""
        recovery = self.recovery
        return not recovery.late and recovery.free == recovery.blocked == LANES // 2

    def as_json(self) -> dict[str, Any]:
        return {"ok": self.ok, "ended_s": self.ended_s, "recovery": asdict(self.recovery)}

    def table(self) -> Table:
        """For people."""
        one, lease_s = self.recovery, SCALE.windows.lease_s
        table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
        for title in ("kill -9 of the only worker", "lanes", "counted from", "slowest", "must"):
            table.add_column(title, justify="left" if title.endswith(("worker", "from")) else "right")
        free, blocked = f"lease + {LEASE_SLACK_S:g} s = {lease_s + LEASE_SLACK_S:g} s", f"{TIME_SLACK_S:g} s"
        table.add_row("no write in flight", str(one.free), "next worker ready", f"{one.free_s:.2f} s", free)
        table.add_row("write in flight", str(one.blocked), "commit_until", f"{one.blocked_s:.2f} s", blocked)
        table.add_row("next worker ready", "", "the kill", f"{one.started_s:.2f} s", "")
        table.add_row("no write in flight", "", "the kill", f"{one.started_s + one.free_s:.2f} s", "")
        table.add_row("all intents have ended", "", "the kill", f"{self.ended_s:.2f} s", "")
        return table


def run(seed: int, folder: Path, progress: Callable[[str], None]) -> Takeover:
    """Fill the slots of a worker, kill it, watch what becomes of its lanes."""
    with (
        Fleet(SCALE, seed, folder, "always", {}) as fleet,
        ContactQueue.from_url(fleet.valkey.url) as queue,
    ):
        known = [f"known{n}@chaos.test" for n in range(LANES // 2)]
        for receipt in queue.enqueue_many([LeadCapture(email=email) for email in known]):
            queue.wait(receipt.id, START_S)
        _fill(fleet, queue, known)
        progress(f"{LANES} lanes at work: kill")
        [worker] = fleet.workers
        worker.kill()
        killed_at = time.time()
        fleet.control.clear_faults()
        worker.start()
        progress("waiting for the lanes")
        recovery = watch(_scene(fleet, killed_at), START_S + SCALE.windows.hold_s)
        wait_until(lambda: not fleet.pending(), START_S, "all intents have ended")
        return Takeover(recovery, time.time() - killed_at)


def _fill(fleet: Fleet, queue: ContactQueue, known: list[str]) -> None:
    """Returns when Intercom is at a write for each who is known, and at a read for as many newcomers."""
    fleet.control.clear_requests()
    fleet.control.fault("slow", times=None, seconds=SLOW_S)
    updates = [ContactSync(email=email, name="New") for email in known]
    queue.enqueue_many([*updates, *(LeadCapture(email=f"new{n}@chaos.test") for n in range(LANES // 2))])

    def all_at_work() -> bool:
        return sum(one["duration_ms"] is None for one in fleet.control.requests()) == LANES

    wait_until(all_at_work, SLOW_S, "all lanes are at work")


def _scene(fleet: Fleet, killed_at: float) -> Scene:
    def ready_at() -> float | None:
        return time.time() if is_ready(fleet.workers[0]) else None

    lease_s = SCALE.windows.lease_s
    return Scene(fleet.direct, "kill all workers", killed_at, ready_at, fleet.stages, lease_s)
