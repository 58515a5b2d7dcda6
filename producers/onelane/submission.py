"""From an intent to the arguments of submit.lua, and from its answer to a receipt: no I/O here.

The blocking and the asyncio client share it.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from onelane import display, identity, keyspace
from onelane.errors import DedupeMismatch, InvalidIntent, OnelaneError, QueueFull
from onelane.intents import EmailChange, Intent, parse_intent
from onelane.keyspace import QueueName
from onelane.receipts import Receipt
from onelane.settings import QueueSettings
from onelane.turns import Turn

SUBMIT_SCRIPT = resources.files("onelane").joinpath("scripts/submit.lua").read_text("utf-8")
GATE_SCRIPT = resources.files("onelane").joinpath("scripts/gate.lua").read_text("utf-8")
SCRIPTS = (SUBMIT_SCRIPT, GATE_SCRIPT)
MAX_PAYLOAD_BYTES = 64 * 1024
CHUNK_LENGTH = 200
"""Intents that travel to Redis in one pipeline."""

_ID_HEX_DIGITS = 32
_GATE_LOOK_MS = 5_000
"""How soon a worker looks after a gate in a lane that slept, should its change have been lost."""


def _sha(script: str) -> str:
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()


_SUBMIT_SHA, _GATE_SHA = _sha(SUBMIT_SCRIPT), _sha(GATE_SCRIPT)


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
class Call:
    """One call of a script. Each of them may be made again: it changes nothing more."""

    sha: str
    keys: tuple[str, ...]
    args: tuple[str | int, ...]


def gate_id(change_id: str, new_lane: str) -> str:
    """The id of the place that a change of address keeps in the lane of the new one."""
    return keyspace.partition_of(new_lane) + identity.digest(change_id)[1:]


def gate_call(change_id: str, new_address: str, accepted_us: int) -> Call:
    """Keep a place in the lane of the new address (gate.lua)."""
    lane = identity.lane_id(new_address)
    gate, partition = gate_id(change_id, lane), keyspace.partition_of(lane)
    payload = json.dumps({"email": new_address, "kind": EmailChange.model_fields["kind"].default})
    sent = [keyspace.sent(partition, queue) for queue in (keyspace.INTERACTIVE, keyspace.BULK)]
    keys = (
        keyspace.intent(gate),
        keyspace.queue(lane),
        keyspace.due(partition),
        *sent,
        keyspace.counters(partition),
        keyspace.changes(lane),
    )
    schema = EmailChange.schema_version
    return Call(_GATE_SHA, keys, (gate, lane, payload, schema, change_id, accepted_us, _GATE_LOOK_MS))


@dataclass(frozen=True, slots=True)
class Submission:
    """One intent on its way into its lane. Its id is made here, once: sending it again changes nothing."""

    intent_id: str
    lane: str
    kind: str
    who: str
    keys: tuple[str, ...]
    args: tuple[str | int, ...]
    new_address: str | None = None
    """Of a change of address: in that lane it keeps a place, too."""

    @property
    def call(self) -> Call:
        """Store it (submit.lua)."""
        return Call(_SUBMIT_SHA, self.keys, self.args)

    def gate(self, reply: Sequence[Any]) -> Call | None:
        """What is still to be done before this intent may be called accepted."""
        status, _, _, _, accepted_us = (_text(part) for part in reply)
        if self.new_address is None or status != "accepted" or accepted_us == "0":
            return None
        return gate_call(self.intent_id, self.new_address, int(accepted_us))

    def accepted(self, reply: Sequence[Any]) -> tuple[Receipt, Turn | None]:
        """What the script's answer means: the receipt, and the turn to publish if the lane was asleep.

        Raises `DedupeMismatch` or `QueueFull`.
        """
        status, word, seq, queue, _ = (_text(part) for part in reply)
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
    schema, content = intent.payload_schema, intent.content_digest()
    args = (intent_id, lane, payload, queue, schema, content, *limits, int(_moves(intent)))
    return Submission(
        intent_id=intent_id,
        lane=lane,
        kind=intent.kind,
        who=display.mask(address),
        keys=_keys(intent_id, lane, intent),
        args=args,
        new_address=intent.new_address if isinstance(intent, EmailChange) else None,
    )


def _moves(intent: Intent) -> bool:
    return isinstance(intent, EmailChange)


def _keys(intent_id: str, lane: str, intent: Intent) -> tuple[str, ...]:
    partition = keyspace.partition_of(lane)
    keys: tuple[str, ...] = (
        keyspace.intent(intent_id),
        keyspace.queue(lane),
        keyspace.lane(lane),
        keyspace.due(partition),
        keyspace.sent(partition, keyspace.INTERACTIVE),
        keyspace.sent(partition, keyspace.BULK),
        keyspace.counters(partition),
    )
    if intent.dedupe_key is not None:
        keys = (*keys, keyspace.dedupe(lane, intent.kind, intent.dedupe_key))
    return (*keys, keyspace.changes(lane)) if _moves(intent) else keys


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
        """The chunks still to be sent, each with the index of its first intent.

        A change of address ends its chunk: its gate stands before the next intent is stored.
        """
        chunk: list[Submission] = []
        for index, submission in enumerate(self._submissions, 1):
            if self._full:
                return
            chunk.append(submission)
            full = len(chunk) == CHUNK_LENGTH or submission.new_address is not None
            if full or index == len(self._submissions):
                yield index - len(chunk), chunk
                chunk = []

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
