"""`onelane enqueue`: say what should be true of a contact, once or for a whole file."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from worker.cli import intake, output
from worker.cli.exits import NEGATIVE, TIMED_OUT, USAGE, fail

if TYPE_CHECKING:
    from producers import ContactQueue, Intent, Outcome, Receipt

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
    receipt: Receipt
    outcome: Outcome | None = None

    def document(self, waited: bool) -> dict[str, Any]:
        """What `--json` says of it."""
        told = {"kind": self.intent.kind, **self.receipt.model_dump(mode="json")}
        if waited:
            told["outcome"] = None if self.outcome is None else self.outcome.model_dump(mode="json")
        return told


def enqueue(
    kind: Annotated[
        str | None,
        typer.Argument(metavar="KIND", help="What is wanted; the kinds stand below.", show_default=False),
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
    from worker.cli.config import open_queue

    with open_queue() as queue:
        sent = _send(queue, intents)
        late = [] if wait is None else _wait(queue, sent, wait)
    _print(sent, as_json, lines=source_file is not None, waited=wait is not None)
    _end(sent, late, wait)


def _send(queue: ContactQueue, intents: Sequence[Intent]) -> list[Sent]:
    from producers import OnelaneError

    sent: list[Sent] = []
    with output.bar("enqueueing", len(intents), CHUNK) as advance:
        for start in range(0, len(intents), CHUNK):
            chunk = intents[start : start + CHUNK]
            try:
                receipts = queue.enqueue_many(chunk)
            except OnelaneError as error:
                stored = sum(receipt is not None for receipt in error.receipts)
                if len(intents) > 1:
                    _say_how_far(len(sent) + stored, len(intents), start + (error.index or 0) + 1)
                raise
            sent += [Sent(intent, receipt) for intent, receipt in zip(chunk, receipts, strict=True)]
            advance(len(chunk))
    return sent


def _say_how_far(stored: int, total: int, first_missing: int) -> None:
    typer.echo(
        f"onelane: {stored:,} of {output.many(total, 'intent')} stored; number {first_missing:,} was not",
        err=True,
    )


def _wait(queue: ContactQueue, sent: Sequence[Sent], seconds: float) -> list[Sent]:
    """Give each its outcome; returns those that have none in time."""
    from producers import WaitTimeout

    until = time.monotonic() + seconds
    with output.bar("waiting", len(sent), CHUNK) as advance:
        for one in sent:
            with suppress(WaitTimeout):
                one.outcome = queue.wait(one.receipt.id, max(0.0, until - time.monotonic()))
            advance(1)
    return [one for one in sent if one.outcome is None]


def _print(sent: Sequence[Sent], as_json: bool, *, lines: bool, waited: bool) -> None:
    if as_json:
        for one in sent:
            output.print_json(one.document(waited))
    elif not lines:
        _print_one(sent[0])
    elif len(sent) <= LISTED:
        output.print_entries([_entry(one) for one in sent])
    else:
        duplicates = sum(one.receipt.duplicate for one in sent)
        also = f", {duplicates:,} of them known by their dedupe keys" if duplicates else ""
        typer.echo(f"{output.many(len(sent), 'intent')} accepted{also}")


def _print_one(one: Sent) -> None:
    accepted = "known" if one.receipt.duplicate else "accepted"
    typer.echo(f"{accepted}  {one.receipt.id}  {output.kebab(one.intent.kind)}  {one.intent.masked}")
    if one.outcome is not None:
        typer.echo(f"outcome   {output.outcome_words(one.outcome)}")


def _entry(one: Sent) -> tuple[list[str], str]:
    cells = [one.receipt.id, output.kebab(one.intent.kind), one.intent.masked]
    cells.append("known" if one.receipt.duplicate else "")
    return cells, "" if one.outcome is None else output.outcome_words(one.outcome)


def _end(sent: Sequence[Sent], late: Sequence[Sent], wait: float | None) -> None:
    rejected = [one for one in sent if one.outcome is not None and one.outcome.result == "rejected"]
    if late:
        hint = f"They go on; look again with `onelane status {late[0].receipt.id}`."
        fail(TIMED_OUT, f"{output.many(len(late), 'intent')} not ended within {wait:g} s", hint)
    if rejected:
        hint = f"The whole of it: `onelane dead show {rejected[0].receipt.id}`."
        fail(NEGATIVE, f"{output.many(len(rejected), 'intent')} rejected", hint)
