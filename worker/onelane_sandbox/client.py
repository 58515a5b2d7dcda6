"""A small client of the sandbox: its control interface, and plain API calls for setting a scene.

It uses the standard library only, so that loading it costs next to nothing.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

TIMEOUT_S = 30.0

JsonObject = dict[str, Any]


class SandboxControlError(ValueError):
    """The sandbox refused a control request. `status` is HTTP's, `field` names the input that was wrong."""

    def __init__(self, status: int, message: str, field: str | None) -> None:
        super().__init__(message)
        self.status = status
        self.field = field


class SandboxControl:
    """Steers a running sandbox. `url` is its base URL, `token` a bearer token that it accepts."""

    def __init__(self, url: str, token: str = "sandbox") -> None:
        self.url = url.rstrip("/")
        self.token = token
        self._opener = build_opener(ProxyHandler({}))  # never through a proxy: the sandbox is here

    # --- the world ---

    def contacts(self) -> list[JsonObject]:
        """The true state of every contact ever made, whatever the index shows, in order of creation."""
        found: list[JsonObject] = self._control("GET", "contacts")["contacts"]
        return found

    def requests(self) -> list[JsonObject]:
        """The log of API requests, oldest first."""
        found: list[JsonObject] = self._control("GET", "requests")["requests"]
        return found

    def clear_requests(self) -> None:
        """Empty the request log."""
        self._control("DELETE", "requests")

    def subscription_type(self, id: str, name: str, consent_type: str) -> JsonObject:
        """Add or replace a subscription type; consent_type is opt_in or opt_out."""
        body = {"id": id, "name": name, "consent_type": consent_type}
        return self._control("POST", "subscription_types", body)

    def attribute(self, name: str, data_type: str = "string") -> JsonObject:
        """Make a custom attribute of contacts, unless it is there: without it, Intercom refuses its values.

        data_type is string, integer, float, boolean or date. Raises `SandboxControlError` for a bad name or
        type, and if the attribute has another type already.
        """
        return self._control("POST", "attributes", {"name": name, "data_type": data_type})

    def reset(self) -> None:
        """An empty workspace: no contacts, no faults; switches, lag and attributes as at the start."""
        self._control("POST", "reset", {})

    # --- the index ---

    def lag(self, seconds: float | tuple[float, float]) -> None:
        """The index lag of later writes: seconds, or (least, most) drawn for each write."""
        self._control("POST", "index", {"lag": seconds})

    def catch_up(self) -> None:
        """Make the index show every write made so far."""
        self._control("POST", "index", {"catch_up": True})

    def pending(self) -> int:
        """How many writes the index does not show yet."""
        return int(self._control("GET", "index")["pending"])

    # --- faults and switches ---

    def fault(self, name: str, **options: Any) -> JsonObject:
        """Register a fault. Options: times, method, path, seconds, after, probability."""
        return self._control("POST", "faults", {"fault": name, **options})

    def faults(self) -> list[JsonObject]:
        """What is left of the registered faults."""
        found: list[JsonObject] = self._control("GET", "faults")["faults"]
        return found

    def clear_faults(self) -> None:
        """Forget all faults."""
        self._control("DELETE", "faults")

    def switch(self, name: str, value: object) -> None:
        """Set one switch."""
        self._control("POST", "switches", {name: value})

    def switches(self) -> list[JsonObject]:
        """Every switch: name, value, values, default, about, section."""
        found: list[JsonObject] = self._control("GET", "switches")["switches"]
        return found

    # --- the API itself ---

    def call(self, method: str, path: str, body: object = None) -> tuple[int, JsonObject]:
        """One API request: status and parsed body. It is logged and meets faults like anybody's."""
        headers = {"Authorization": f"Bearer {self.token}", "Accept": "application/json"}
        return self._send(method, path, body, headers)

    def _control(self, method: str, name: str, body: object = None) -> JsonObject:
        status, answer = self._send(method, f"/_sandbox/{name}", body, {})
        if status != 200:
            raise SandboxControlError(status, answer.get("error", "refused"), answer.get("field"))
        return answer

    def _send(self, method: str, path: str, body: object, headers: dict[str, str]) -> tuple[int, JsonObject]:
        content = None if body is None else json.dumps(body).encode()
        headers = {**headers, "Content-Type": "application/json"}
        request = Request(self.url + path, data=content, headers=headers, method=method)
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as response:
                return response.status, json.load(response)
        except HTTPError as error:
            with error:
                return error.code, json.load(error)
