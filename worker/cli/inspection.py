"""`onelane status` and `lane`: looking without touching."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from worker.cli import output
from worker.cli.exits import NEGATIVE, NOT_FOUND, fail

if TYPE_CHECKING:
    from producers import Status

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def status(
    intent_id: Annotated[str, typer.Argument(metavar="ID", help="The id of the receipt.")],
    as_json: AsJson = False,
) -> None:
    """Show where an intent stands.

    Exit code 1 if it was rejected, 3 if nobody knows it.
    """
    from producers import UnknownIntent
    from worker.cli.config import open_queue

    with open_queue() as queue:
        found = queue.status(intent_id)
    if found is None:
        raise UnknownIntent(intent_id)
    if as_json:
        output.print_json(output.masked(found.model_dump(mode="json")))
    else:
        _print_status(found)
    if found.outcome is not None and found.outcome.result == "rejected":
        raise typer.Exit(NEGATIVE)


def _print_status(found: Status) -> None:
    now = time.time()
    attempts = f", {output.many(found.attempts, 'attempt')}" if found.attempts else ""
    typer.echo(f"{output.kebab(found.kind)}  {found.id}")
    typer.echo(f"  state     {found.state}{attempts}")
    if found.error is not None and found.outcome is None:
        typer.echo(f"  error     {output.error_words(found.error.model_dump())}")
    if found.next_attempt_at is not None:
        typer.echo(f"  next      {_moment(found.next_attempt_at.timestamp(), now)}")
    if found.outcome is not None:
        typer.echo(f"  outcome   {output.outcome_words(found.outcome)}")
    typer.echo(f"  accepted  {_moment(found.accepted_at.timestamp(), now)}")
    if found.finished_at is not None:
        typer.echo(f"  ended     {_moment(found.finished_at.timestamp(), now)}")
    if found.state == "dead":
        typer.echo(f"  whole     onelane dead show {found.id}")


def _moment(at_s: float, now_s: float) -> str:
    clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at_s))
    return f"{output.when(at_s - now_s)} ({clock})"


def lane(
    email: Annotated[str, typer.Argument(help="The address, in any spelling.")], as_json: AsJson = False
) -> None:
    """Show an address: what waits, and why; what is believed.

    Exit code 3 if nothing is known of it.
    """
    from producers import InvalidIntent
    from producers.identity import InvalidAddress, lane_id, mask, normalise_email
    from worker.cli import lane_page
    from worker.cli.config import open_redis

    try:
        address = normalise_email(email)
    except InvalidAddress as error:
        raise InvalidIntent("email", f"is no email address: it {error}") from None
    with open_redis() as redis:
        page = lane_page.read(redis, lane_id(address), mask(address))
    if page is None:
        fail(NOT_FOUND, f"nothing is known of {mask(address)}", "It never had an intent here, or long ago.")
    if as_json:
        output.print_json(page)
    else:
        lane_page.show(page)
