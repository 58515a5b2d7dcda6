"""Cursor pagination, shared by search (parameters in the body) and list (parameters in the query)."""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any

from onelane_sandbox.contact import Contact
from onelane_sandbox.messages import JsonObject, invalid

MAX_PER_PAGE = 150


def page(
    found: list[Contact], per_page: Any, starting_after: Any, default: int
) -> tuple[list[Contact], JsonObject]:
    """One page of `found` (in order of creation) and the `pages` object; `next` is absent on the last page.

    Evidence: published spec and recorded traffic; at most 150 a page is from the official documentation.
    Raises ApiError 400 for a page size out of range or a cursor that we did not make.
    """
    size = _size(per_page, default)
    after, number = _read_cursor(starting_after)
    rest = [one for one in found if one.number > after]
    shown = rest[:size]
    pages: JsonObject = {
        "type": "pages",
        "page": number,
        "per_page": size,
        "total_pages": -(-len(found) // size),
    }
    if len(rest) > size:
        pages["next"] = {"page": number + 1, "starting_after": _cursor(shown[-1].number, number + 1)}
    return shown, pages


def _size(raw: Any, default: int) -> int:
    if raw is None:
        return default
    size = int(raw) if isinstance(raw, str) and re.fullmatch("[0-9]{1,9}", raw) else raw
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= MAX_PER_PAGE:
        raise invalid(f"per_page must be between 1 and {MAX_PER_PAGE}", "per_page")
    return size


def _cursor(after: int, number: int) -> str:
    return base64.urlsafe_b64encode(json.dumps([after, number]).encode()).decode()


def _read_cursor(raw: Any) -> tuple[int, int]:
    if raw in (None, ""):
        return 0, 1
    try:
        after, number = json.loads(base64.urlsafe_b64decode(raw))
        return int(after), int(number)
    except (TypeError, ValueError, binascii.Error):
        raise invalid("starting_after is not a cursor of this list", "starting_after") from None
