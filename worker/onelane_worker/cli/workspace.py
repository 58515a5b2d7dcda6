"""`onelane workspace show` and `move`: which workspace of Intercom the queue belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from onelane_worker.cli import _output as output
from onelane_worker.cli._config import run, settings_of_workspace
from onelane_worker.cli._errors import NEGATIVE, NOT_FOUND, USAGE, fail
from onelane_worker.cli.dead import is_interactive

if TYPE_CHECKING:
    from onelane_worker.engine.workspace_check import Record
    from onelane_worker.operate.open_workspace import OpenWorkspace
    from onelane_worker.operate.workspace_move import Kept
    from onelane_worker.planner.operations import Workspace

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_PROBE_S = 10.0

workspace = typer.Typer(
    no_args_is_help=True, help="Which workspace of Intercom the queue belongs to; move it to another."
)


@workspace.command()
def show(as_json: AsJson = False) -> None:
    """Show the workspace that the queue belongs to. Exit code 3 if no worker has noted one yet."""
    record = run(_on_record)
    if record is None:
        fail(
            NOT_FOUND,
            "this queue belongs to no workspace yet",
            "The first worker that starts notes that of its token.",
        )
    if as_json:
        output.print_json({"workspace": _document(record.workspace), "moving": record.moving})
        return
    output.tell(str(record.workspace))
    if record.moving:
        output.tell("The move to it has not ended: run `onelane workspace move` again.", style="bold yellow")


@workspace.command()
def move(
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Move the queue to the workspace of ONELANE_INTERCOM_TOKEN.

    What waits will be written there. What is known of contacts of the former workspace is forgotten, and
    which versions were applied to them; consent to all mail is kept. All workers must be stopped. It asks
    first; where nobody can be asked, as with --json, it wants --yes.
    """
    if not yes and (as_json or not is_interactive()):
        fail(USAGE, "a move cannot be undone, and there is nobody to ask: say --yes")
    token = _workspace_of_token()
    before, kept = run(lambda opened: _moved(opened, token, yes, as_json), create=True)
    _tell(before, token, kept, as_json)


async def _on_record(opened: OpenWorkspace) -> Record | None:
    from onelane_worker.engine.workspace_check import record_calls, recorded

    return recorded(await opened.ask(record_calls(opened.keys)))


async def _moved(
    opened: OpenWorkspace, token: Workspace, yes: bool, as_json: bool
) -> tuple[Record | None, Kept | None]:
    """The former workspace, and what the move took along; None if there was no move."""
    from onelane_worker.engine.workspace_check import note_calls

    record = await _on_record(opened)
    if record is None:
        await opened.read(*note_calls(opened.keys, token))
    if record is None or (record.workspace.id == token.id and not record.moving):
        return record, None
    await _require_nobody_at_work(opened)
    return record, await _move(opened, record, token, yes, as_json)


def _workspace_of_token() -> Workspace:
    from onelane_worker.cli.doctor import probe
    from onelane_worker.planner import operations as op

    settings = settings_of_workspace()
    if not settings.intercom_token.get_secret_value():
        fail(USAGE, "ONELANE_INTERCOM_TOKEN is not set", "Set it to a token of the workspace to move to.")
    reply = probe(settings, _PROBE_S)
    if not isinstance(reply, op.Done) or reply.workspace is None:
        problem = getattr(reply, "problem", None)
        why = f": {problem.kind} {problem.http_status or ''}".rstrip() if problem else ""
        fail(NEGATIVE, f"Intercom does not tell whose token this is{why}", "`onelane doctor` looks why.")
    return reply.workspace


async def _require_nobody_at_work(opened: OpenWorkspace) -> None:
    from onelane_worker.operate.engines import LIFE_MS
    from onelane_worker.operate.workspace_move import obstacles

    workers, held = await obstacles(opened)
    if workers:
        names = ", ".join(one.name.replace("@", " on ") for one in workers)
        hint = f"Stop them first. One that was killed counts as alive for {LIFE_MS // 1000} s."
        fail(NEGATIVE, f"{output.many(len(workers), 'worker')} alive: {names}", hint)
    if held:
        said = f"in {output.many(held, 'lane')} somebody is at work, or a write may still take effect"
        fail(NEGATIVE, said, "Try again in half a minute.")


async def _move(opened: OpenWorkspace, record: Record, token: Workspace, yes: bool, as_json: bool) -> Kept:
    from onelane_worker.operate import workspace_move

    kept = await workspace_move.kept(opened)
    if not yes:
        output.tell(f"The queue belongs to {record.workspace}, the token to {token}.")
        output.tell(f"{output.many(kept.intents, 'waiting intent')} will be written to {token}.")
        if kept.dead_letters:
            output.tell(f"{output.many(kept.dead_letters, 'dead letter')} can be replayed there.")
        typer.confirm(f"Move the queue to {token}? It cannot be undone.", abort=True, err=True)
    await workspace_move.begin(opened, token)
    await _require_nobody_at_work(opened)  # while it asked somebody may have started
    seen = 0
    with output.progress("Forgetting", quiet=as_json) as say:

        def on_step(count: int) -> None:
            nonlocal seen
            seen += count
            say(f"what is known of contacts ({seen:,} keys)")

        await workspace_move.finish(opened, on_step)
    return kept


def _tell(before: Record | None, now: Workspace, kept: Kept | None, as_json: bool) -> None:
    """`kept`: what the move took along; None if there was no move."""
    if as_json:
        document: dict[str, Any] = {
            "from": None if before is None else _document(before.workspace),
            "to": _document(now),
            "moved": kept is not None,
        }
        if kept is not None:
            document |= {"intents": kept.intents, "dead_letters": kept.dead_letters}
        output.print_json(document)
    elif kept is not None:
        output.tell(f"The queue belongs to {now} now. Start its workers, with a token of that workspace.")
    elif before is None:
        output.tell(f"The queue belonged to no workspace yet; it belongs to {now} now.")
    else:
        output.tell(f"The queue belongs to {now} already.")


def _document(one: Workspace) -> dict[str, str]:
    return {"id": one.id, "name": one.name}
