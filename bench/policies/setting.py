"""Where a policy runs: Intercom, Redis, and how much faster than real time it goes."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from onelane import Intent

Body = dict[str, Any]
TOKEN = "sandbox"
PASSING = (408, 429, 500, 502, 503, 504)
"""Answers that ask to be tried again."""


class Passing(Exception):
    """No answer, or one that asks to be tried again."""


@dataclass(frozen=True)
class Setting:
    """What a policy is given."""

    intercom_url: str
    redis_url: str
    scale: float
    """Seconds here for one real second."""
    timeout_s: float = 2.0
    _local: threading.local = field(default_factory=threading.local, repr=False)
    _clients: list[httpx.Client] = field(default_factory=list, repr=False)

    def s(self, real_s: float) -> float:
        """So long does it take here."""
        return real_s * self.scale

    def call(self, method: str, path: str, body: Body | None = None) -> tuple[int, Body]:
        """One call of Intercom's API. Raises `Passing`."""
        try:
            answer = self._client.request(method, path, json=body)
        except httpx.TransportError as error:
            raise Passing(type(error).__name__) from error
        if answer.status_code in PASSING:
            raise Passing(str(answer.status_code))
        told: Body = answer.json()
        return answer.status_code, told

    @property
    def _client(self) -> httpx.Client:
        """One a thread."""
        if not hasattr(self._local, "client"):
            headers = {"Authorization": f"Bearer {TOKEN}", "Intercom-Version": "2.15"}
            self._local.client = httpx.Client(
                base_url=self.intercom_url, headers=headers, timeout=self.timeout_s, trust_env=False
            )
            self._clients.append(self._local.client)
        client: httpx.Client = self._local.client
        return client

    def close(self) -> None:
        """Close the connections of all threads."""
        for client in self._clients:
            client.close()


def wanted(intent: Intent) -> Body:
    """The fields that an intent wants to see on the contact."""
    given: Mapping[str, Any] = intent.model_dump(exclude_none=True)
    body: Body = {name: given[name] for name in ("name", "phone") if name in given}
    match intent.kind:
        case "newsletter_opt_in":
            body["unsubscribed_from_emails"] = False
        case "newsletter_opt_out":
            body["unsubscribed_from_emails"] = True
        case "product_sign_up":
            body |= {"role": "user", "external_id": intent.external_id}
    return body


def newcomer(intent: Intent) -> Body:
    """The body of a create."""
    body = wanted(intent)
    role = "user" if intent.external_id is not None else "lead"
    external_id = {} if intent.external_id is None else {"external_id": intent.external_id}
    return {"role": role, **external_id, **body, "email": intent.email}
