"""`onelane workspace show` and `move`: which workspace of Intercom the queue belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from onelane_worker.cli import _output as output
from onelane_worker.cli._config import open_redis, settings_of_workspace
from onelane_worker.cli._errors import NEGATIVE, NOT_FOUND, USAGE, fail
from onelane_worker.cli.dead import is_interactive

if TYPE_CHECKING:
    from redis import Redis

    from onelane_worker.planner.operations import Workspace
    from onelane_worker.workspace import Record

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
_PROBE_S = 10.0

workspace = typer.Typer(
    no_args_is_help=True, help="Which workspace of Intercom the queue belongs to; move it to another."
)


@workspace.command()
def show(as_json: AsJson = False) -> None:
    """Show the workspace that the queue belongs to. Exit code 3 if no worker has noted one yet."""
    from onelane_worker.workspace import on_record

    with open_redis() as redis:
        record = on_record(redis)
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

    What waits will be written there. What was believed of contacts of the former workspace is forgotten, and
    which versions were applied to them; consent to all mail is kept. All workers must be stopped. It asks
    first; where nobody can be asked, as with --json, it wants --yes.
    """
    from onelane_worker.workspace import note, on_record

    if not yes and (as_json or not is_interactive()):
        fail(USAGE, "a move cannot be undone, and there is nobody to ask: say --yes")
    token = _workspace_of_token()
    with open_redis() as redis:
        record = on_record(redis)
        if record is None:
            note(redis, token)
        if record is None or (record.workspace.id == token.id and not record.moving):
            _tell(record, token, None, as_json)
            return
        _require_nobody_at_work(redis)
        _move(redis, record, token, yes, as_json)


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


def _require_nobody_at_work(redis: Redis) -> None:
    from onelane_worker.presence import LIFE_MS
    from onelane_worker.workspace_move import obstacles

    workers, held = obstacles(redis)
    if workers:
        names = ", ".join(name.replace("@", " on ") for name in workers)
        hint = f"Stop them first. One that was killed counts as alive for {LIFE_MS // 1000} s."
        fail(NEGATIVE, f"{output.many(len(workers), 'worker')} alive: {names}", hint)
    if held:
        said = f"in {output.many(held, 'lane')} somebody is at work, or a write may still take effect"
        fail(NEGATIVE, said, "Try again in half a minute.")


def _move(redis: Redis, record: Record, token: Workspace, yes: bool, as_json: bool) -> None:
    from onelane_worker import workspace_move

    waiting = workspace_move.waiting(redis)
    if not yes:
        output.tell(f"The queue belongs to {record.workspace}, the token to {token}.")
        output.tell(f"{output.many(waiting.intents, 'waiting intent')} will be written to {token}.")
        if waiting.dead_letters:
            output.tell(f"{output.many(waiting.dead_letters, 'dead letter')} can be replayed there.")
        typer.confirm(f"Move the queue to {token}? It cannot be undone.", abort=True, err=True)
    workspace_move.begin(redis, token)
    _require_nobody_at_work(redis)  # while it asked somebody may have started
    seen = 0
    with output.progress("Forgetting", quiet=as_json) as say:

        def on_step(count: int) -> None:
            nonlocal seen
            seen += count
            say(f"what was believed ({seen:,} keys)")

        workspace_move.finish(redis, on_step)
    _tell(record, token, waiting, as_json)


def _tell(before: Record | None, now: Workspace, waiting: Any, as_json: bool) -> None:
    """`waiting`: what the move took along; None if there was no move."""
    if as_json:
        document = {
            "from": None if before is None else _document(before.workspace),
            "to": _document(now),
            "moved": waiting is not None,
        }
        if waiting is not None:
            document |= {"intents": waiting.intents, "dead_letters": waiting.dead_letters}
        output.print_json(document)
    elif waiting is not None:
        output.tell(f"The queue belongs to {now} now. Start its workers, with a token of that workspace.")
    elif before is None:
        output.tell(f"The queue belonged to no workspace yet; it belongs to {now} now.")
    else:
        output.tell(f"The queue belongs to {now} already.")


def _document(one: Workspace) -> dict[str, str]:
    return {"id": one.id, "name": one.name}
