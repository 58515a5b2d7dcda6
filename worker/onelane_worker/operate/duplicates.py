"""People who are several contacts: found in Intercom's list, and mended where Intercom can mend them.

The list of all contacts is the index's view, and so a hint: whoever looks doubled is read by id. Leads are
merged by an engine, under the lease of the address and with the write on record, like any other write (law
3): what is found here is put into the lane as an intent of its own, a duplicate check.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from onelane import email_address, records
from onelane.intents import DuplicateCheck
from onelane.results import Outcome
from onelane.session import Session
from onelane.settings import QueueSettings
from onelane.submission import Answer, prepare_internal, submit
from onelane.workspace import Workspace
from onelane_worker.engine.execute import Intercom
from onelane_worker.engine.rate_budget import RateBudget
from onelane_worker.operate.open_workspace import OpenWorkspace
from onelane_worker.planner import operations as op
from onelane_worker.planner.registry import Facts

Verdict = Literal[
    "merged", "mergeable", "refused", "leads", "users", "single", "stopped", "waiting", "unanswered"
]
"""merged · mergeable: leads and one user, not touched · refused: Intercom will not merge them · leads, users:
several of a kind, which Intercom cannot merge · single: it only looked so · stopped: the circuit breaker is
open, or the workspace is paused · waiting: the check still waits in its lane · unanswered: Intercom did not
tell"""
LEFT: Final[frozenset[Verdict]] = frozenset(
    {"mergeable", "refused", "leads", "users", "stopped", "waiting", "unanswered"}
)
"""Verdicts after which the person still is, or may be, several contacts."""
SOURCE: Final = "onelane repair"
TOGETHER: Final = 50
"""Checks that are under way at the same time."""
_TRIES: Final = 4
PAUSE_S: Final = 0.2
"""Before the second try; each further one waits twice as long."""
_CALL_S: Final = 20.0
"""How long one call may wait to be sent."""


@dataclass(frozen=True, slots=True)
class Group:
    """Contacts of one address, as the index shows them."""

    address: str
    """Normalised."""
    lane: str
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Finding:
    """What is true of a group, and what became of it."""

    group: Group
    verdict: Verdict
    user: str | None = None
    contacts: tuple[Facts, ...] = field(default=(), repr=False)
    merged: tuple[str, ...] = ()

    @property
    def leads(self) -> frozenset[str]:
        return frozenset(one.id for one in self.contacts if one.role == "lead")


Ask = Callable[[op.ReadOperation], Awaitable[op.Reply]]


class ScanFailed(Exception):
    """Intercom did not answer; the text says why."""


def patient(intercom: Intercom, budget: RateBudget) -> Ask:
    """Asks within the workers' shared budget, and again if there was no answer."""

    async def ask(operation: op.ReadOperation) -> op.Reply:
        for attempt in range(_TRIES):
            call_until = await budget.take()
            send_by = min(call_until, asyncio.get_running_loop().time() + _CALL_S)
            reply = await intercom.perform(operation, now_ms=lambda: 0, send_by=send_by)
            match reply:
                case op.Throttled(retry_in_s=wait_s):
                    await budget.throttled(wait_s)
                case op.NotSent() | op.Unknown():
                    await asyncio.sleep(PAUSE_S * 2**attempt)
                case _:
                    break
        return reply

    return ask


# ── finding ───────────────────────────────────────────────────────────────────────────────────────────────


async def scan(ask: Ask, workspace: Workspace, on_page: Callable[[int], None]) -> list[Group]:
    """All addresses that the index shows with more than one contact. `on_page` is told each page's length.

    A workspace may have millions of contacts: of each, no more is kept than a digest and an id.
    """
    first: dict[bytes, str] = {}
    several: dict[str, dict[str, None]] = {}
    async for page in _pages(ask):
        for one in page:
            address = _address(one.email)
            if address is None:
                continue
            known = first.setdefault(bytes.fromhex(workspace.lane(address)), one.id)
            if known != one.id:
                several.setdefault(address, {known: None})[one.id] = None
        on_page(len(page))
    return [Group(address, workspace.lane(address), tuple(ids)) for address, ids in several.items()]


async def _pages(ask: Ask) -> AsyncIterator[Sequence[op.Candidate]]:
    after: str | None = None
    while True:
        reply = await ask(op.ListPage(after))
        if not isinstance(reply, op.Listed):
            problem = getattr(reply, "problem", op.Problem(type(reply).__name__.lower()))
            raise ScanFailed(f"{problem.kind} {problem.http_status or ''}".strip())
        yield reply.candidates
        if reply.next_page is None or reply.next_page == after:
            return
        after = reply.next_page


async def confirm(ask: Ask, group: Group) -> Finding:
    """Read every contact of the group by id; nothing is changed."""
    by_id: dict[str, Facts] = {}  # a merged one may answer as the one that it was merged into
    for contact_id in group.ids:
        match await ask(op.Read(contact_id)):
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
        return email_address.normalise_email(email) if email else None
    except email_address.InvalidAddress:
        return None


# ── mending ───────────────────────────────────────────────────────────────────────────────────────────────


async def put_into_lanes(
    opened: OpenWorkspace, found: Sequence[Finding], limits: QueueSettings
) -> list[Answer]:
    """Accept a duplicate check into the lane of each. Raises redis-py's errors and `OnelaneError`."""
    checks = [
        DuplicateCheck(email=one.group.address, contact_ids=one.group.ids, source=SOURCE) for one in found
    ]
    session = Session(opened.workspace.name)
    return await opened.exchange(submit(session, [prepare_internal(one) for one in checks], limits))


async def outcome_of(opened: OpenWorkspace, intent_id: str, patience_s: float) -> Outcome | None:
    """How a check has ended; None if it has not ended within `patience_s`."""
    clock = asyncio.get_running_loop().time
    began = clock()
    while True:
        outcome = await opened.exchange(records.outcome(opened.keys, intent_id))
        left_s = began + patience_s - clock()
        if outcome is not None or left_s <= 0:
            return outcome
        await asyncio.sleep(min(records.poll_pause_s(clock() - began), left_s))


def judged(found: Finding, outcome: Outcome | None, *, stopped: bool) -> Finding:
    """What became of a group whose leads were to be merged. `outcome`: of its check, None if that waits;
    `stopped`: nothing is served just now."""
    if outcome is None:
        return replace(found, verdict="stopped" if stopped else "waiting")
    done = replace(found, merged=outcome.merged)
    if outcome.reason == "later":  # it could not be made, and does not hold up its lane
        return replace(done, verdict="stopped" if stopped else "unanswered")
    if outcome.contact_id is None:  # nobody has the address any more
        return replace(done, verdict="single")
    left = found.leads.intersection(outcome.other_contacts)
    return replace(done, verdict="refused" if left else "merged")
