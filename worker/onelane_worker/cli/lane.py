"""`onelane lane`: one address, whole."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any

import typer

from onelane_worker.cli import _output as output
from onelane_worker.cli._errors import NOT_FOUND, USAGE, fail

if TYPE_CHECKING:
    from onelane_worker.operate.open_workspace import OpenWorkspace

_ID = re.compile("[0-9a-f]{32}")


def lane(
    whom: Annotated[
        str, typer.Argument(metavar="EMAIL", help="The address in any spelling; or a receipt's id.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show one address: what waits and why, what is known of the person, what happened.

    Where only a masked address is seen, the id of one of its intents (or of the lane) will do. Exit code 3 if
    nothing is known of it.
    """
    from onelane_worker.cli import _lane_page as lane_page
    from onelane_worker.cli._config import run
    from onelane_worker.operate import lane_view, pause

    given = whom.strip().lower()
    is_id = _ID.fullmatch(given) is not None
    address = "" if is_id else _address(whom)

    async def read(opened: OpenWorkspace) -> dict[str, Any] | None:
        name = await lane_view.lane_of(opened, given) if is_id else opened.workspace.lane(address)
        service = await pause.look(opened)
        view = await lane_view.describe(opened, name, stopped=service.stopped)
        return lane_page.document(view, service, output.masked(address) or None) if view.known else None

    page = run(read)
    if page is None:
        hint = "Perhaps it was too long ago." if is_id else "It never had an intent here, or long ago."
        fail(NOT_FOUND, f"nothing is known of {given if is_id else output.masked(address)}", hint)
    if as_json:
        output.print_json(page)
    else:
        lane_page.show(page)


def _address(text: str) -> str:
    from onelane.email_address import InvalidAddress, normalise_email

    try:
        return normalise_email(text)
    except InvalidAddress as error:
        hint = "Give the address, or an id of 32 hex digits: of a receipt, or of the lane."
        fail(USAGE, f"that is no email address: it {error}", hint)
