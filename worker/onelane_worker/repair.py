"""Persons who are several contacts: found, and mended where Intercom can mend them.

The list of all contacts is the index's view, and so a hint: whoever looks doubled is read by id, and merged
only under the lane of the address, with the write on record, like any other write (law 3). To get the lane,
an intent that changes nothing is accepted into it and served here; a lane at work is left alone and named
as busy.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal
from uuid import uuid4

from onelane.receipts import Outcome
from onelane.turns import Turn

from onelane import ContactQueue, ContactUpsert, identity
from onelane_worker.ending import announce
from onelane_worker.lanes.model import KEEP, Fenced, Grant, Refused
from onelane_worker.lanes.store import LaneStore
from onelane_worker.lease import Heartbeat, Lease
from onelane_worker.payloads import belief_of, error_json, to_store
from onelane_worker.performer import Performer, WriteRecord
from onelane_worker.planner import operations as op
from onelane_worker.planner.registry import Contact, Facts, Tombstone

Verdict = Literal[
    "merged",
    "mergeable",
    "refused",
    "forbidden",
    "leads",
    "users",
    "single",
    "busy",
    "stopped",
    "unknown",
    "unanswered",
]
"""merged · mergeable: leads and one user, not touched · refused: Intercom will not merge them · forbidden:
the token may not · leads, users: several of a kind, which Intercom cannot merge · single: it only looked so ·
busy: its lane is at work · stopped: the line is · unknown: the answer to a merge was lost · unanswered:
Intercom did not tell"""
LEFT: frozenset[Verdict] = frozenset(
    {"mergeable", "refused", "forbidden", "leads", "users", "busy", "stopped", "unknown", "unanswered"}
)
"""Verdicts after which the person still is, or may be, several contacts."""
SOURCE = "onelane repair"


@dataclass(frozen=True, slots=True)
class Group:
    """Contacts of one address, as the index shows them."""

    address: str
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """What is true of a group, and what became of it."""

    group: Group
    verdict: Verdict
    user: str | None = None
    contacts: tuple[Facts, ...] = field(default=(), repr=False)
    merged: tuple[str, ...] = ()


Ask = Callable[[op.ReadOperation], op.Reply]


class ScanFailed(Exception):
    """Intercom did not answer; the text says why."""


def scan(ask: Ask, on_page: Callable[[int], None]) -> list[Group]:
    """All addresses that the index shows with more than one contact. `on_page` is told each page's length.

    A workspace may have millions of contacts: of each, no more is kept than a digest and an id.
    """
    first: dict[bytes, str] = {}
    several: dict[str, dict[str, None]] = {}
    for page in _pages(ask):
        for one in page:
            address = _address(one.email)
            if address is None:
                continue
            known = first.setdefault(bytes.fromhex(identity.lane_id(address)), one.id)
            if known != one.id:
                several.setdefault(address, {known: None})[one.id] = None
        on_page(len(page))
    return [Group(address, tuple(ids)) for address, ids in several.items()]


def _pages(ask: Ask) -> Iterator[Sequence[op.Candidate]]:
    after: str | None = None
    while True:
        reply = ask(op.ListPage(after))
        if not isinstance(reply, op.Listed):
            problem = getattr(reply, "problem", op.Problem(type(reply).__name__.lower()))
            raise ScanFailed(f"{problem.kind} {problem.http_status or ''}".strip())
        yield reply.candidates
        if reply.next_page is None or reply.next_page == after:
            return
        after = reply.next_page


def confirm(ask: Ask, group: Group) -> Finding:
    """Read every contact of the group by id; nothing is changed."""
    by_id: dict[str, Facts] = {}  # a merged one may answer as the one that it was merged into
    for contact_id in group.ids:
        match ask(op.Read(contact_id)):
            case op.Found(facts=facts):
                if _address(facts.email) == group.address:
                    by_id[facts.id] = facts
            case op.Gone():
                continue
            case _:
                return Finding(group, "unanswered")
    contacts = list(by_id.values())
    users = [one for one in contacts if one.role == "user"]
    if len(contacts) < 2:
        verdict: Verdict = "single"
    elif len(users) == 1:
        verdict = "mergeable"
    else:
        verdict = "users" if users else "leads"
    user = users[0].id if len(users) == 1 else None
    return Finding(group, verdict, user, tuple(contacts))


def _address(email: str | None) -> str | None:
    try:
        return identity.normalise_email(email) if email else None
    except identity.InvalidAddress:
        return None


class Silent:
    """Stands where the broker would: keeps the turn, which is served here."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []

    def publish(self, wanted: Sequence[Turn]) -> bool:
        self.turns += wanted
        return True

    def close(self) -> None:
        """Nothing was opened."""


class Mender:
    """Merges under the lanes' leases. `queue` must publish into `kept`; `publish` sends real turns."""

    def __init__(
        self,
        queue: ContactQueue,
        kept: Silent,
        store: LaneStore,
        performer: Performer,
        heartbeat: Heartbeat,
        publish: Callable[[Turn], None],
        lease_s: float,
        *,
        stopped: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`stopped`: whether the line is; then nothing is written, as no worker would."""
        self._queue = queue
        self._kept = kept
        self._store = store
        self._performer = performer
        self._heartbeat = heartbeat
        self._publish = publish
        self._lease_s = lease_s
        self._stopped = stopped
        self._clock = clock

    def mend(self, group: Group) -> Finding:
        """Take the lane, look again, and merge. Raises what the queue and redis-py raise."""
        if self._stopped():
            return Finding(group, "stopped")
        view = self._store.describe(identity.lane_id(group.address))
        if view.intents or view.holder is not None or view.journal is not None:
            return Finding(group, "busy")
        receipt = self._queue.enqueue(ContactUpsert(email=group.address, create="update_only", source=SOURCE))
        turns, self._kept.turns = self._kept.turns, []
        if not turns:
            return Finding(group, "busy")  # somebody came in between; the intent changes nothing
        asked_at = self._clock()
        claimed = self._store.claim(receipt.lane, turns[0].queue, turns[0].seq, uuid4().hex)
        if isinstance(claimed, Refused):
            return Finding(group, "busy")
        lease = Lease(claimed, asked_at, self._lease_s, self._clock)
        with self._heartbeat.hold(lease):
            try:
                return self._under(lease, group, receipt.id)
            except Fenced:
                return Finding(group, "busy")

    def _under(self, lease: Lease, group: Group, intent_id: str) -> Finding:
        grant = lease.grant
        if grant.head.id != intent_id or grant.journal is not None:
            self._give_back(lease, may_commit=False)
            return Finding(group, "busy")
        found = confirm(lambda read: self._performer.read(read, lease).reply, group)
        if found.verdict == "unanswered":
            self._give_back(lease, may_commit=False)
            return found
        if found.verdict == "mergeable":
            found = self._merge(lease, found, intent_id)
        if found.verdict == "unknown":
            self._give_back(lease, may_commit=True)
            return found
        self._end(lease, found, intent_id)
        return found

    def _merge(self, lease: Lease, found: Finding, intent_id: str) -> Finding:
        """One lead after the other; the first that does not go ends it."""
        assert found.user is not None
        merged: tuple[str, ...] = ()
        for lead in (one for one in found.contacts if one.role == "lead"):
            if self._stopped():
                return replace(found, verdict="stopped", merged=merged)
            record = WriteRecord((intent_id,), _belief(lease, replace(found, merged=merged)), None)
            reply = self._performer.write(op.Merge(lead.id, found.user), lease, record).reply
            match reply:
                case op.Found() | op.Gone():
                    merged += (lead.id,)
                case op.Unknown():
                    return replace(found, verdict="unknown", merged=merged)
                case op.NotSent() | op.Throttled() | op.Stopped():
                    return replace(found, verdict="unanswered", merged=merged)
                case op.Forbidden():
                    return replace(found, verdict="forbidden", merged=merged)
                case _:
                    return replace(found, verdict="refused", merged=merged)
        return replace(found, verdict="merged", merged=merged)

    def _end(self, lease: Lease, found: Finding, intent_id: str) -> None:
        outcome = Outcome(
            result="updated" if found.merged else "unchanged",
            contact_id=found.user,
            role="user" if found.user else None,
            merged=found.merged,
            ambiguous=found.verdict in ("leads", "users"),
        )
        ended = [(intent_id, outcome.model_dump_json(exclude_defaults=True))]
        settled = self._store.settle(lease.grant, lease.op(), ended, _belief(lease, found), KEEP, False)
        if settled.turn is not None:
            announce(self._publish, settled.turn)

    def _give_back(self, lease: Lease, *, may_commit: bool) -> None:
        """Some worker ends the intent; it changes nothing."""
        error = error_json(op.Problem("repair", message="the lane was given back by a repair"))
        self._store.postpone(lease.grant, lease.op(), 0, "retrying", error, False, may_commit, False)


def _belief(lease: Lease, found: Finding) -> str | None:
    """Who is left; what they hold is to be looked up again."""
    grant: Grant = lease.grant
    now_ms = lease.now_ms()
    before = belief_of(grant.belief).without_facts()
    stones = {gone: Tombstone(why="merged", into=found.user, at_ms=now_ms) for gone in found.merged}
    known = {one.id: one for one in before.contacts if one.id not in found.merged}
    for facts in found.contacts:
        if facts.id not in found.merged and facts.id not in known:
            known[facts.id] = _known(facts, now_ms)
    contacts = tuple(sorted(known.values(), key=lambda one: one.age_key))
    primary = found.user or (before.primary if before.primary in known else None)
    change = {"contacts": contacts, "primary": primary, "tombstones": before.tombstones | stones}
    return to_store(before.model_copy(update=change))


def _known(facts: Facts, now_ms: int) -> Contact:
    is_user = facts.role == "user"
    return Contact(
        id=facts.id,
        role=facts.role,
        external_id=facts.external_id if is_user else None,
        email=_address(facts.email),
        created_at=facts.created_at,
        resolved_ms=now_ms,
    )
