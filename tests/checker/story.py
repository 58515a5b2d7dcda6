"""Hand-made histories for the checker's own tests: intents, requests and contacts in a few words."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from .checker import check
from .history import Accepted, Declared
from .report import Report

ANN = "ann@example.test"
BOB = "bob@example.test"
Json = dict[str, Any]


class Story:
    """Time passes a second with every step; a request takes a hundredth of it."""

    def __init__(self) -> None:
        self.accepted: list[Accepted] = []
        self.contacts: list[Json] = []
        self.requests: list[Json] = []
        self.now = 1_000.0

    # --- what producers did ---

    def intent(
        self,
        kind: str = "lead_capture",
        result: str | None = "updated",
        *,
        email: str = ANN,
        outcome: Mapping[str, Any] | None = None,
        rank: int | None = None,
        **fields: Any,
    ) -> str:
        """Accept one, ended with `result` on the address' newest contact; returns its id."""
        self.now += 1
        number = len(self.accepted)
        intent_id = f"{number:032x}"
        told: Json | None = None
        if result is not None:
            told = {"result": result, **(outcome or {})}
            if result in ("created", "updated", "converted", "unchanged"):
                told.setdefault("contact_id", f"id{max(len(self.contacts), 1)}")
        json = {"kind": kind, "email": email, **fields}
        place = number if rank is None else rank
        self.accepted.append(Accepted(intent_id, kind, email, json, place, self.now, told))
        return intent_id

    # --- what the sandbox saw ---

    def request(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        status: int | None = 200,
        at: float | None = None,
        takes_s: float | None = 0.01,
        committed: bool = True,
        fault: str | None = None,
    ) -> int:
        """A line of the log; returns its number."""
        self.now += 1
        line = {
            "n": len(self.requests) + 1,
            "at": self.now if at is None else at,
            "method": method,
            "path": path,
            "query": {},
            "body": body,
            "status": status,
            "duration_ms": None if takes_s is None else takes_s * 1000,
            "fault": fault,
            "committed": committed,
        }
        self.requests.append(line)
        return len(self.requests)

    def search(self, email: str = ANN, **how: Any) -> int:
        """A search by address."""
        query = {"query": {"field": "email", "operator": "=", "value": email}}
        return self.request("POST", "/contacts/search", query, **how)

    def create(
        self, email: str = ANN, role: str = "lead", how: Mapping[str, Any] | None = None, **body: Any
    ) -> str:
        """A create that took effect, and its contact; returns the id."""
        self.request("POST", "/contacts", deepcopy({"role": role, "email": email, **body}), **(how or {}))
        contact_id = f"id{len(self.contacts) + 1}"
        fields = {"external_id": None, "name": None, "phone": None, **body}
        hidden: Json = {"archived": False, "deleted": False, "merged_into": None, "subscriptions": []}
        shown = {"custom_attributes": {}, "unsubscribed_from_emails": False, **fields}
        self.contacts.append({"id": contact_id, "role": role, "email": email, **hidden, **shown})
        return contact_id

    def put(self, contact_id: str = "id1", how: Mapping[str, Any] | None = None, **body: Any) -> int:
        """An update that took effect."""
        number = self.request("PUT", f"/contacts/{contact_id}", deepcopy(body), **(how or {}))
        contact = next(one for one in self.contacts if one["id"] == contact_id)
        attributes = {**contact["custom_attributes"], **body.pop("custom_attributes", {})}
        contact.update(body, custom_attributes=attributes)
        return number

    def subscribe(self, contact_id: str, type_id: str, kind: str) -> None:
        """Attach a subscription."""
        self.request("POST", f"/contacts/{contact_id}/subscriptions", {"id": type_id, "consent_type": kind})
        contact = next(one for one in self.contacts if one["id"] == contact_id)
        contact["subscriptions"].append({"id": type_id, "consent_type": kind})

    def archive(self, contact_id: str = "id1") -> int:
        """Somebody archives a contact; returns the request's number."""
        next(one for one in self.contacts if one["id"] == contact_id)["archived"] = True
        return self.request("POST", f"/contacts/{contact_id}/archive")

    def unarchive(self, contact_id: str = "id1") -> int:
        """And it is brought back."""
        next(one for one in self.contacts if one["id"] == contact_id)["archived"] = False
        return self.request("POST", f"/contacts/{contact_id}/unarchive")

    # --- the verdict ---

    def report(self, **declared: Any) -> Report:
        """What the checker says."""
        return check(self.accepted, self.contacts, self.requests, Declared(**declared))

    def kinds(self, **declared: Any) -> list[str]:
        """The kinds of all violations."""
        return [one.kind for one in self.report(**declared).violations]


def two_names() -> Story:
    """A clean history to be spoilt: name A by a create, then name B by an update."""
    story = Story()
    story.intent(result="created", name="A")
    story.intent(name="B")
    story.create(name="A")
    story.put(name="B")
    assert story.kinds() == []
    return story
