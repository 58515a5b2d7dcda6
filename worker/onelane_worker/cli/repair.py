"""`onelane repair`: find people who are several contacts, and mend what Intercom can mend."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onelane_worker.cli import _output as output
from onelane_worker.cli._config import settings_of_workspace
from onelane_worker.cli._errors import NEGATIVE, USAGE, fail
from onelane_worker.cli.dead import is_interactive

if TYPE_CHECKING:
    from onelane_worker.breaker import Gate
    from onelane_worker.planner.operations import ReadOperation, Reply
    from onelane_worker.intercom.gateway import Gateway
    from onelane_worker.intercom.limiter import Limiter
    from onelane_worker.repair import Ask, Finding, Group, Mender
    from onelane_worker.settings import Settings
    from onelane_worker.workspace import Record

_TRIES = 4
_WORDS = {
    "merged": "leads merged into the user",
    "mergeable": "leads beside a user: can be merged",
    "refused": "Intercom refuses to merge them",
    "forbidden": "the token may not merge: grant it to write users",
    "leads": "several leads: Intercom cannot merge those",
    "users": "several users: two accounts, or one for a person to merge",
    "busy": "its lane is at work: try again later",
    "stopped": "the line was stopped before it could be merged",
    "unknown": "the answer to a merge was lost: try again later",
    "unanswered": "Intercom did not answer: try again later",
}


def repair(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only look and report.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before merging.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Find people who are several contacts; merge leads into their user.

    Goes through the list of all contacts, reads each suspect by id, and merges under the lane of its address.
    It asks first; where nobody can be asked, as with --json, it wants --yes or --dry-run. What Intercom
    cannot merge is reported. While the line is paused or stopped nothing is merged. Exit code 1 if somebody
    is left who is several contacts, or if Intercom does not answer.
    """
    from onelane_worker.repair import LEFT

    _require_leave(dry_run or yes, as_json)
    settings = settings_of_workspace()
    if not settings.intercom_token.get_secret_value():
        fail(USAGE, "ONELANE_INTERCOM_TOKEN is not set", "Repair must read the workspace's contacts.")
    with _tools(settings) as (ask, mender, line, queue_workspace):
        _require_own_workspace(ask, queue_workspace())
        if not dry_run:
            _require_running(line())
        groups, seen = _scan(ask, as_json)
        found = _confirm(ask, groups, as_json)
        if not dry_run and any(one.verdict == "mergeable" for one in found):
            _ask_first(found, yes)
            found = _mend(mender(), found, as_json)
    found = [one for one in found if one.verdict != "single"]
    _tell(found, seen, as_json)
    if any(one.verdict in LEFT for one in found):
        raise typer.Exit(NEGATIVE)


def _require_leave(given: bool, as_json: bool) -> None:
    """Nothing that cannot be undone without a person's word; a program cannot be asked for it."""
    if not given and (as_json or not _can_be_asked()):
        hint = "--yes merges without asking; --dry-run only looks and reports."
        fail(USAGE, "merging cannot be undone, and there is nobody to ask: say --yes or --dry-run", hint)


def _can_be_asked() -> bool:
    """Whether somebody sees whom it would merge, and can answer."""
    return is_interactive() and sys.stdout.isatty()


def _require_running(gate: Gate) -> None:
    from onelane_worker.cli.survey import line_words

    if gate.stopped:
        hint = "It merges once the line runs (`onelane resume`); --dry-run only looks, and may be used now."
        fail(NEGATIVE, f"the line is {line_words(gate)}; repair writes nothing", hint)


def _require_own_workspace(ask: Ask, record: Record | None) -> None:
    """Contacts of another workspace than the queue's are not looked at. If Intercom does not tell now, the
    list of contacts will not be given either; and nothing is written before it has told."""
    from onelane_worker.planner import operations as op
    from onelane_worker.workspace import OtherWorkspace, require_same

    match ask(op.Probe()):
        case op.Done(workspace=op.Workspace() as token):
            try:
                require_same(token, record)
            except OtherWorkspace as other:
                fail(NEGATIVE, other.says, other.todo)


@contextmanager
def _tools(
    settings: Settings,
) -> Iterator[tuple[Ask, Callable[[], Mender], Callable[[], Gate], Callable[[], Record | None]]]:
    """How to ask Intercom, what merges under the lanes' leases, how the line stands, whose the queue is."""
    from onelane.publisher import Publisher

    from onelane import ContactQueue
    from onelane_worker.cli._config import open_redis, queue_settings
    from onelane_worker.cli.survey import look
    from onelane_worker.intercom.gateway import Gateway
    from onelane_worker.intercom.limiter import Limiter
    from onelane_worker.lanes.store import LaneStore
    from onelane_worker.lease import Heartbeat
    from onelane_worker.performer import Performer
    from onelane_worker.repair import Mender, Silent
    from onelane_worker.services import lane_settings
    from onelane_worker.workspace import OwnGateway, on_record

    given = queue_settings()
    with open_redis() as redis:
        redis.ping()  # without it nobody counts our calls, and nothing is known of the line
        limiter = Limiter(redis, settings.requests_per_10s)
        gateway = Gateway(settings)
        store = LaneStore(redis, lane_settings(settings))
        heartbeat = Heartbeat(store, settings.renew_s, settings.max_hold_s)
        publisher, kept = Publisher(given.broker, given.ca_file), Silent()

        def mender() -> Mender:
            own = OwnGateway(gateway, redis)
            performer = Performer(
                store, own, limiter, commit_ms=settings.commit_ms, send_grace_s=settings.send_grace_s
            )
            queue = ContactQueue(given, redis=redis, publisher=kept)  # type: ignore[arg-type]
            return Mender(
                queue,
                kept,
                store,
                performer,
                heartbeat,
                lambda turn: _sent(publisher, turn),
                settings.lease_s,
                stopped=lambda: look(redis).stopped,
            )

        try:
            yield _patient(gateway, limiter), mender, lambda: look(redis), lambda: on_record(redis)
        finally:
            heartbeat.stop()
            gateway.close()
            publisher.close()


def _sent(publisher: Any, turn: Any) -> None:
    publisher.publish([turn])


def _patient(gateway: Gateway, limiter: Limiter) -> Ask:
    """Asks within the workers' shared budget, and again if there was no answer."""
    from onelane_worker.planner import operations as op

    def ask(operation: ReadOperation) -> Reply:
        for attempt in range(_TRIES):
            while (wait_s := limiter.acquire(1.0)) is not None:
                time.sleep(wait_s)
            reply = gateway.perform(operation, now_ms=lambda: 0)
            match reply:
                case op.Throttled(retry_in_s=wait_s):
                    limiter.throttle(wait_s)
                case op.NotSent() | op.Unknown():
                    time.sleep(0.2 * 2**attempt)
                case _:
                    break
        return reply

    return ask


def _scan(ask: Ask, as_json: bool) -> tuple[list[Group], int]:
    from onelane_worker.repair import ScanFailed, scan

    seen = 0
    try:
        with output.progress("Reading the list of contacts", quiet=as_json) as say:

            def on_page(count: int) -> None:
                nonlocal seen
                seen += count
                say(f"({seen:,})")

            return scan(ask, on_page), seen
    except ScanFailed as failed:
        hint = "Nothing was changed. `onelane doctor` looks what is wrong."
        fail(NEGATIVE, f"Intercom did not give the list of contacts: {failed}", hint)


def _confirm(ask: Ask, groups: Sequence[Group], as_json: bool) -> list[Finding]:
    from onelane_worker.repair import confirm

    found = []
    with output.bar("reading by id", 0 if as_json else len(groups)) as advance:
        for group in groups:
            found.append(confirm(ask, group))
            advance(1)
    return found


def _ask_first(found: Sequence[Finding], yes: bool) -> None:
    if yes:
        return
    meant = [one for one in found if one.verdict == "mergeable"]
    output.print_entries([_entry(one) for one in meant])
    whose = "1 person into the user" if len(meant) == 1 else f"{len(meant):,} people into their users"
    typer.confirm(f"Merge the leads of {whose}? It cannot be undone.", abort=True, err=True)


def _mend(mender: Mender, found: Sequence[Finding], as_json: bool) -> list[Finding]:
    mended = []
    with output.bar("merging", 0 if as_json else len(found)) as advance:
        for one in found:
            done = mender.mend(one.group) if one.verdict == "mergeable" else one
            mended.append(done if done.contacts else replace(done, user=one.user, contacts=one.contacts))
            advance(1)
    return mended


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
    from onelane.identity import lane_id

    document: dict[str, Any] = output.masked(
        {
            "who": one.group.address,
            "lane": lane_id(one.group.address),
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
