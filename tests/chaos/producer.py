"""`python -m tests.chaos.producer WORKLIST JOURNAL PACE START PENDING_MAX`: a producer as services have one.

It takes its intents from a list (its own database, so to speak) and notes every receipt in a journal. Killed
and started again, it goes on behind the last note; what was under way is sent again under its dedupe key.
It never gives an intent up: Redis that is away is waited for, and so is a queue that is full. PACE names a
file that says how far in time it may go: what is done to the system must meet a system at work. START is the
time (epoch seconds) from which the list counts, PENDING_MAX how many intents may wait.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TextIO

from onelane import ContactQueue, QueueFull, QueueSettings, QueueUnavailable, Receipt

ENQUEUE_TIMEOUT_S = 2.0
PAUSE_S = 0.02


def main(worklist: Path, journal: Path, pace: Path, began: float, pending_max: int) -> None:
    """Work the list off."""
    done = sum(1 for line in journal.read_text().splitlines() if line) if journal.exists() else 0
    items = [json.loads(line) for line in worklist.read_text().splitlines()]
    settings = QueueSettings.from_env(enqueue_timeout_s=ENQUEUE_TIMEOUT_S, pending_max=pending_max)
    queue = ContactQueue(settings)
    with queue, journal.open("a") as notes:
        for item in items[done:]:
            while time.time() < began + item["at_s"] or item["at_s"] > float(pace.read_text()):
                time.sleep(PAUSE_S)
            receipts, answered_at = _send(queue, item["intents"]), time.time()
            _note(notes, receipts, [_accepted_at(queue, receipt, answered_at) for receipt in receipts])


def _send(queue: ContactQueue, intents: list[dict[str, object]]) -> list[Receipt]:
    while True:
        try:
            return queue.enqueue_many(intents) if len(intents) > 1 else [queue.enqueue(intents[0])]
        except QueueFull:
            time.sleep(PAUSE_S)
        except QueueUnavailable as error:
            print(f"again: {error}", flush=True)


def _accepted_at(queue: ContactQueue, receipt: Receipt, answered_at: float) -> float:
    """By Redis' clock, if it can still tell; else by ours, when the receipt came."""
    try:
        status = queue.status(receipt.id)
    except QueueUnavailable:
        status = None
    return answered_at if status is None else status.accepted_at.timestamp()


def _note(notes: TextIO, receipts: list[Receipt], accepted_at: list[float]) -> None:
    line = {"ids": [receipt.id for receipt in receipts], "accepted_at": accepted_at}
    notes.write(json.dumps(line) + "\n")
    notes.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5]))
