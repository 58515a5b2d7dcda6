"""`onelane worker`: a worker in the foreground."""

from __future__ import annotations

from typing import Annotated

import typer

from onelane_worker.cli._errors import USAGE, fail

LOG_LEVELS = ("debug", "info", "warning", "error")


def worker(
    concurrency: Annotated[
        int | None,
        typer.Option(min=1, help="Lanes served at the same time; ONELANE_CONCURRENCY, or 64."),
    ] = None,
    loglevel: Annotated[str, typer.Option(help=f"One of {', '.join(LOG_LEVELS)}.")] = "info",
    name: Annotated[
        str | None, typer.Option(help="Its name in Flower; no two workers share one. %h is the host.")
    ] = None,
) -> None:
    """Serve lanes: a Celery worker.

    Ctrl-C and SIGTERM let it hand back what it is at; asked again, it ends at once.
    """
    from onelane_worker.cli._config import worker_settings

    if loglevel.lower() not in LOG_LEVELS:
        raise typer.BadParameter(f"must be one of {', '.join(LOG_LEVELS)}", param_hint="--loglevel")
    if not worker_settings().intercom_token.get_secret_value():
        fail(
            USAGE,
            "ONELANE_INTERCOM_TOKEN is not set: a worker without it could write nothing",
            "Set it to your workspace's access token, or try Onelane without one: `onelane up`.",
        )
    raise typer.Exit(_serve(concurrency, loglevel.lower(), name))


def _serve(concurrency: int | None, loglevel: str, name: str | None) -> int:
    """Serve in this process. Celery's own command would look for modules in the current folder first."""
    from onelane_worker.celery_app import serve

    return serve(concurrency, loglevel, name)
