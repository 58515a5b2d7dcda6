"""`onelane enqueue`: say what should be true of a contact, once or for a whole file."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from onelane_worker.cli import _intake as intake
from onelane_worker.cli import _output as output
from onelane_worker.cli._errors import NEGATIVE, TIMED_OUT, USAGE, fail

if TYPE_CHECKING:
    from onelane import ContactQueue, Intent, OnelaneError, Outcome, Receipt

CHUNK = 500
LISTED = 20
"""More receipts than these are told as a number; `--json` prints them all."""

_PERSON, _OTHER = "Fields of a person", "Other fields"


class EnqueueCommand(TyperCommand):
    """Lists the kinds at the end of its help, and only there loads what knows them."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self.epilog = intake.kinds_sentence()
        super().format_help(ctx, formatter)


@dataclass(slots=True)
class Sent:
    """One intent on its way."""

    intent: Intent
    receipt: Receipt | None
    """None: it was not stored."""
    outcome: Outcome | None = None

    def document(self, waited: bool) -> dict[str, Any]:
        """What `--json` says of it."""
        receipt = {"id": None, "lane": None, "duplicate": None}
        if self.receipt is not None:
            receipt = self.receipt.model_dump(mode="json")
        told: dict[str, Any] = {"kind": self.intent.kind, **receipt}
        if waited:
            told["outcome"] = None if self.outcome is None else self.outcome.model_dump(mode="json")
        return told


def _kinds(incomplete: str) -> list[str]:
    """For the shell's completion."""
    return intake.kinds(incomplete)


def enqueue(
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="KIND",
            help="What is wanted; the kinds stand below.",
            show_default=False,
            autocompletion=_kinds,
        ),
    ] = None,
    email: Annotated[str | None, typer.Option(help="Whom it is about.", show_default=False)] = None,
    source_file: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="FILE", help="Intents as JSON lines or a JSON array; - is standard input."
        ),
    ] = None,
    wait: Annotated[
        float | None, typer.Option(min=0, metavar="S", help="Wait for the outcome, S seconds at most.")
    ] = None,
    name: Annotated[str | None, typer.Option(rich_help_panel=_PERSON)] = None,
    phone: Annotated[str | None, typer.Option(rich_help_panel=_PERSON)] = None,
    external_id: Annotated[
        str | None, typer.Option(help="Your id of the user.", rich_help_panel=_PERSON)
    ] = None,
    attribute: Annotated[
        list[str] | None,
        typer.Option(
            "--attribute",
            "-a",
            metavar="NAME=VALUE",
            help="Custom attribute; VALUE is JSON or plain text.",
            rich_help_panel=_PERSON,
        ),
    ] = None,
    unset: Annotated[
        list[str] | None, typer.Option(metavar="FIELD", help="Field to clear.", rich_help_panel=_PERSON)
    ] = None,
    subscription_type: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Of a newsletter opt-in or opt-out.", rich_help_panel=_OTHER),
    ] = None,
    field: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="Any other field of the kind, such as version=7.",
            rich_help_panel=_OTHER,
        ),
    ] = None,
    dedupe_key: Annotated[
        str | None, typer.Option(help="Enqueued twice with one key counts once.", rich_help_panel=_OTHER)
    ] = None,
    source: Annotated[str | None, typer.Option(help="Which system speaks.", rich_help_panel=_OTHER)] = None,
    occurred_at: Annotated[
        str | None, typer.Option(metavar="TIME", help="ISO 8601, with a time zone.", rich_help_panel=_OTHER)
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Receipts as JSON; one line each with --from.")
    ] = False,
) -> None:
    """Say what should be true of a contact: once, or for a whole file.

    onelane enqueue newsletter-opt-in --email ann@example.test --wait 10

    onelane enqueue contact-sync --from people.jsonl --source nightly

    With --from, the other options are what a line of the file leaves out.
    """
    given = intake.Given(
        email, external_id, dedupe_key, source, occurred_at, name, phone,
        attribute or [], subscription_type or [], unset or [], field or [],
    )  # fmt: skip
    if source_file is None:
        if kind is None:
            fail(USAGE, "say which KIND of intent", intake.kinds_sentence())
        intents = [intake.one(kind, given)]
    else:
        intents = intake.many(source_file, kind, given)
    from onelane_worker.cli._config import open_queue

    with open_queue() as queue:
        sent, error = _send(queue, intents)
        if error is not None:
            _tell_of_the_rest(sent, len(intents), as_json)
            raise error
        late = [] if wait is None else _wait(queue, sent, wait)
    _print(sent, as_json, lines=source_file is not None, waited=wait is not None)
    _end(sent, late, wait)


def _send(queue: ContactQueue, intents: Sequence[Intent]) -> tuple[list[Sent], OnelaneError | None]:
    """What became of each, in order, and the first error. A dedupe mismatch concerns one intent alone."""
    from onelane import DedupeMismatch, OnelaneError

    sent: list[Sent] = []
    first: OnelaneError | None = None
    with output.bar("enqueueing", len(intents), CHUNK) as advance:
        for start in range(0, len(intents), CHUNK):
            chunk = intents[start : start + CHUNK]
            receipts: Sequence[Receipt | None]
            try:
                receipts = queue.enqueue_many(chunk)
            except OnelaneError as error:
                first, receipts = first or error, error.receipts or [None] * len(chunk)
                if not isinstance(error, DedupeMismatch):
                    return sent + _pairs(chunk, receipts), error
            sent += _pairs(chunk, receipts)
            advance(len(chunk))
    return sent, first


def _pairs(chunk: Sequence[Intent], receipts: Sequence[Receipt | None]) -> list[Sent]:
    return [Sent(intent, receipt) for intent, receipt in zip(chunk, receipts, strict=True)]


def _tell_of_the_rest(sent: Sequence[Sent], total: int, as_json: bool) -> None:
    """One was not stored: the others' receipts must not be lost with it."""
    if total == 1:
        return
    stored = [one for one in sent if one.receipt is not None]
    _print(sent if as_json else stored, as_json, lines=True, waited=False)
    missing = [number for number, one in enumerate(sent, 1) if one.receipt is None]
    first = missing[0] if missing else len(sent) + 1
    left = total - len(stored)
    which = f"number {first:,} was not" if left == 1 else f"{left:,} were not, the first is number {first:,}"
    output.tell(f"onelane: {len(stored):,} of {output.many(total, 'intent')} stored; {which}", err=True)


def _wait(queue: ContactQueue, sent: Sequence[Sent], seconds: float) -> list[Sent]:
    """Give each its outcome; returns those that have none in time."""
    from onelane import WaitTimeout

    until = time.monotonic() + seconds
    with output.bar("waiting", len(sent), CHUNK) as advance:
        for one in sent:
            with suppress(WaitTimeout):
                one.outcome = queue.wait(_id(one), max(0.0, until - time.monotonic()))
            advance(1)
    return [one for one in sent if one.outcome is None]


def _print(sent: Sequence[Sent], as_json: bool, *, lines: bool, waited: bool) -> None:
    if as_json:
        for one in sent:
            output.print_json(output.masked(one.document(waited)))
    elif not lines:
        _print_one(sent[0])
    elif len(sent) <= LISTED:
        output.print_entries([_entry(one) for one in sent])
    else:
        duplicates = sum(_is_known(one) for one in sent)
        also = f", {duplicates:,} of them known by their dedupe keys" if duplicates else ""
        output.tell(f"{output.many(len(sent), 'intent')} accepted{also}")


def _id(one: Sent) -> str:
    return "" if one.receipt is None else one.receipt.id


def _is_known(one: Sent) -> bool:
    return one.receipt is not None and one.receipt.duplicate


def _print_one(one: Sent) -> None:
    accepted = "known" if _is_known(one) else "accepted"
    output.tell(f"{accepted}  {_id(one)}  {output.kebab(one.intent.kind)}  {one.intent.masked}")
    if one.outcome is not None:
        output.tell(f"outcome   {output.outcome_words(one.outcome)}")


def _entry(one: Sent) -> output.Entry:
    cells = [_id(one), output.kebab(one.intent.kind), one.intent.masked]
    cells.append("known" if _is_known(one) else "")
    return cells, "" if one.outcome is None else output.outcome_words(one.outcome)


def _end(sent: Sequence[Sent], late: Sequence[Sent], wait: float | None) -> None:
    rejected = [one for one in sent if one.outcome is not None and one.outcome.result == "rejected"]
    if late:
        goes = "It goes" if len(late) == 1 else "They go"
        hint = f"{goes} on; look again with `onelane status {_id(late[0])}`."
        fail(TIMED_OUT, f"{output.many(len(late), 'intent')} not ended within {wait:g} s", hint)
    if rejected:
        hint = f"The whole of it: `onelane dead show {_id(rejected[0])}`."
        fail(NEGATIVE, f"{output.many(len(rejected), 'intent')} rejected", hint)
