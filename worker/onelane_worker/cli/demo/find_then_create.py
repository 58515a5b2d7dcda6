"""How contacts are written today: search by address, then update what was found or create.

It is meant as a fair opponent: it prefers users to leads, updates whom a 409 names, converts a lead on
sign-up, tries again after a lost answer, beginning with the search, and saves the call when nothing has
changed. What it lacks is what it cannot have: knowledge of writes that the index does not show yet.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

from onelane import Intent
from onelane_sandbox.client import SandboxControl

PAUSES_S = (1.0, 2.0, 4.0)
"""Between tries."""
_NAMED = re.compile(r"id=([0-9a-f]{24})")
_FIELDS = ("name", "phone")
_PASSING = (429, 500, 502, 503, 504)

Body = dict[str, Any]


class Passing(Exception):
    """An answer that asks to be tried again."""


class FindThenCreate:
    """Applies intents at once, each by itself."""

    def __init__(self, intercom: SandboxControl) -> None:
        self._intercom = intercom

    def apply(self, intent: Intent) -> None:
        """Write what the intent says; after a lost answer, start over."""
        for pause_s in PAUSES_S:
            try:
                self._apply(intent)
                return
            except (OSError, Passing):  # refused, reset, timed out, closed, or an error of the server
                time.sleep(pause_s)
        self._apply(intent)

    def _apply(self, intent: Intent) -> None:
        body = wanted(intent)
        found = self._find(intent.email)
        if found is None:
            if intent.kind != "newsletter_opt_out":  # there: nobody to opt out
                self._create({**body, "email": intent.email, "role": body.get("role", _role(intent))})
        elif any(found.get(name) != value for name, value in body.items()):
            self._call("PUT", f"/contacts/{found['id']}", body)

    def _find(self, email: str) -> Body | None:
        query = {"query": {"field": "email", "operator": "=", "value": email}}
        _, answer = self._call("POST", "/contacts/search", query)
        hits: list[Body] = answer["data"]
        return min(hits, key=lambda hit: hit["role"] != "user", default=None)

    def _create(self, body: Body) -> None:
        status, answer = self._call("POST", "/contacts", body)
        named = _NAMED.search(str(answer)) if status == 409 else None
        if named is not None:
            self._call("PUT", f"/contacts/{named[1]}", body)

    def _call(self, method: str, path: str, body: Body) -> tuple[int, Body]:
        status, answer = self._intercom.call(method, path, body)
        if status in _PASSING:
            raise Passing(status)
        return status, answer


def wanted(intent: Intent) -> Body:
    """The fields that an intent wants to see on the contact."""
    given: Mapping[str, Any] = intent.model_dump(exclude_none=True)
    body: Body = {name: given[name] for name in _FIELDS if name in given}
    match intent.kind:
        case "newsletter_opt_in":
            body["unsubscribed_from_emails"] = False
        case "newsletter_opt_out":
            body["unsubscribed_from_emails"] = True
        case "product_sign_up":
            body |= {"role": "user", "external_id": intent.external_id}
    return body


def _role(intent: Intent) -> str:
    return "user" if intent.kind == "contact_sync" else "lead"
