"""`onelane sandbox`: our Intercom, in the foreground."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from onelane_worker.cli import _extras as extras
from onelane_worker.cli._errors import NEGATIVE, fail

AttributeOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME[:TYPE]",
        help="A custom attribute of contacts that the sandbox knows; TYPE is string, integer, float, boolean "
        "or date. May be given several times.",
    ),
]


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
