"""Playing intents: the planner against the sandbox's pure rules, in virtual time, without Redis or network.

`World` is a small honest worker: it claims, folds, plans, records before each write, absorbs, settles or puts
back, exactly as the engine does, and moves its clock to whatever comes next. It leaves out leases, queues,
and two workers at once. What is stored goes through JSON, as in Redis.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec.structs import replace

from onelane.results import Outcome
from onelane_sandbox.rules import Request, Sandbox
from onelane_worker.engine.codec import entry_of, journal_json, memory_of, to_store
from onelane_worker.intercom.requests import to_request
from onelane_worker.intercom.responses import to_reply
from onelane_worker.planner import operations as op
from onelane_worker.planner import retry_policy as hd
from onelane_worker.planner.absorb import absorb
from onelane_worker.planner.fold import (
    Accepted,
    DesiredState,
    Superseded,
    applied_versions,
    fold,
    refold,
    remembered,
)
from onelane_worker.planner.intent_rights import AnyIntent
from onelane_worker.planner.knowledge import Knowledge, ended, recall, record
from onelane_worker.planner.outcomes import outcomes, rejected, superseded
from onelane_worker.planner.planner import Finish, Reject, Retry, Skip, Verdict, Wait, plan
from onelane_worker.planner.policy import Policy
from onelane_worker.planner.registry import ConsentMemory, Contact, Journal, RegistryEntry, Role, Version

START_MS = 1_800_000_000_000
CALL_MS = 50
COMMIT_MS = 31_000
"""How long a write may still commit: grace, time-out and tail."""
BACKOFF_MS = 1_000
MAX_OPERATIONS = 30
"""No attempt needs more calls than that."""
ANN = "ann@example.test"

Fate = Callable[[op.Operation], str | None]
"""What becomes of one call. None: it works. Else lost (done, but no answer), late (done later), dropped
(never done, no answer), not_sent, throttled, crash_before, crash_after."""


def told(operation: op.Operation) -> str:
    """An operation as a line of a table: `put c1 name plan` (the names of what is sent)."""
    match operation:
        case op.Search():
            return "search"
        case op.FindByExternalId(external_id):
            return f"find {external_id}"
        case op.Read(contact_id):
            return f"get {contact_id}"
        case op.ListSubscriptions(contact_id):
            return f"list {contact_id}"
        case op.ListTypes():
            return "types"
        case op.Create(body):
            names = [name for name in names_of(body) if name not in ("role", "email")]
            return " ".join(["post", str(body.get("role")), *names])
        case op.Update(contact_id, body):
            return " ".join(["put", contact_id, *names_of(body)])
        case op.Merge(lead_id, user_id):
            return f"merge {lead_id} {user_id}"
        case op.Attach(contact_id, type_id, _):
            return f"attach {contact_id} {type_id}"
        case op.Detach(contact_id, type_id):
            return f"detach {contact_id} {type_id}"
        case op.Unarchive(contact_id) | op.Archive(contact_id) | op.Delete(contact_id):
            return f"{type(operation).__name__.lower()} {contact_id}"
    return type(operation).__name__.lower()


_SHORT = {
    "external_id": "ext",
    "custom_attributes": "attrs",
    "unsubscribed_from_emails": "flag",
    "signed_up_at": "since",
}


def names_of(body: Any) -> list[str]:
    """The fields of a body, shortly; consent with its value."""
    names = []
    for name, value in body.items():
        short = _SHORT.get(name, name)
        names.append(f"flag={'out' if value else 'in'}" if short == "flag" else short)
    return sorted(names)


class Crashed(Exception):
    """kill -9."""


@dataclass
class Lane:
    """What Redis would hold of one address."""

    queue: list[Accepted] = field(default_factory=list)
    entry: str = "{}"
    believed_ms: int = 0
    memory: str = "{}"
    journal: str | None = None
    clean: bool = True
    due_ms: int = 0
    yields: bool = False
    """It only waits for a second look: a new intent is reason enough to look at it again."""
    alone: frozenset[str] = frozenset()
    attempts: int = 0


@dataclass
class Attempt:
    """One desired on its way."""

    lane: Lane
    desired: DesiredState
    know: Knowledge
    memory: ConsentMemory


class World:
    """Producers, one worker, Intercom, and everybody else."""

    def __init__(
        self,
        policy: Policy | None = None,
        *,
        lag: float = 300.0,
        switches: dict[str, object] | None = None,
        version: str = "2.15",
        seed: int = 0,
    ) -> None:
        self.policy = policy or Policy()
        self.sandbox = Sandbox(seed, index_lag=lag)
        self.sandbox.switch_all(switches or {})
        self.version = version
        self.now_ms = START_MS
        self.lanes: dict[str, Lane] = defaultdict(Lane)
        self.accepted: list[Accepted] = []
        self.outcomes: dict[str, Outcome] = {}
        self.log: list[tuple[int, op.Operation, op.Reply]] = []
        self.fate: Fate = lambda operation: None
        self.meddle: Callable[[], None] = lambda: None
        self.leaves: dict[str, tuple[str, Role, str]] = {}
        """External id → contact, role, and the address whose lane wrote it last."""
        self.versions: dict[str, dict[str, Version]] = {}
        """External id → source → newest version applied."""
        self.names: dict[str, str] = {}
        """Contact id → what the tests call it."""
        self.longest = 0
        """Most operations that any attempt has taken."""
        self._later: list[tuple[int, Request]] = []
        for name in ("plan", "city"):
            attribute = {"name": name, "model": "contact", "data_type": "string"}
            self.ask("POST", "/data_attributes", attribute)

    # ── producers ────────────────────────────────────────────────────────────────────────────────────────

    def say(self, *intents: AnyIntent) -> list[str]:
        """Accept intents; their ids."""
        ids = []
        for intent in intents:
            self.now_ms += 1
            ids.append(f"i{len(self.accepted) + 1}")
            lane = self.lanes[intent.address]
            if not lane.queue or lane.yields:
                lane.due_ms = self.now_ms
            self.accepted.append(Accepted(ids[-1], intent, self.now_ms))
            lane.queue.append(self.accepted[-1])
        return ids

    def do(self, *intents: AnyIntent) -> Outcome:
        """Accept intents, and work until nothing is left. The outcome of the last one."""
        ids = self.say(*intents)
        self.run()
        return self.outcomes[ids[-1]]

    def run(self, until_ms: int | None = None) -> None:
        """Work until all lanes sleep, or until that time."""
        for _ in range(5_000):
            busy = [lane for lane in self.lanes.values() if lane.queue]
            if not busy:
                return
            lane = min(busy, key=lambda each: each.due_ms)
            if until_ms is not None and max(lane.due_ms, self.now_ms) > until_ms:
                self.now_ms = max(self.now_ms, until_ms)
                return
            self.now_ms = max(self.now_ms, lane.due_ms)
            self._serve(lane)
        raise AssertionError("a lane does not come to an end")

    # ── everybody else ───────────────────────────────────────────────────────────────────────────────────

    def ask(self, method: str, path: str, payload: object = None) -> dict[str, Any]:
        """A request by somebody else; must be answered with 200."""
        request = Request.of(method, path, payload, version=self.version)
        response = self.sandbox.handle(request, self.now_ms / 1000)
        assert response.status == 200, response.body
        return dict(response.body)

    def seed(self, nick: str, **body: Any) -> str:
        """Somebody else makes a contact, long enough ago for the index to know; `nick` is for `calls`."""
        contact_id = self.hide(nick, **body)
        self.sandbox.catch_up()
        return contact_id

    def hide(self, nick: str, **body: Any) -> str:
        """Somebody else makes a contact just now."""
        made = self.ask("POST", "/contacts", {"email": ANN, **body})
        self.names[made["id"]] = nick
        return str(made["id"])

    def age(self, seconds: float) -> None:
        """Time passes."""
        self.now_ms += int(seconds * 1000)
        self._commit_late()

    # ── looking ──────────────────────────────────────────────────────────────────────────────────────────

    def calls(self) -> list[str]:
        """What was asked of Intercom since the last look, contacts by their names."""
        lines = self.peek()
        self.log.clear()
        return [line for line in lines if line != "types"]

    def peek(self) -> list[str]:
        """The same, without forgetting it."""
        return [self._named(told(operation)) for _, operation, _ in self.log]

    def live(self, email: str | None = ANN) -> list[dict[str, Any]]:
        """The contacts that truly are there, of one address or of all."""
        return [
            contact
            for contact in self.sandbox.contacts()
            if not (contact["archived"] or contact["deleted"] or contact["merged_into"])
            and email in (None, (contact["email"] or "").lower())
        ]

    def only(self, email: str = ANN) -> dict[str, Any]:
        """The one live contact of an address."""
        [contact] = self.live(email)
        return contact

    def name_new(self, nick: str, email: str = ANN) -> str:
        """Give a name to the only contact that has none yet."""
        [contact_id] = [c["id"] for c in self.live(email) if c["id"] not in self.names]
        self.names[contact_id] = nick
        return str(contact_id)

    def entry(self, email: str = ANN) -> RegistryEntry:
        return entry_of(self.lanes[email].entry)

    def memory(self, email: str = ANN) -> ConsentMemory:
        return memory_of(self.lanes[email].memory)

    def creates(self) -> int:
        """How many creates took effect by our hand, whatever we were told."""
        return sum(isinstance(operation, op.Create) for _, operation, _ in self.log)

    def _named(self, line: str) -> str:
        for contact_id, name in self.names.items():
            line = line.replace(contact_id, name)
        return line

    # ── the worker ───────────────────────────────────────────────────────────────────────────────────────

    def _serve(self, lane: Lane) -> None:
        try:
            self._one_wish(lane)
        except Crashed:
            lane.clean = False
            lane.due_ms = max(lane.due_ms, self.now_ms + 5_000)

    def _one_wish(self, lane: Lane) -> None:
        batch = lane.queue if lane.clean else lane.queue[:1]
        head = batch[0]
        forgotten = self.now_ms - lane.believed_ms > self.policy.registry_ttl_ms
        entry = RegistryEntry() if forgotten else entry_of(lane.entry)
        if not lane.clean:
            entry = entry.without_facts()
        lane.clean = lane.yields = False
        journal = None if lane.journal is None else msgspec.json.decode(lane.journal, type=Journal)
        memory = memory_of(lane.memory)
        address, external_id = head.intent.address, head.intent.external_id
        know = recall(address, external_id, entry, journal, self.policy, self.now_ms)
        policy = replace(self.policy, fold_max=1) if head.id in lane.alone else self.policy
        desired = fold(batch, memory, policy, self.now_ms)
        if isinstance(desired, Superseded):
            self._end(lane, [(head.id, superseded(desired, know.log))], know, None, memory)
            return
        seen = self.versions.get(desired.external_id or "", {})
        desired = refold(desired, batch, memory, seen, policy, self.now_ms)
        self._work(Attempt(lane, desired, self._with_leaves(desired, know), memory))

    def _with_leaves(self, desired: DesiredState, know: Knowledge) -> Knowledge:
        """What other lanes have written: who has the external id now, and which pointers to doubt."""
        leaf = self.leaves.get(desired.external_id or "")
        if leaf is not None and leaf[0] not in (*know.contacts, *know.tombstones):
            lead = leaf[1] == "lead"
            external_id, alias = (None, desired.external_id) if lead else (desired.external_id, None)
            pointer = Contact(
                id=leaf[0], role=leaf[1], external_id=external_id, alias=alias, resolved_ms=self.now_ms
            )
            know = know.with_contact(pointer)
        for known in tuple(know.contacts.values()):
            written = self.leaves.get(known.external_id or "")
            if (
                written is not None
                and known.external_id != desired.external_id
                and written[2] != desired.email
            ):
                know = know.doubted(known.id)
        return know

    def _work(self, attempt: Attempt) -> None:
        operations = 0
        while True:
            step = plan(attempt.desired, attempt.know, attempt.memory, self.policy, self.now_ms)
            match step:
                case Finish() | Skip():
                    return self._settle(attempt, step)
                case Superseded():
                    ends = [(attempt.desired.ids[0], superseded(step, attempt.know.log))]
                    return self._end(attempt.lane, ends, attempt.know, None, attempt.memory)
                case Reject():
                    return self._bury(attempt, step)
                case Wait():
                    return self._wait(attempt, step)
                case Retry():
                    return self._put_back(attempt, BACKOFF_MS)
            operations += 1
            self.longest = max(self.longest, operations)
            assert operations <= MAX_OPERATIONS, [told(each[1]) for each in self.log[-MAX_OPERATIONS:]]
            if self._ask(attempt, step):
                return None

    def _ask(self, attempt: Attempt, operation: op.Operation) -> bool:
        """Perform and learn; True if the attempt has ended."""
        if not isinstance(operation, op.ListTypes):
            attempt.know = attempt.know.called()
        sent_ms = self.now_ms
        reply = self._perform(attempt, operation)
        if isinstance(operation, op.Create):
            pending = self._journal(attempt, operation, sent_ms) if isinstance(reply, op.Unknown) else None
            if pending is not None:
                attempt.know = replace(attempt.know, journal=pending)
        handling = hd.handle(operation, reply)
        match handling:
            case hd.Absorb():
                attempt.know = absorb(attempt.know, operation, reply, sent_ms)
                return False
            case hd.TryAgain(may_commit=may_commit, absorb=digest):
                if digest:
                    attempt.know = absorb(attempt.know, operation, reply, sent_ms)
                delay_ms = COMMIT_MS if may_commit else BACKOFF_MS
                self._put_back(attempt, delay_ms, clean=not may_commit)
            case hd.WaitFor(retry_in_s=seconds):
                self._put_back(attempt, int(seconds * 1000))
            case hd.Blame(problem=problem):
                attempt.know = replace(attempt.know, journal=None)
                if len(attempt.desired.members) == 1:
                    self._bury(attempt, Reject("refused", problem))
                else:
                    attempt.lane.alone = frozenset(attempt.desired.ids)
                    self._put_back(attempt, 0)
            case hd.GiveUp(reason=reason, problem=problem):
                self._bury(attempt, Reject(reason, problem))
            case _:
                raise AssertionError(handling)
        return True

    def _perform(self, attempt: Attempt, operation: op.Operation) -> op.Reply:
        self.meddle()
        fate = self.fate(operation)
        if op.is_write(operation):
            self._checkpoint(attempt, operation)
        if fate == "crash_before":
            raise Crashed
        started_ms, self.now_ms = self.now_ms, self.now_ms + CALL_MS
        reply = self._answer(operation, fate, started_ms)
        self.log.append((started_ms, operation, reply))
        if fate == "crash_after":
            raise Crashed
        return reply

    def _answer(self, operation: op.Operation, fate: str | None, started_ms: int) -> op.Reply:
        wire = to_request(operation)
        request = Request.of(wire.method, wire.path, wire.json, version=self.version)
        match fate:
            case "not_sent":
                return op.NotSent(op.Problem("network"))
            case "throttled":
                return op.Throttled(5.0, op.Problem("rate_limited", 429))
            case "dropped":
                return op.Unknown(op.Problem("timeout"))
            case "late":
                self._later.append((started_ms + COMMIT_MS - 1_000, request))
                return op.Unknown(op.Problem("timeout"))
        self._commit_late()
        response = self.sandbox.handle(request, started_ms / 1000)
        if fate == "lost":
            return op.Unknown(op.Problem("timeout"))
        return to_reply(operation, response.status, response.headers, response.content, started_ms)

    def _commit_late(self) -> None:
        due = [each for each in self._later if each[0] <= self.now_ms]
        self._later = [each for each in self._later if each[0] > self.now_ms]
        for at_ms, request in due:
            self.sandbox.handle(request, at_ms / 1000)

    def _checkpoint(self, attempt: Attempt, operation: op.Operation) -> None:
        """Law 3: recorded before it is sent."""
        lane = attempt.lane
        self._believe(lane, self._pointers(attempt.know))
        lane.due_ms = self.now_ms + COMMIT_MS
        if isinstance(operation, op.Create):
            lane.journal = journal_json(self._journal(attempt, operation, self.now_ms))

    def _journal(self, attempt: Attempt, create: op.Create, sent_ms: int) -> Journal:
        before = attempt.know.journal
        return Journal(
            intents=attempt.desired.ids,
            role=create.body["role"],
            external_id=create.body.get("external_id"),
            body=dict(create.body),
            sent_ms=before.sent_ms if before else sent_ms,
            commit_until_ms=sent_ms + COMMIT_MS,
        )

    # ── endings ──────────────────────────────────────────────────────────────────────────────────────────

    def _settle(self, attempt: Attempt, verdict: Finish | Skip) -> None:
        target = verdict.target if isinstance(verdict, Finish) else None
        ends = outcomes(attempt.desired, attempt.know, verdict, self.policy)
        carried_out = isinstance(verdict, Finish)
        memory = remembered(attempt.memory, attempt.desired, carried_out, self.policy, self.now_ms)
        external_id = attempt.desired.external_id
        if carried_out and external_id is not None:
            seen = self.versions.get(external_id, {})
            self.versions[external_id] = applied_versions(seen, attempt.desired, self.policy, self.now_ms)
        known = attempt.know.contacts.get(target or "")
        if known is not None and attempt.desired.external_id is not None:
            self.leaves[attempt.desired.external_id] = (known.id, known.role, attempt.desired.email)
        self._end(attempt.lane, ends, attempt.know, target, memory)

    def _end(
        self,
        lane: Lane,
        ends: Iterable[tuple[str, Outcome]],
        know: Knowledge,
        target: str | None,
        memory: ConsentMemory,
    ) -> None:
        entry = record(ended(know), target, self.policy, self.now_ms)
        self._believe(lane, entry)
        lane.memory = to_store(memory) or "{}"
        self._leave(lane, dict(ends))
        lane.clean = True

    def _bury(self, attempt: Attempt, verdict: Reject) -> None:
        self._believe(attempt.lane, self._pointers(ended(attempt.know)))
        self._leave(attempt.lane, {attempt.desired.ids[0]: rejected(verdict, attempt.know.log)})
        attempt.lane.clean = True

    def _leave(self, lane: Lane, ends: dict[str, Outcome]) -> None:
        self.outcomes |= ends
        lane.queue = [each for each in lane.queue if each.id not in ends]
        lane.journal, lane.due_ms, lane.attempts = None, self.now_ms, 0

    def _wait(self, attempt: Attempt, wait: Wait) -> None:
        pending = attempt.know.journal
        if pending is not None:
            looked = replace(pending, looks=pending.looks + 1)
            attempt.know = replace(attempt.know, journal=looked)
        self._put_back(attempt, wait.until_ms - self.now_ms, counted=False)
        attempt.lane.yields = wait.why == "second_look"

    def _put_back(self, attempt: Attempt, delay_ms: int, *, clean: bool = True, counted: bool = True) -> None:
        lane, pending = attempt.lane, attempt.know.journal
        lane.attempts += counted
        assert lane.attempts < 60, "an intent is tried for ever"
        self._believe(lane, self._pointers(attempt.know))
        lane.journal = journal_json(pending)
        lane.due_ms = self.now_ms + max(delay_ms, 0)
        lane.clean = clean

    def _pointers(self, know: Knowledge) -> RegistryEntry:
        return record(know, None, self.policy, self.now_ms).without_facts()

    def _believe(self, lane: Lane, entry: RegistryEntry) -> None:
        lane.entry, lane.believed_ms = to_store(entry) or "{}", self.now_ms


def converse(
    intent: AnyIntent,
    *replies: op.Reply,
    entry: RegistryEntry | None = None,
    policy: Policy | None = None,
    now_ms: int = START_MS,
) -> tuple[list[str], Verdict]:
    """One attempt against scripted replies: what was asked, and the verdict."""
    chosen, entry = policy or Policy(), entry or RegistryEntry()
    desired = fold([Accepted("i1", intent, START_MS)], ConsentMemory(), chosen, now_ms)
    assert isinstance(desired, DesiredState)
    know = recall(intent.address, desired.external_id, entry, None, chosen, now_ms)
    asked, answers = [], list(replies)
    while isinstance(step := plan(desired, know, ConsentMemory(), chosen, now_ms), op.Operation):
        asked.append(told(step))
        know = absorb(know, step, answers.pop(0), now_ms)
    assert not answers, f"not asked for: {answers}"
    return asked, step
