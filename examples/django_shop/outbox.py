"""Intents that are committed with the data they tell about, and reach Onelane later if need be, in order.

Any number of drainers may run at the same time, on any database, without a lock. Each sends the oldest first
and deletes what was accepted, so no intent overtakes another. What two of them send has one dedupe key: the
second gets the receipt of the first.
"""

import json
from functools import cache

from django.db import transaction

from onelane import ContactQueue, DedupeMismatch, Intent, InvalidIntent

from .models import OutboxEntry


@cache
def contact_queue() -> ContactQueue:
    """One for the process. It may be made before a fork."""
    return ContactQueue()


def send(intent: Intent) -> None:
    """Call it in the transaction, after the row of the person was written: that keeps one person's order."""
    OutboxEntry.objects.create(intent=json.loads(intent.to_json()))
    transaction.on_commit(send_some, robust=True)  # if Redis is away, Django logs it and goes on


def send_some() -> None:
    """What a request does: it does not work off the backlog of an outage. That is left to the command."""
    drain(at_most=20)


def drain(at_most: int = 500) -> int:
    """Move entries into the queue, the oldest first; returns how many it dealt with, 0 at the end.

    Raises `QueueUnavailable` and `QueueFull`: what was not accepted is still in the outbox.
    """
    entries = OutboxEntry.objects.filter(problem="")[:at_most]
    for entry in entries:
        try:
            contact_queue().enqueue({"dedupe_key": str(entry.key), **entry.intent})
        except (InvalidIntent, DedupeMismatch) as error:  # it would be refused every time
            OutboxEntry.objects.filter(pk=entry.pk).update(problem=str(error))
        else:
            entry.delete()
    return len(entries)
