"""`onelane pause` and `resume`: the operator's hand on the circuit breaker."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from onelane_worker.cli import _breaker_words as breaker_words
from onelane_worker.cli import _output as output

if TYPE_CHECKING:
    from onelane_worker.operate.open_workspace import OpenWorkspace
    from onelane_worker.operate.pause import Service

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def pause(
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="Shown to whoever asks why nothing moves.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Serve nothing until `resume`: no worker writes to Intercom, nor does `repair`.

    Intents are accepted and wait; no attempt is counted. What is under way at this moment ends first.
    """
    from onelane_worker.cli._config import run
    from onelane_worker.operate import pause as switch

    words = str(output.masked(reason.strip()))

    async def do(opened: OpenWorkspace) -> Service:
        before = await switch.look(opened)
        await switch.pause(opened, words)
        return before

    was = breaker_words.document(run(do, create=True).breaker)["state"]
    if as_json:
        output.print_json({"breaker": "paused", "was": was, "reason": words or None})
        return
    said = "was paused already; the reason is the new one" if was == "paused" else "is paused"
    output.tell(f"The workspace {said}. What is under way ends first; whatever is enqueued waits.")
    output.tell("`onelane resume` starts it again.")


def resume(
    now: Annotated[
        bool, typer.Option("--now", help="Also end the failover hold: Redis cannot have lost anything.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Serve again, whatever had stopped it: a pause, or the circuit breaker.

    If Intercom is still away, a few failed calls open the breaker again. Bulk intents that are stopped
    because too many were rejected alike are served again, too.
    """
    from onelane_worker.cli._config import run
    from onelane_worker.operate import pause as switch

    async def do(opened: OpenWorkspace) -> tuple[Service, Service]:
        before = await switch.look(opened)
        await switch.resume(opened, end_hold=now)
        return before, await switch.look(opened)

    before, after = run(do, create=True)
    was = breaker_words.document(before.breaker)
    if as_json:
        document = {"breaker": "closed", "was": was["state"], "hold_until_ms": after.hold_until_ms}
        output.print_json({**document, **({"bulk": "closed"} if before.bulk_stopped else {})})
        return
    _tell(before, after)


def _tell(before: Service, after: Service) -> None:
    was, bulk = (breaker_words.document(view) for view in (before.breaker, before.bulk))
    if before.bulk_stopped:
        words = breaker_words.words(bulk, over=True)
        output.tell(f"Bulk intents are served again; their circuit breaker was {words}.")
    if was["state"] != "closed":
        what = "the workspace" if was["state"] == "paused" else "the circuit breaker"
        output.tell(f"Intents are served again; {what} was {breaker_words.words(was, over=True)}.")
    if before.hold_until_ms is not None and after.hold_until_ms is None:
        output.tell("The failover hold has ended.")
    elif not before.bulk_stopped and was["state"] == "closed":
        output.tell("Nothing was stopped.")
    if hold := breaker_words.hold_words(after):
        output.tell(f"{hold}. `onelane resume --now` ends that at once.")
