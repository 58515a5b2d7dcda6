"""`python -m tests.chaos.producer WORKLIST JOURNAL START`: one producer, as a service would be one.

It takes its intents from a list (its own database, so to speak) and notes every receipt in a journal. Killed
and started again, it goes on behind the last note; what was under way is sent again under its dedupe key.
It never gives an intent up: Redis that is away is waited for, and so is a queue that is full.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TextIO

from producers import ContactQueue, QueueFull, QueueSettings, QueueUnavailable, Receipt

ENQUEUE_TIMEOUT_S = 2.0
PENDING_MAX = 96
"""Most waiting intents: a lane that only waits for its turn in a long line says nothing about recovery."""
PAUSE_S = 0.05


def main(worklist: Path, journal: Path, began: float) -> None:
    """Work the list off."""
    done = sum(1 for line in journal.read_text().splitlines() if line) if journal.exists() else 0
    items = [json.loads(line) for line in worklist.read_text().splitlines()]
    settings = QueueSettings.from_env(enqueue_timeout_s=ENQUEUE_TIMEOUT_S, pending_max=PENDING_MAX)
    queue = ContactQueue(settings)
    with queue, journal.open("a") as notes:
        for item in items[done:]:
            time.sleep(max(0.0, began + item["at_s"] - time.time()))
            receipts = _send(queue, item["intents"])
            _note(notes, receipts, [_accepted_at(queue, receipt) for receipt in receipts])


def _send(queue: ContactQueue, intents: list[dict[str, object]]) -> list[Receipt]:
    while True:
        try:
            return queue.enqueue_many(intents) if len(intents) > 1 else [queue.enqueue(intents[0])]
        except QueueFull:
            time.sleep(PAUSE_S)
        except QueueUnavailable as error:
            print(f"again: {error}", flush=True)


def _accepted_at(queue: ContactQueue, receipt: Receipt) -> float:
    """By Redis' clock, if it can still tell."""
    try:
        status = queue.status(receipt.id)
    except QueueUnavailable:
        status = None
    return time.time() if status is None else status.accepted_at.timestamp()


def _note(notes: TextIO, receipts: list[Receipt], accepted_at: list[float]) -> None:
    line = {"ids": [receipt.id for receipt in receipts], "accepted_at": accepted_at}
    notes.write(json.dumps(line) + "\n")
    notes.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
