"""From an intent to the arguments of submit.lua, and from its answer to a receipt: no I/O here.

The blocking and the asyncio client share it.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from producers import identity, keyspace
from producers.errors import DedupeMismatch, InvalidIntent, OnelaneError, QueueFull
from producers.intents import Intent, parse_intent
from producers.keyspace import QueueName
from producers.receipts import Receipt
from producers.settings import QueueSettings
from producers.turns import Turn

SUBMIT_SCRIPT = resources.files("producers").joinpath("scripts/submit.lua").read_text("utf-8")
SUBMIT_SHA = hashlib.sha1(SUBMIT_SCRIPT.encode(), usedforsecurity=False).hexdigest()
SCHEMA_VERSION = 1
"""Version of the payload's form. A worker that knows less leaves the lane to one that knows it."""
MAX_PAYLOAD_BYTES = 64 * 1024
CHUNK_LENGTH = 200
"""Intents that travel to Redis in one pipeline."""

_ID_HEX_DIGITS = 32


def new_intent_id(lane: str) -> str:
    """A random id (32 hex digits) in the lane's partition."""
    return keyspace.partition_of(lane) + secrets.token_hex(_ID_HEX_DIGITS // 2)[1:]


def lane_of(email: str) -> str:
    """The lane of an address as people write it. Raises `InvalidIntent`."""
    try:
        return identity.lane_id(identity.normalise_email(email))
    except identity.InvalidAddress as error:
        raise InvalidIntent("email", f"is no email address: it {error}") from None


@dataclass(frozen=True, slots=True)
class Submission:
    """One intent on its way into its lane. Its id is made here, once: sending it again changes nothing."""

    intent_id: str
    lane: str
    kind: str
    who: str
    keys: tuple[str, ...]
    args: tuple[str | int, ...]

    def accepted(self, reply: Sequence[Any]) -> tuple[Receipt, Turn | None]:
        """What the script's answer means: the receipt, and the turn to publish if the lane was asleep.

        Raises `DedupeMismatch` or `QueueFull`.
        """
        status, word, seq, queue = (_text(part) for part in reply)
        match status:
            case "accepted":
                return Receipt(id=word, lane=self.lane), self._turn(int(seq), queue)
            case "duplicate":
                return Receipt(id=word, lane=self.lane, duplicate=True), None
            case "mismatch":
                raise DedupeMismatch(word)
            case "lane_full":
                raise QueueFull("the lane of this address", int(word))
            case "queue_full":
                raise QueueFull("this partition of the queue", int(word))
        raise OnelaneError(f"submit.lua answered {status!r}: its version and the SDK's differ")

    def _turn(self, seq: int, queue: str) -> Turn | None:
        if not seq:
            return None
        name: QueueName = keyspace.BULK if queue == keyspace.BULK else keyspace.INTERACTIVE
        return Turn(self.lane, self.intent_id, self.kind, self.who, name, seq)


def prepare(intent: Intent | Mapping[str, Any], settings: QueueSettings) -> Submission:
    """Check the intent and lay out the script's arguments. Raises `InvalidIntent`."""
    intent = parse_intent(intent)
    payload = intent.to_json()
    if len(payload.encode()) > MAX_PAYLOAD_BYTES:
        raise InvalidIntent("intent", f"is larger than {MAX_PAYLOAD_BYTES // 1024} KiB as JSON")
    address = intent.address
    lane = identity.lane_id(address)
    intent_id = new_intent_id(lane)
    queue = keyspace.BULK if intent.bulk else keyspace.INTERACTIVE
    limits = settings.lane_max, settings.partition_max
    return Submission(
        intent_id=intent_id,
        lane=lane,
        kind=intent.kind,
        who=identity.mask(address),
        keys=_keys(intent_id, lane, intent),
        args=(intent_id, lane, payload, queue, SCHEMA_VERSION, intent.content_digest(), *limits),
    )


def _keys(intent_id: str, lane: str, intent: Intent) -> tuple[str, ...]:
    partition = keyspace.partition_of(lane)
    keys = (
        keyspace.intent(intent_id),
        keyspace.queue(lane),
        keyspace.lane(lane),
        keyspace.due(partition),
        keyspace.sent(partition, keyspace.INTERACTIVE),
        keyspace.sent(partition, keyspace.BULK),
        keyspace.counters(partition),
    )
    if intent.dedupe_key is None:
        return keys
    return (*keys, keyspace.dedupe(lane, intent.kind, intent.dedupe_key))


def prepare_all(intents: Iterable[Intent | Mapping[str, Any]], settings: QueueSettings) -> list[Submission]:
    """Check a whole batch before anything is sent.

    Raises `InvalidIntent` with `index`, also when the iterable itself raises one (a generator that builds
    intents): then the index is that of the intent it failed to give.
    """
    submissions: list[Submission] = []
    try:
        for intent in intents:
            submissions.append(prepare(intent, settings))
    except InvalidIntent as error:
        raise error.at(len(submissions)) from None
    return submissions


class Batch:
    """A batch on its way: chunks go out, receipts come in.

    A dedupe mismatch concerns one intent, and the others go on; a full queue stops the batch after the chunk.
    """

    def __init__(self, submissions: list[Submission]) -> None:
        self._submissions = submissions
        self._receipts: list[Receipt | None] = [None] * len(submissions)
        self._error: OnelaneError | None = None
        self._full = False

    def chunks(self) -> Iterator[tuple[int, list[Submission]]]:
        """The chunks still to be sent, each with the index of its first intent."""
        for start in range(0, len(self._submissions), CHUNK_LENGTH):
            if self._full:
                return
            yield start, self._submissions[start : start + CHUNK_LENGTH]

    def take(self, start: int, replies: Sequence[Sequence[Any]]) -> list[Turn]:
        """Note the answers to the chunk that begins at `start`; returns the turns to publish."""
        wanted: list[Turn] = []
        for index, reply in enumerate(replies, start):
            try:
                self._receipts[index], turn = self._submissions[index].accepted(reply)
            except OnelaneError as error:
                self._full = self._full or isinstance(error, QueueFull)
                self._error = self._error or error
            else:
                wanted += [turn] if turn else []
        return wanted

    def told(self, error: OnelaneError) -> OnelaneError:
        """The error, with what became of the batch so far."""
        return error.in_batch(self._receipts.index(None), tuple(self._receipts))

    def receipts(self) -> list[Receipt]:
        """All receipts in order. Raises the first refusal, if there was one."""
        if self._error is not None:
            raise self.told(self._error)
        return [receipt for receipt in self._receipts if receipt is not None]


def _text(part: bytes | str) -> str:
    return part.decode() if isinstance(part, bytes) else part
