"""`onelane status`: where one intent stands."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Annotated

import typer

from onelane_worker.cli import _output as output
from onelane_worker.cli._errors import NEGATIVE

if TYPE_CHECKING:
    from onelane import Status

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def status(
    intent_id: Annotated[str, typer.Argument(metavar="ID", help="The id of the receipt.")],
    as_json: AsJson = False,
) -> None:
    """Show where an intent stands.

    Exit code 1 if it was rejected, 3 if nobody knows it.
    """
    from onelane import UnknownIntent
    from onelane_worker.cli._config import open_queue

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
    facts = [output.Fact("state", f"{found.state}{attempts}")]
    if found.error is not None and found.outcome is None:
        facts.append(output.Fact("error", output.error_words(found.error.model_dump()), style="yellow"))
    if found.next_attempt_at is not None:
        facts.append(output.Fact("next", _moment(found.next_attempt_at.timestamp(), now)))
    if found.outcome is not None:
        style = "red" if found.state == "dead" else ""
        facts.append(output.Fact("outcome", output.outcome_words(found.outcome), style=style))
    facts.append(output.Fact("accepted", _moment(found.accepted_at.timestamp(), now)))
    if found.finished_at is not None:
        facts.append(output.Fact("ended", _moment(found.finished_at.timestamp(), now)))
    if found.state == "dead":
        facts.append(output.Fact("whole", f"onelane dead show {found.id}"))
    output.tell(f"{output.kebab(found.kind)}  {found.id}", style="bold")
    output.print_facts(facts)


def _moment(at_s: float, now_s: float) -> str:
    clock = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at_s))
    return f"{output.when(at_s - now_s)} ({clock})"
