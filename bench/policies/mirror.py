"""Each service keeps a copy of all contacts, refreshed at night, and looks people up there. Seen in data
warehouses and their reverse-ETL tools: no search, so few calls; and nothing of what others have done since
last night."""

from __future__ import annotations

import threading

from bench.policies.find_then_create import FindThenCreate
from bench.policies.setting import Body, Setting, wanted
from onelane import Intent


class Mirror(FindThenCreate):
    """What a service has written itself goes into its copy at once."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self._last_night = self._everybody()
        self._copies: dict[str, dict[str, Body]] = {}
        self._lock = threading.Lock()

    def write(self, service: str, intent: Intent) -> None:
        with self._lock:
            copy = self._copies.setdefault(service, dict(self._last_night))
        body, found = wanted(intent), copy.get(intent.address)
        if found is None:
            if intent.kind == "newsletter_opt_out":
                return
            status, answer = self.create(intent)
        elif all(found.get(name) == value for name, value in body.items()):
            return
        else:
            status, answer = self.setting.call("PUT", f"/contacts/{found['id']}", body)
        if status == 200:
            copy[intent.address] = answer

    def _everybody(self) -> dict[str, Body]:
        """All contacts by address, as a list shows them."""
        found: dict[str, Body] = {}
        page = ""
        while True:
            _, answer = self.setting.call("GET", f"/contacts?per_page=150{page}")
            found |= {one["email"]: one for one in answer["data"] if one["email"]}
            following = (answer["pages"].get("next") or {}).get("starting_after")
            if following is None:
                return found
            page = f"&starting_after={following}"
