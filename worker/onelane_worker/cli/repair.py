"""`onelane repair`: find people who are several contacts, and mend what Intercom can mend."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onelane_worker.cli import _breaker_words as breaker_words
from onelane_worker.cli import _output as output
from onelane_worker.cli._config import queue_settings, run, settings_of_workspace
from onelane_worker.cli._errors import NEGATIVE, USAGE, fail
from onelane_worker.cli.dead import is_interactive

if TYPE_CHECKING:
    from onelane_worker.operate.duplicates import Ask, Finding, Group
    from onelane_worker.operate.open_workspace import OpenWorkspace
    from onelane_worker.settings import Settings

_PATIENCE_S = 120.0
"""How long the checks may take that are under way at the same time: a lane may have to wait until an earlier
write of unknown result can no longer commit."""
_WORDS = {
    "merged": "leads merged into the user",
    "mergeable": "leads beside a user: can be merged",
    "refused": "Intercom refuses to merge them",
    "leads": "several leads: Intercom cannot merge those",
    "users": "several users: two accounts, or one for a person to merge",
    "stopped": "nothing is served just now: they are merged when that has ended, or by another repair",
    "waiting": "the check waits in its lane, behind other intents or an open write: it will be made",
    "unanswered": "Intercom did not answer: try again later",
}


def repair(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only look and report.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before merging.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Find people who are several contacts; merge leads into their user.

    Goes through the list of all contacts, reads each suspect by id, and puts a check into the lane of its
    address: a worker merges. It asks first; where nobody can be asked, as with --json, it wants --yes or
    --dry-run. What Intercom cannot merge is reported. While nothing is served nothing is merged. Exit code 1
    if somebody is left who is several contacts, or if Intercom does not answer.
    """
    from onelane_worker.operate.duplicates import LEFT

    _require_leave(dry_run or yes, as_json)
    settings = settings_of_workspace()
    if not settings.intercom_token.get_secret_value():
        fail(USAGE, "ONELANE_INTERCOM_TOKEN is not set", "Repair must read the workspace's contacts.")
    found, seen = run(lambda opened: _repaired(opened, settings, dry_run, yes, as_json), create=True)
    found = [one for one in found if one.verdict != "single"]
    _tell(found, seen, as_json)
    if any(one.verdict in LEFT for one in found):
        raise typer.Exit(NEGATIVE)


async def _repaired(
    opened: OpenWorkspace, settings: Settings, dry_run: bool, yes: bool, as_json: bool
) -> tuple[list[Finding], int]:
    """What was found and what became of it, and how many contacts were looked at."""
    async with _asking(opened, settings) as ask:
        await _require_own_workspace(ask, opened)
        if not dry_run:
            await _require_service(opened)
        groups, seen = await _scan(ask, opened, as_json)
        found = await _confirm(ask, groups, as_json)
    if not dry_run and any(one.verdict == "mergeable" for one in found):
        _ask_first(found, yes)
        found = await _mend(opened, found, as_json)
    return found, seen


def _require_leave(given: bool, as_json: bool) -> None:
    """Nothing that cannot be undone without a person's word; a program cannot be asked for it."""
    if not given and (as_json or not _can_be_asked()):
        hint = "--yes merges without asking; --dry-run only looks and reports."
        fail(USAGE, "merging cannot be undone, and there is nobody to ask: say --yes or --dry-run", hint)


def _can_be_asked() -> bool:
    """Whether somebody sees whom it would merge, and can answer."""
    return is_interactive() and sys.stdout.isatty()


async def _require_service(opened: OpenWorkspace) -> None:
    """A worker must merge; without one nothing would happen."""
    from onelane_worker.operate import engines, pause

    service = await pause.look(opened)
    if service.shut:
        told = breaker_words.document(service.breaker)
        what = "the workspace is" if told["state"] == "paused" else "the circuit breaker is"
        hint = "`onelane resume` ends that; --dry-run only looks, and may be used now."
        fail(NEGATIVE, f"{what} {breaker_words.words(told)}; repair writes nothing", hint)
    if not await engines.alive(opened):
        hint = "Start one: `onelane worker`. --dry-run only looks, and needs none."
        fail(NEGATIVE, "no worker is alive: nobody would merge", hint)


@asynccontextmanager
async def _asking(opened: OpenWorkspace, settings: Settings) -> AsyncIterator[Ask]:
    """How to ask Intercom, within the rate budget of the workspace."""
    import asyncio

    from onelane_worker.engine.rate_budget import RateBudget
    from onelane_worker.intercom.client import IntercomClient
    from onelane_worker.operate.duplicates import patient

    intercom = IntercomClient(settings)
    budget = RateBudget(opened.store, asyncio.get_running_loop().time)
    try:
        yield patient(intercom, budget)
    finally:
        budget.close()
        await intercom.aclose()


async def _require_own_workspace(ask: Ask, opened: OpenWorkspace) -> None:
    """Contacts of another workspace than the queue's are not looked at. If Intercom does not tell now, the
    list of contacts will not be given either; and nothing is written before it has told."""
    from onelane_worker.engine.workspace_check import OtherWorkspace, record_calls, recorded, require_same
    from onelane_worker.planner import operations as op

    match await ask(op.Probe()):
        case op.Done(workspace=op.Workspace() as token):
            try:
                require_same(token, recorded(await opened.ask(record_calls(opened.keys))))
            except OtherWorkspace as other:
                fail(NEGATIVE, other.says, other.todo)


async def _scan(ask: Ask, opened: OpenWorkspace, as_json: bool) -> tuple[list[Group], int]:
    from onelane_worker.operate.duplicates import ScanFailed, scan

    seen = 0
    try:
        with output.progress("Reading the list of contacts", quiet=as_json) as say:

            def on_page(count: int) -> None:
                nonlocal seen
                seen += count
                say(f"({seen:,})")

            return await scan(ask, opened.workspace, on_page), seen
    except ScanFailed as failed:
        hint = "Nothing was changed. `onelane doctor` looks what is wrong."
        fail(NEGATIVE, f"Intercom did not give the list of contacts: {failed}", hint)


async def _confirm(ask: Ask, groups: Sequence[Group], as_json: bool) -> list[Finding]:
    from onelane_worker.operate.duplicates import confirm

    found = []
    with output.bar("reading by id", 0 if as_json else len(groups)) as advance:
        for group in groups:
            found.append(await confirm(ask, group))
            advance(1)
    return found


def _ask_first(found: Sequence[Finding], yes: bool) -> None:
    if yes:
        return
    meant = [one for one in found if one.verdict == "mergeable"]
    output.print_entries([_entry(one) for one in meant])
    whose = "1 person into the user" if len(meant) == 1 else f"{len(meant):,} people into their users"
    typer.confirm(f"Merge the leads of {whose}? It cannot be undone.", abort=True, err=True)


async def _mend(opened: OpenWorkspace, found: Sequence[Finding], as_json: bool) -> list[Finding]:
    """Let the workers merge whom they can, some at a time."""
    from onelane.wakeup import Waker
    from onelane_worker.operate.duplicates import TOGETHER, put_into_lanes
    from onelane_worker.operate.open_workspace import chunks

    limits = queue_settings()
    mergeable = [one for one in found if one.verdict == "mergeable"]
    mended = {one.group.address: one for one in found}
    waker = Waker.of(limits)
    try:
        with output.bar("merging", 0 if as_json else len(mergeable)) as advance:
            for some in chunks(mergeable, TOGETHER):
                answers = await put_into_lanes(opened, some, limits)
                waker.wake(sum(answer.wake for answer in answers))
                for done in await _ends(opened, some, [answer.receipt().id for answer in answers]):
                    mended[done.group.address] = done
                    advance(1)
    finally:
        waker.close()
    return list(mended.values())


async def _ends(opened: OpenWorkspace, some: Sequence[Finding], ids: Sequence[str]) -> list[Finding]:
    import asyncio

    from onelane_worker.operate import pause
    from onelane_worker.operate.duplicates import judged, outcome_of

    outcomes = await asyncio.gather(*(outcome_of(opened, id_, _PATIENCE_S) for id_ in ids))
    stopped = (await pause.look(opened)).stopped
    return [judged(one, outcome, stopped=stopped) for one, outcome in zip(some, outcomes, strict=True)]


def _tell(found: Sequence[Finding], seen: int, as_json: bool) -> None:
    if as_json:
        counts = dict(Counter(one.verdict for one in found))
        people = [_document(one) for one in found]
        output.print_json({"contacts": seen, "counts": counts, "people": people})
        return
    if found:
        output.print_entries([_entry(one) for one in found])
        output.tell("")
    several = f"{len(found):,} {'address' if len(found) == 1 else 'addresses'} with more than one"
    output.tell(f"{output.many(seen, 'contact')} looked at, {several}")
    for count, words in _summary(found):
        output.tell(f"{count:>5,}  {words}", style="green" if words == _WORDS["merged"] else "")
    if any(one.verdict == "mergeable" for one in found):
        output.tell("Nothing was changed. `onelane repair` merges what can be merged, and asks first.")


def _summary(found: Sequence[Finding]) -> Iterator[tuple[int, str]]:
    counts = Counter(one.verdict for one in found)
    return ((counts[verdict], words) for verdict, words in _WORDS.items() if counts[verdict])  # type: ignore[index]


def _document(one: Finding) -> dict[str, Any]:
    document: dict[str, Any] = output.masked(
        {
            "who": one.group.address,
            "lane": one.group.lane,
            "verdict": one.verdict,
            "user": one.user,
            "contacts": [{"id": facts.id, "role": facts.role} for facts in one.contacts],
            "merged": list(one.merged),
        }
    )
    return document


def _entry(one: Finding) -> output.Entry:
    told = _document(one)
    contacts = ", ".join(f"{each['role']} {each['id']}" for each in told["contacts"])
    return [told["who"], one.verdict, f"lane {told['lane']}"], contacts
