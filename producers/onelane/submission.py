"""From an intent to the arguments of submit.lua, and from its answer to a receipt: no I/O here.

The blocking and the asyncio client share it.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from onelane.email_address import InvalidAddress, normalise_email
from onelane.errors import DedupeMismatch, InvalidIntent, OnelaneError, QueueFull
from onelane.intents import ContactErasure, DuplicateCheck, EmailChange, Intent, parse_intent
from onelane.results import Outcome, Receipt
from onelane.session import Arguments, Exchange, Session
from onelane.settings import QueueSettings
from onelane.workspace import Workspace, as_text, checked

MAX_PAYLOAD_BYTES: Final = 64 * 1024
CHUNK_LENGTH: Final = 200
"""Intents that travel to Redis in one pipeline."""
WAKE_MAX: Final = 64
"""Wake-ups under way at most."""
WITHDRAWN: Final = Outcome(result="withdrawn")


def new_intent_id() -> str:
    """128 random bits: 32 hex digits."""
    return secrets.token_hex(16)


def address_of(email: str) -> str:
    """The normalised form of an address as people write it. Raises `InvalidIntent`."""
    try:
        return normalise_email(email)
    except InvalidAddress as error:
        raise InvalidIntent("email", f"is no email address: it {error}") from None


@dataclass(frozen=True, slots=True)
class Submission:
    """A checked intent on its way into its lane. Its id is made once: sending it again changes nothing."""

    intent_id: str
    intent: Intent | DuplicateCheck
    payload: str

    def lane(self, workspace: Workspace) -> str:
        """The lane of the intent's address."""
        return workspace.lane(self.intent.address)

    def arguments(self, workspace: Workspace, settings: QueueSettings) -> Arguments:
        """What submit.lua takes."""
        intent, lane = self.intent, self.lane(workspace)
        content = dedupe = ""
        if intent.dedupe_key is not None:
            content = workspace.content(intent.content())
            dedupe = workspace.dedupe(lane, intent.kind, intent.dedupe_key)
        return (
            self.intent_id,
            lane,
            int(intent.bulk),
            intent.kind,
            self.payload,
            intent.payload_schema,
            content,
            dedupe,
            "" if intent.external_id is None else workspace.external_id(intent.external_id),
            workspace.lane(intent.new_address) if isinstance(intent, EmailChange) else "",
            int(isinstance(intent, ContactErasure)),
            settings.lane_max,
            settings.pending_max,
            WAKE_MAX,
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """What submit.lua answered to one submission."""

    lane: str
    word: str
    """accepted · duplicate · mismatch · lane_full · queue_full"""
    told: str
    """The id of the intent that is stored, or the limit that is reached."""
    wake: bool
    """A wake-up is to be sent: its credit is taken already."""

    def receipt(self) -> Receipt:
        """The receipt. Raises `DedupeMismatch` or `QueueFull` if there is none."""
        match self.word:
            case "accepted":
                return Receipt(id=self.told, lane=self.lane)
            case "duplicate":
                return Receipt(id=self.told, lane=self.lane, duplicate=True)
            case "mismatch":
                raise DedupeMismatch(self.told)
            case "lane_full":
                raise QueueFull("the lane of this address", int(self.told))
            case "queue_full":
                raise QueueFull("the queue", int(self.told))
        raise OnelaneError(f"submit.lua answered {self.word!r}: its version and the SDK's differ")


def prepare(intent: Intent | Mapping[str, Any]) -> Submission:
    """Check the intent and give it an id. Raises `InvalidIntent`."""
    return prepare_internal(parse_intent(intent))


def prepare_internal(intent: Intent | DuplicateCheck) -> Submission:
    """The same for an intent that is known to be good, also one of Onelane's own. Raises `InvalidIntent`."""
    payload = intent.to_json()
    if len(payload.encode()) > MAX_PAYLOAD_BYTES:
        raise InvalidIntent("intent", f"is larger than {MAX_PAYLOAD_BYTES // 1024} KiB as JSON")
    return Submission(new_intent_id(), intent, payload)


def prepare_all(intents: Iterable[Intent | Mapping[str, Any]]) -> list[Submission]:
    """Check a whole batch before anything is sent.

    Raises `InvalidIntent` with `index`, also when the iterable itself raises one (a generator that builds
    intents): then the index is that of the intent it failed to give.
    """
    submissions: list[Submission] = []
    try:
        for intent in intents:
            submissions.append(prepare(intent))
    except InvalidIntent as error:
        raise error.at(len(submissions)) from None
    return submissions


def submit(
    session: Session, submissions: Sequence[Submission], settings: QueueSettings
) -> Exchange[list[Answer]]:
    """Store the intents in their lanes, in order. Raises redis-py's errors and `OnelaneError`."""
    lanes: list[str] = []

    def lay_out(workspace: Workspace) -> list[Arguments]:
        calls = [submission.arguments(workspace, settings) for submission in submissions]
        lanes[:] = [str(lane) for _, lane, *_ in calls]
        return calls

    answers = yield from session.run("submit", lay_out)
    return [
        Answer(lane, as_text(word), as_text(told), as_text(wake) == "1")
        for lane, (word, told, wake) in zip(lanes, answers, strict=True)
    ]


def withdraw(session: Session, intent_id: str, settings: QueueSettings) -> Exchange[bool]:
    """Withdraw a waiting intent; whether it is withdrawn now. Raises redis-py's errors and `OnelaneError`."""
    outcome = WITHDRAWN.model_dump_json(exclude_defaults=True)
    lives_ms = int(settings.status_ttl_s * 1000), int(settings.dedupe_ttl_s * 1000)
    [answer] = yield from session.run("withdraw", lambda _: [(intent_id, outcome, *lives_ms)])
    word = as_text(answer[0])
    if word == "gone":  # perhaps by this very call, whose first answer was lost
        [stored] = checked((yield [("HGET", session.keys.key("intent", intent_id), "outcome")]))
        return stored is not None and as_text(stored) == outcome
    return word == "ok"


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

    def take(self, start: int, answers: Sequence[Answer]) -> int:
        """Note the answers to the chunk that begins at `start`; returns the number of wake-ups to send."""
        for index, answer in enumerate(answers, start):
            try:
                self._receipts[index] = answer.receipt()
            except OnelaneError as error:
                self._full = self._full or isinstance(error, QueueFull)
                self._error = self._error or error
        return sum(answer.wake for answer in answers)

    def told(self, error: OnelaneError) -> OnelaneError:
        """The error, with what became of the batch so far."""
        return error.in_batch(self._receipts.index(None), tuple(self._receipts))

    def receipts(self) -> list[Receipt]:
        """All receipts in order. Raises the first refusal, if there was one."""
        if self._error is not None:
            raise self.told(self._error)
        return [receipt for receipt in self._receipts if receipt is not None]
