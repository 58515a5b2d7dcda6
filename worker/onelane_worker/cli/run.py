"""`onelane worker` and `onelane sandbox`: the two long-running parts, in the foreground."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from onelane_worker.cli import _extras as extras
from onelane_worker.cli._errors import NEGATIVE, UNREACHABLE, USAGE, fail

if TYPE_CHECKING:
    from onelane_worker.settings import Settings

AttributeOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME[:TYPE]",
        help="A custom attribute of contacts that the sandbox knows; TYPE is string, integer, float, boolean "
        "or date. May be given several times.",
    ),
]
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


def require_usable_redis(settings: Settings) -> None:
    """End the command unless a worker can rely on this Redis."""
    from onelane_worker.bootstrap import require_usable_redis
    from onelane_worker.checks import Unfit

    try:
        require_usable_redis(settings)
    except ValueError as error:
        fail(USAGE, f"ONELANE_REDIS_URL: {error}")
    except Unfit as unfit:
        fail(UNREACHABLE if unfit.unreachable else NEGATIVE, str(unfit))


def sandbox(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = 8089,
    index_lag: Annotated[
        str, typer.Option(metavar="S|MIN-MAX", help="How far search lags behind writes, in seconds.")
    ] = "2-120",
    seed: Annotated[int, typer.Option(help="Makes ids and drawn lags the same every time.")] = 0,
    attribute: AttributeOption = None,
    token: Annotated[str | None, typer.Option(help="The only token accepted; without it any is.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the address as JSON.")] = False,
) -> None:
    """Serve an Intercom to try things on.

    The contacts API, with an index lag, and with faults on demand under /_sandbox.
    """
    extras.require("sandbox", "`onelane sandbox`")
    from onelane_sandbox.serve import run
    from onelane_worker.cli._output import console, print_json

    lag, attributes = parse_lag(index_lag), parse_attributes(attribute or ())

    def ready(url: str) -> None:
        if as_json:
            print_json({"url": url, "control": f"{url}/_sandbox", "index_lag_s": lag})
            return
        console().print(f"Sandbox  [bold]{url}[/]   index lag {lag_words(lag)}")
        console().print(
            f"  true state  {url}/_sandbox/contacts", f"  requests    {url}/_sandbox/requests", sep="\n"
        )
        console().print(
            f"  to use it   export ONELANE_INTERCOM_URL={url} ONELANE_INTERCOM_TOKEN={token or 'any'}"
        )

    try:
        run(host, port, index_lag=lag, seed=seed, token=token, attributes=attributes, on_ready=ready)
    except OSError as error:
        fail(NEGATIVE, f"cannot listen on {host} port {port}: {error.strerror}", "Choose another --port.")


def parse_lag(text: str) -> float | tuple[float, float]:
    """`3` or `2-120`, in seconds."""
    least, dash, most = text.partition("-")
    try:
        lag = (float(least), float(most)) if dash else float(least)
    except ValueError:
        lag = -1.0
    bounds = lag if isinstance(lag, tuple) else (lag, lag)
    if not 0 <= bounds[0] <= bounds[1] < float("inf"):
        raise typer.BadParameter("must be seconds, or MIN-MAX", param_hint="--index-lag")
    return lag


def parse_attributes(texts: Sequence[str]) -> dict[str, str]:
    """Name → data type of `plan` (a string) or `seats:integer`."""
    from onelane_sandbox.attributes import AttributeCatalog
    from onelane_sandbox.messages import ApiError

    attributes = {name: kind or "string" for name, _, kind in (text.partition(":") for text in texts)}
    for name, kind in attributes.items():
        try:
            AttributeCatalog().put(name, kind, now=0)
        except ApiError as error:
            raise typer.BadParameter(error.message, param_hint="--attribute") from None
    return attributes


def lag_words(lag: float | tuple[float, float]) -> str:
    """The lag for people."""
    return f"{lag[0]:g}–{lag[1]:g} s, drawn for each write" if isinstance(lag, tuple) else f"{lag:g} s"
