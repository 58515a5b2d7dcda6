"""The pure sandbox with a clock in the test's hand: `world`. The served one is `onelane_sandbox`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from onelane_sandbox.rules import Request, Response, Sandbox

JsonObject = dict[str, Any]


@dataclass
class World:
    """A sandbox and the time. Times in seconds; the lag is 60 s unless a test says otherwise."""

    sandbox: Sandbox = field(default_factory=lambda: Sandbox(seed=1, index_lag=60.0))
    now: float = 1_800_000_000.0

    def send(self, method: str, path: str, body: object = None, **options: Any) -> Response:
        return self.sandbox.handle(Request.of(method, path, body, **options), self.now)

    def call(self, method: str, path: str, body: object = None, **options: Any) -> tuple[int, JsonObject]:
        response = self.send(method, path, body, **options)
        return response.status, response.body

    def ok(self, method: str, path: str, body: object = None, **options: Any) -> JsonObject:
        status, answer = self.call(method, path, body, **options)
        assert status == 200, answer
        return answer

    def error(self, method: str, path: str, body: object = None, **options: Any) -> tuple[int, str, str]:
        """(status, code, message) of a refusal."""
        status, answer = self.call(method, path, body, **options)
        assert answer["type"] == "error.list", answer
        assert answer["request_id"]
        (error,) = answer["errors"]
        return status, error["code"], error["message"]

    def user(self, **fields: Any) -> str:
        return str(self.ok("POST", "/contacts", {"role": "user", **fields})["id"])

    def lead(self, **fields: Any) -> str:
        return str(self.ok("POST", "/contacts", {"role": "lead", **fields})["id"])

    def read(self, contact_id: str) -> JsonObject:
        return self.ok("GET", f"/contacts/{contact_id}")

    def find(self, field_name: str, operator: str, value: object) -> list[str]:
        """The ids that a search of one filter shows."""
        query = {"field": field_name, "operator": operator, "value": value}
        return [one["id"] for one in self.search(query)["data"]]

    def search(self, query: object, **pagination: Any) -> JsonObject:
        return self.ok("POST", "/contacts/search", {"query": query, "pagination": pagination})

    def attribute(self, name: str, data_type: str = "string") -> JsonObject:
        body = {"name": name, "model": "contact", "data_type": data_type}
        return self.ok("POST", "/data_attributes", body)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def new_world() -> Callable[[], World]:
    return World
