"""The Celery message that says "look at lane L": a turn.

A turn carries no data and no right: a lost, doubled, late or reordered one changes latency and nothing else.
Its name and id are those of the lane's head intent, so that Flower shows one row per intent.

The message follows Celery's message protocol, version 2. It is written here and not by `send_task`, because
one lies in Redis for every waiting lane: without the headers that only say "none" it is half as long.
"""

# mypy: allow-untyped-calls
# (kombu is typed only in part)

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from onelane import keyspace
from onelane.keyspace import QueueName

if TYPE_CHECKING:
    from celery import Celery
    from kombu.entity import Queue
    from kombu.messaging import Producer

TASK_PREFIX = "contacts."
SEQ_HEADER = "onelane_seq"
QUEUE_HEADER = "onelane_queue"

_ONE_RETRY = {"max_retries": 1, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.1}


@dataclass(frozen=True, slots=True)
class Turn:
    """Permission to look at a lane."""

    lane: str
    head: str
    """Id of the intent at the head when the turn was made: the Celery task id."""
    kind: str
    """Kind of the head intent."""
    who: str
    """The masked address."""
    queue: QueueName
    seq: int
    """Number of this turn within its partition and queue; tells overtaken turns from waiting ones."""
    retries: int = 0
    """Attempts the head has already had."""


@cache
def celery_queue(queue: QueueName) -> Queue:
    """The queue of one class as both sides must declare it: producers here, workers as `task_queues`."""
    from kombu.entity import Exchange, Queue  # here, for who imports the intents alone

    name = keyspace.broker_queue(queue)
    return Queue(name, Exchange(name, type="direct"), routing_key=name)


def publish(app: Celery, turn: Turn) -> None:
    """Send the turn by the app's own producers. Raises kombu's OperationalError if the broker is away."""
    with app.producer_or_acquire() as producer:
        send(producer, turn)


def send(producer: Producer, turn: Turn, *, retry: bool = True) -> None:
    """Send the turn; with `retry`, once more over a new connection if this one turns out to be dead."""
    queue = celery_queue(turn.queue)
    producer.publish(
        _body(turn),
        exchange="",
        routing_key=queue.name,
        content_type="application/json",
        content_encoding="utf-8",
        headers=_headers(turn),
        declare=[queue],
        retry=retry,
        retry_policy=_ONE_RETRY if retry else None,
    )


def _body(turn: Turn) -> str:
    return json.dumps([[turn.lane], {"who": turn.who}, {}], separators=(",", ":"))


def _headers(turn: Turn) -> dict[str, Any]:
    headers = {
        "lang": "py",
        "task": TASK_PREFIX + turn.kind,
        "id": turn.head,
        "argsrepr": repr([turn.lane]),  # this and the next are what Flower shows
        "kwargsrepr": repr({"who": turn.who}),
        "ignore_result": True,
        SEQ_HEADER: turn.seq,
        QUEUE_HEADER: turn.queue,
    }
    return headers | {"retries": turn.retries} if turn.retries else headers
