"""For unit tests of services that enqueue: the queue in memory. No Redis, no worker, and no test waits.

    from onelane import NewsletterOptIn, QueueUnavailable
    from onelane.testing import FakeContactQueue

    def test_the_form():
        queue = FakeContactQueue()
        submit_form(queue, "ann@example.test")
        assert queue.intents == [NewsletterOptIn(email="ann@example.test")]

    def test_the_form_while_redis_is_away():
        queue = FakeContactQueue()
        queue.fail_with(QueueUnavailable("Redis is away"))
        assert submit_form(queue, "ann@example.test").status == 503

Both fakes are subclasses of the real queues, so they fit wherever one is expected, and they check intents,
dedupe keys, batches and limits with the same code. An intent ends as soon as it is accepted; `script` says
otherwise. What Intercom would make of it, they do not know: for that, take the fixture `onelane_queue`.
"""

from __future__ import annotations

import copy
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TypeVar, cast

from onelane import records
from onelane.aio import AsyncContactQueue
from onelane.client import ContactQueue
from onelane.errors import OnelaneError, UnknownIntent, WaitTimeout
from onelane.intents import (
    ContactErasure,
    ContactSync,
    ContactUpsert,
    EmailChange,
    Intent,
    LeadCapture,
    NewsletterOptIn,
    ProductSignUp,
)
from onelane.results import IntentError, Latest, Outcome, Status
from onelane.settings import QueueSettings, settings_for
from onelane.submission import WITHDRAWN, Answer, Submission, address_of
from onelane.workspace import Workspace

__all__ = ["FakeAsyncContactQueue", "FakeContactQueue"]

Kind = TypeVar("Kind")

_CREATE = (NewsletterOptIn, LeadCapture, ProductSignUp, ContactSync, ContactUpsert)
_SECRET = "0" * 32


@dataclass(slots=True)
class _Entry:
    """One accepted intent."""

    intent: Intent
    lanes: tuple[str, ...]
    """The intent's own, and that of the new address of a change."""
    accepted_at: datetime
    outcome: Outcome | None = None
    finished_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class _Rule:
    """How intents end; None in `kind` and `lane` means any, None in `outcome` that they wait."""

    outcome: Outcome | None
    kind: type | None
    lane: str | None

    def fits(self, entry: _Entry) -> bool:
        of_kind = self.kind is None or isinstance(entry.intent, self.kind)
        return of_kind and self.lane in (None, entry.lanes[0])


class _Fake:
    """What both fakes hold, and what a test says and asks. Threads may share it."""

    settings: QueueSettings
    closed: bool
    """Whether `close` was called, by name or at the end of a `with` block."""

    def __init__(self, settings: QueueSettings | None = None, *, workspace: str | None = None) -> None:
        """With the given settings, for their limits, else the defaults: the environment is not read."""
        # The real queue's __init__ is left out: a verb that is forgotten here fails and meets no real Redis.
        self.settings = settings_for(settings or QueueSettings(), workspace)
        self._workspace = Workspace(self.settings.workspace, _SECRET)
        self._lock = threading.RLock()
        self.reset()

    # ── what a test says ──

    def script(self, outcome: Outcome | None, *, kind: type | None = None, email: str | None = None) -> None:
        """How intents end that are accepted from now on: all, or those of a kind, an address, or both.

        None: they wait, so that `wait` raises `WaitTimeout`, until `end` is called. Of several that fit an
        intent, the one said last counts. Raises `InvalidIntent` if `email` is no address.
        """
        self._rules.insert(0, _Rule(outcome, kind, None if email is None else self._lane(email)))

    def end(self, intent_id: str, outcome: Outcome | None = None) -> Outcome:
        """End an intent as a worker would, with this outcome or the usual one. Raises `UnknownIntent`."""
        with self._lock:
            entry = self._entry(intent_id)
            return self._end(entry, outcome or self._usual(entry))

    def fail_with(self, error: OnelaneError | None, times: int | None = 1) -> None:
        """The next `times` calls of a verb raise this error; `times` None: all, until `fail_with(None)`.

        Bad intents are refused before that, as by the real queue, and nothing is stored by a call that
        raises. A batch counts as one call for each 200 intents.
        """
        self._error, self._times = error, times

    def set_latest(self, email: str, latest: Latest | None) -> None:
        """What `latest(email)` answers; None, as at first: nothing is known. Raises `InvalidIntent`."""
        self._latest[self._lane(email)] = latest

    def reset(self) -> None:
        """As good as new: nothing enqueued, nothing scripted."""
        self._entries: dict[str, _Entry] = {}
        self._dedupe: dict[tuple[str, str, str | None], tuple[str, str]] = {}
        self._waiting: Counter[str] = Counter()  # by lane
        self._pending = 0
        self._created: set[str] = set()  # lanes
        self._rules: list[_Rule] = []
        self._latest: dict[str, Latest | None] = {}
        self.fail_with(None)
        self.closed = False

    # ── what a test asks ──

    @property
    def intents(self) -> list[Intent]:
        """Every accepted intent, in order. Duplicates were not accepted again."""
        return [entry.intent for entry in self._entries.values()]

    def intents_of(self, kind: type[Kind]) -> list[Kind]:
        """The accepted intents of one kind, given as its class."""
        return [intent for intent in self.intents if isinstance(intent, kind)]

    def intents_for(self, email: str) -> list[Intent]:
        """The accepted intents of one address, however it is spelled. Raises `InvalidIntent`."""
        lane = self._lane(email)
        return [entry.intent for entry in self._entries.values() if entry.lanes[0] == lane]

    # ── what the verbs do ──

    def _lane(self, email: str) -> str:
        return self._workspace.lane(address_of(email))

    def _store(self, chunk: Sequence[Submission]) -> list[Answer]:
        self._meet_failure()
        with self._lock:
            return [self._store_one(submission) for submission in chunk]

    def _store_one(self, submission: Submission) -> Answer:
        """What submit.lua does; nobody is ever to be woken."""
        intent = cast(Intent, submission.intent)  # Onelane's own never come through these verbs
        lane = submission.lane(self._workspace)
        word, told = self._refusal(intent, lane) or ("accepted", submission.intent_id)
        if word == "accepted":
            self._accept(submission.intent_id, intent, lane)
        return Answer(lane, word, told, wake=False)

    def _refusal(self, intent: Intent, lane: str) -> tuple[str, str] | None:
        if intent.dedupe_key is not None and (lane, intent.kind, intent.dedupe_key) in self._dedupe:
            earlier, content = self._dedupe[lane, intent.kind, intent.dedupe_key]
            return "duplicate" if content == intent.content() else "mismatch", earlier
        if any(self._waiting[one] >= self.settings.lane_max for one in self._lanes(intent)):
            return "lane_full", str(self.settings.lane_max)
        if self._pending >= self.settings.pending_max:
            return "queue_full", str(self.settings.pending_max)
        return None

    def _lanes(self, intent: Intent) -> tuple[str, ...]:
        new = (intent.new_email,) if isinstance(intent, EmailChange) else ()
        return tuple(self._lane(email) for email in (intent.email, *new))

    def _accept(self, intent_id: str, intent: Intent, lane: str) -> None:
        if intent.dedupe_key is not None:
            self._dedupe[lane, intent.kind, intent.dedupe_key] = intent_id, intent.content()
        entry = self._entries[intent_id] = _Entry(intent, self._lanes(intent), datetime.now(UTC))
        self._waiting.update(entry.lanes)
        self._pending += 1
        rule = next((rule for rule in self._rules if rule.fits(entry)), None)
        outcome = self._usual(entry) if rule is None else rule.outcome
        if outcome is not None:
            self._end(entry, outcome)

    def _usual(self, entry: _Entry) -> Outcome:
        """The first intent of an address that may create a contact has created it."""
        intent, contact_id = entry.intent, self._workspace.contact(entry.lanes[0])[:24]
        if isinstance(intent, ContactErasure):
            return Outcome(result="erased", contact_id=contact_id, calls=1)
        creates = _may_create(intent) and entry.lanes[0] not in self._created
        user = isinstance(intent, ProductSignUp | ContactSync) or getattr(intent, "role", None) == "user"
        return Outcome(
            result="created" if creates else "updated",
            contact_id=contact_id,
            role="user" if user else "lead",
            calls=1,
        )

    def _end(self, entry: _Entry, outcome: Outcome) -> Outcome:
        if entry.outcome is None:
            self._waiting.subtract(entry.lanes)
            self._pending -= 1
        if outcome.result == "created":
            self._created.add(entry.lanes[0])
        elif outcome.result == "erased":
            self._forget(entry.lanes[0])
        entry.outcome, entry.finished_at = outcome, datetime.now(UTC)
        return outcome

    def _forget(self, lane: str) -> None:
        """As an erasure does: the contact is gone, and so are the dedupe keys of the lane's ended intents."""
        self._created.discard(lane)
        ended = [
            key
            for key, (intent_id, _) in self._dedupe.items()
            if key[0] == lane and self._entries[intent_id].outcome is not None
        ]
        for key in ended:
            del self._dedupe[key]

    def _withdraw(self, intent_id: str) -> bool:
        self._meet_failure()
        with self._lock:
            entry = self._entries.get(intent_id)
            if entry is None:
                return False
            if entry.outcome is None:
                self._end(entry, WITHDRAWN)
            return entry.outcome == WITHDRAWN

    def _status(self, intent_id: str) -> Status | None:
        self._meet_failure()
        entry = self._entries.get(intent_id)
        if entry is None:
            return None
        outcome = entry.outcome
        rejected = outcome is not None and outcome.result == "rejected"
        return Status(
            id=intent_id,
            kind=entry.intent.kind,
            state="waiting" if outcome is None else "dead" if rejected else "done",
            attempts=0 if outcome is None else 1,
            accepted_at=entry.accepted_at,
            finished_at=entry.finished_at,
            error=IntentError(class_=outcome.reason or "refused", message=outcome.message)
            if outcome is not None and rejected
            else None,
            outcome=outcome,
        )

    def _wait(self, intent_id: str, timeout: float) -> Outcome:
        self._meet_failure()
        outcome = self._entry(intent_id).outcome
        if outcome is None:
            raise WaitTimeout(records.not_ended(intent_id, timeout))
        return outcome

    def _known(self, email: str) -> Latest | None:
        lane = self._lane(email)
        self._meet_failure()
        return self._latest.get(lane)

    def _entry(self, intent_id: str) -> _Entry:
        if intent_id not in self._entries:
            raise UnknownIntent(intent_id)
        return self._entries[intent_id]

    def _meet_failure(self) -> None:
        with self._lock:
            if self._error is None or self._times == 0:
                return
            if self._times is not None:
                self._times -= 1
            raise copy.copy(self._error)  # whoever catches it may note something on it


def _may_create(intent: Intent) -> bool:
    may = getattr(intent, "create", True)  # ContactSync says it in a boolean, ContactUpsert in a word
    return isinstance(intent, _CREATE) and may not in (False, "update_only")


class FakeContactQueue(_Fake, ContactQueue):
    """A `ContactQueue` in memory. `wait` answers at once; its `timeout` is only told in `WaitTimeout`."""

    def _submit(self, chunk: Sequence[Submission]) -> list[Answer]:
        return self._store(chunk)

    def withdraw(self, intent_id: str) -> bool:
        """End a waiting intent as `withdrawn`. False if it has ended otherwise or is unknown."""
        return self._withdraw(intent_id)

    def status(self, intent_id: str) -> Status | None:
        """Where the intent stands: waiting, done or dead; None if the id is unknown."""
        return self._status(intent_id)

    def wait(self, intent_id: str, timeout: float) -> Outcome:
        """The outcome. Raises `WaitTimeout` at once if the intent waits, and `UnknownIntent`."""
        return self._wait(intent_id, timeout)

    def latest(self, email: str) -> Latest | None:
        """What `set_latest` said of this address, else None. Raises `InvalidIntent`."""
        return self._known(email)

    def close(self) -> None:
        """Note that it was closed. Use after that works, as with the real one."""
        self.closed = True


class FakeAsyncContactQueue(_Fake, AsyncContactQueue):
    """An `AsyncContactQueue` in memory: see `FakeContactQueue`. What a test says and asks is not awaited."""

    async def _submit(self, chunk: Sequence[Submission]) -> list[Answer]:
        return self._store(chunk)

    async def withdraw(self, intent_id: str) -> bool:
        """End a waiting intent as `withdrawn`. False if it has ended otherwise or is unknown."""
        return self._withdraw(intent_id)

    async def status(self, intent_id: str) -> Status | None:
        """Where the intent stands: waiting, done or dead; None if the id is unknown."""
        return self._status(intent_id)

    async def wait(self, intent_id: str, timeout: float) -> Outcome:
        """The outcome. Raises `WaitTimeout` at once if the intent waits, and `UnknownIntent`."""
        return self._wait(intent_id, timeout)

    async def latest(self, email: str) -> Latest | None:
        """What `set_latest` said of this address, else None. Raises `InvalidIntent`."""
        return self._known(email)

    async def close(self) -> None:
        """Note that it was closed. Use after that works, as with the real one."""
        self.closed = True
