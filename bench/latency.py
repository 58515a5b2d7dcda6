"""How soon Intercom is asked: from `enqueue` returning to the request's arrival, on an idle system."""

from __future__ import annotations

import statistics
import time

from bench.stage import Stage
from onelane import LeadCapture

GOAL_MS = 10


def measure(stage: Stage, count: int = 200) -> dict[str, float]:
    """Milliseconds: median and 95th percentile over `count` newcomers, one after the other."""
    returned: dict[str, float] = {}
    for n in range(count):
        email = f"latency{n}@example.test"
        receipt = stage.queue.enqueue(LeadCapture(email=email, name="Ann"))
        returned[email] = time.time()
        stage.queue.wait(receipt.id, timeout=30)
    searches = [r for r in stage.sandbox.requests() if r["path"] == "/contacts/search"]
    waits_ms = sorted(
        (request["at"] - returned[email]) * 1000
        for request in searches
        if (email := request["body"]["query"]["value"]) in returned
    )
    return {
        "median_ms": statistics.median(waits_ms),
        "p95_ms": waits_ms[int(len(waits_ms) * 0.95)],
        "goal_ms": GOAL_MS,
    }
