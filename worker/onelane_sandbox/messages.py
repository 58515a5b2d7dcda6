"""What goes in and out of the sandbox: requests, responses and the error envelope."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One HTTP request, as the wire carries it.

    `path` is percent-encoded and has no query; `query` is decoded; header names may be in any case.
    """

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""

    @classmethod
    def of(
        cls,
        method: str,
        path: str,
        payload: object = None,
        *,
        query: Mapping[str, str] | None = None,
        token: str = "sandbox",
        version: str = "2.15",
    ) -> Request:
        """A well-formed request with JSON `payload`, for callers that have no HTTP client of their own."""
        headers = {
            "authorization": f"Bearer {token}",
            "accept": "application/json",
            "content-type": "application/json",
            "intercom-version": version,
        }
        body = b"" if payload is None else json.dumps(payload).encode()
        return cls(method=method, path=path, query=query or {}, headers=headers, body=body)

    def header(self, name: str) -> str | None:
        """The value of header `name`, whatever the case it was sent in."""
        wanted = name.lower()
        if wanted in self.headers:
            return self.headers[wanted]
        return next((value for key, value in self.headers.items() if key.lower() == wanted), None)

    def parsed_body(self) -> Any:
        """The body for people to read: JSON if it is JSON, else its text; None if it is empty."""
        if not self.body:
            return None
        try:
            return json.loads(self.body)
        except ValueError:
            return self.body.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What the API answers. `committed`: a write took effect, or a read was really evaluated."""

    status: int
    headers: Mapping[str, str]
    body: JsonObject
    committed: bool = False

    @property
    def content(self) -> bytes:
        """The body as bytes for the wire."""
        return json.dumps(self.body, separators=(",", ":")).encode()


class ApiError(Exception):
    """A refusal in Intercom's words: HTTP status, error code, message, and headers that belong to it."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        field_name: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.field_name = field_name
        self.headers = dict(headers or {})

    def body(self, request_id: str) -> JsonObject:
        """The error envelope. Evidence: recorded traffic; `field` stands only where one is at fault."""
        error: JsonObject = {"code": self.code, "message": self.message}
        if self.field_name is not None:
            error["field"] = self.field_name
        return {"type": "error.list", "request_id": request_id, "errors": [error]}


def user_not_found() -> ApiError:
    """The contact is unknown, archived, deleted or merged away. Evidence: recorded traffic (this text)."""
    return ApiError(404, "not_found", "User Not Found")


def resource_not_found() -> ApiError:
    """A subscription type or a tag is unknown. Evidence: published spec 2.15."""
    return ApiError(404, "not_found", "Resource Not Found")


def invalid(message: str, field_name: str | None = None) -> ApiError:
    """A parameter of the wrong type or out of its range. Evidence: official documentation (the code)."""
    return ApiError(400, "parameter_invalid", message, field_name=field_name)


def missing(field_name: str) -> ApiError:
    """A required parameter is absent. The status is documented, the exact code is unverified."""
    return ApiError(400, "parameter_missing", f"{field_name} is required", field_name=field_name)
