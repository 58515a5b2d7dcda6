"""`onelane status`, `lane` and `dead`: looking without touching."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from worker.cli import output
from worker.cli.exits import NEGATIVE, NOT_FOUND, USAGE, Commands, fail

if TYPE_CHECKING:
    from redis import Redis

    from producers import Status
    from worker.lanes.model import DeadLetter

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

dead_letters = typer.Typer(
    cls=Commands, help="Show dead letters: intents that could not be applied.", no_args_is_help=True
)


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
    if found.state == "dead":
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


@dead_letters.command("list")
def dead_list(
    limit: Annotated[int, typer.Option(min=1, help="Most to show, the oldest first.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List them, oldest first."""
    from worker.cli.config import open_redis

    with open_redis() as redis:
        letters, more = _oldest(redis, limit)
    if as_json:
        for letter in letters:
            output.print_json(_document(letter, whole=False))
        return
    if not letters:
        typer.echo("No dead letters.")
        return
    now_s = time.time()
    output.print_entries([_entry(letter, now_s) for letter in letters])
    if more:
        typer.echo("There are more: raise --limit.")


def _oldest(redis: Redis, limit: int) -> tuple[list[DeadLetter], bool]:
    from producers.keyspace import PARTITIONS
    from worker.lanes import views

    found = [one for partition in PARTITIONS for one in views.dead_letters(redis, partition, limit + 1)]
    found.sort(key=lambda one: one[1])
    letters = [views.dead_letter(redis, intent_id) for intent_id, _ in found[:limit]]
    return [letter for letter in letters if letter is not None], len(found) > limit


def _entry(letter: DeadLetter, now_s: float) -> tuple[list[str], str]:
    told = _document(letter, whole=False)
    buried = output.when(letter.buried_at_ms / 1000 - now_s)
    return [letter.id, output.kebab(letter.kind), told["who"], buried], told["why"]


@dead_letters.command("show")
def dead_show(
    intent_id: Annotated[str, typer.Argument(metavar="ID", help="The id of the receipt.")],
    as_json: AsJson = False,
) -> None:
    """Show one whole, with addresses masked."""
    from producers.records import is_intent_id
    from worker.cli.config import open_redis
    from worker.lanes import views

    if not is_intent_id(intent_id):
        fail(USAGE, "that is no intent id: it must be 32 hex digits")
    with open_redis() as redis:
        letter = views.dead_letter(redis, intent_id)
    if letter is None:
        fail(
            NOT_FOUND, f"no dead letter has the id {intent_id}", "`onelane dead list` shows those there are."
        )
    (output.print_json if as_json else output.print_pretty_json)(_document(letter, whole=True))


def _document(letter: DeadLetter, *, whole: bool) -> dict[str, Any]:
    payload = _loaded(letter.payload)
    error = _loaded(letter.error)
    email = payload.get("email")
    told = {
        "id": letter.id,
        "kind": letter.kind,
        "who": output.masked(email) if isinstance(email, str) else "unreadable",
        "why": output.error_words(error),
        "attempts": letter.attempts,
        "accepted_at_ms": letter.accepted_at_ms,
        "buried_at_ms": letter.buried_at_ms,
        "lane": letter.lane,
    }
    if whole:
        told |= {"payload": payload, "error": error, "outcome": _loaded(letter.outcome)}
    masked: dict[str, Any] = output.masked(told)
    return masked


def _loaded(text: str | None) -> dict[str, Any]:
    """The JSON object in a stored text; empty for one that nobody can read."""
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
