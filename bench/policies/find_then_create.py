"""Search by address; update what was found, else create. Seen in most scripts that sync contacts: it is what
the API's reference suggests, and it works whenever nobody has written in the last minutes."""

from __future__ import annotations

import time

from bench.policies.setting import Body, Passing, Setting, newcomer, wanted
from onelane import Intent

PAUSES_S = (1.0, 2.0, 4.0)
"""Real seconds between tries."""


class FindThenCreate:
    """Each intent by itself, and from the beginning after a lost answer."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting

    def apply(self, service: str, intent: Intent) -> None:
        for pause_s in PAUSES_S:
            try:
                return self.write(service, intent)
            except Passing:
                time.sleep(self.setting.s(pause_s))
        return self.write(service, intent)

    def write(self, service: str, intent: Intent) -> None:
        """Once. Raises `Passing`."""
        found = self.choose(self.search(intent))
        if found is not None:
            self.update(found, intent)
        elif intent.kind != "newsletter_opt_out":
            self.create(intent)

    def search(self, intent: Intent) -> list[Body]:
        """Who is shown with the address."""
        query = {"query": {"field": "email", "operator": "=", "value": intent.email}}
        _, answer = self.setting.call("POST", "/contacts/search", query)
        hits: list[Body] = answer["data"]
        return hits

    def choose(self, hits: list[Body]) -> Body | None:
        """A user before a lead."""
        return min(hits, key=lambda hit: hit["role"] != "user", default=None)

    def update(self, found: Body, intent: Intent) -> None:
        """Only if something differs from what the search has shown."""
        body = wanted(intent)
        if any(found.get(name) != value for name, value in body.items()):
            self.setting.call("PUT", f"/contacts/{found['id']}", body)

    def create(self, intent: Intent) -> tuple[int, Body]:
        """Status and answer. Raises `Passing`."""
        return self.setting.call("POST", "/contacts", newcomer(intent))

    def close(self) -> None:
        self.setting.close()
