"""`onelane`: the command line. One module a command; each imports what is heavy when it runs."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated

import typer

from onelane_worker.cli import (
    dead,
    doctor,
    enqueue,
    lane,
    lanes,
    pause,
    repair,
    sandbox,
    status,
    up,
    worker,
    workspace,
)
from onelane_worker.cli._errors import Commands
from onelane_worker.cli.demo.command import demo

app = typer.Typer(
    name="onelane",
    cls=Commands,
    help="One lane per email address: a durable queue for everything you write to Intercom contacts.",
    epilog=(
        "Exit codes: 0 done · 1 negative result · 2 bad input · 3 not found · "
        "4 Redis or broker unreachable · 5 wait timed out"
    ),
    no_args_is_help=True,
    rich_markup_mode="markdown",  # paragraphs are filled, whatever the width
    pretty_exceptions_enable=False,  # a traceback with local variables would show addresses
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"onelane {version('onelane')}")
        raise typer.Exit


@app.callback()
def _options(
    _: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    pass


_TRY, _SERVE, _USE, _LOOK, _OPERATE = "Try it", "Serve", "Enqueue", "Look", "Operate"

app.command("demo", rich_help_panel=_TRY)(demo)
app.command("up", rich_help_panel=_TRY)(up.up)
app.command("worker", rich_help_panel=_SERVE)(worker.worker)
app.command("sandbox", rich_help_panel=_SERVE)(sandbox.sandbox)
app.command("enqueue", cls=enqueue.EnqueueCommand, rich_help_panel=_USE)(enqueue.enqueue)
app.command("status", rich_help_panel=_LOOK)(status.status)
app.command("lane", rich_help_panel=_LOOK)(lane.lane)
app.command("lanes", rich_help_panel=_LOOK)(lanes.lanes)
app.command("doctor", rich_help_panel=_OPERATE)(doctor.doctor)
app.command("pause", rich_help_panel=_OPERATE)(pause.pause)
app.command("resume", rich_help_panel=_OPERATE)(pause.resume)
app.command("repair", rich_help_panel=_OPERATE)(repair.repair)
app.add_typer(workspace.workspace, name="workspace", rich_help_panel=_OPERATE)
app.add_typer(dead.dead_letters, name="dead", rich_help_panel=_OPERATE)


def main() -> None:
    """Entry point."""
    app(prog_name="onelane")
