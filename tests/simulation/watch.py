"""What must never be done to the contacts, whatever the end looks like: asked before each of our writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.world.intercom import Intercom

from onelane_sandbox.contact import Contact
from onelane_worker.intercom.requests import Request as Wire

from .meddlers import Meddlers

OLD_NEWS_S = 40.0
"""What a turn acts on may be this old when its write arrives."""
_IDENTITY = frozenset({"role", "external_id"})
_CONSENT = {"unsubscribed_from_emails"}


class Watch:
    """Looks at our writes as they take effect, with the true state in view."""

    def __init__(
        self,
        intercom: Intercom,
        meddlers: Meddlers,
        *,
        lag_s: float,
        registry_ttl_s: float,
        violate: Callable[[str], None],
    ) -> None:
        self._intercom = intercom
        self._meddlers = meddlers
        self._lag_s = lag_s
        self._registry_ttl_s = registry_ttl_s
        self._violate = violate

    def look(self, wire: Wire) -> None:
        """A request of ours is about to take effect."""
        body = wire.json or {}
        if wire.method == "POST" and wire.path == "/contacts" and body.get("role") == "lead":
            self._lead_beside_the_visible(body)
            self._lead_beside_the_heir(body)
        if wire.method == "PUT":
            self._lead_before_user(wire.path.rpartition("/")[2], body)

    def _lead_beside_the_visible(self, body: Any) -> None:
        """Search could have shown somebody."""
        seen_s = self._intercom.clock_s - self._lag_s - OLD_NEWS_S
        for one in self._live(body["email"]):
            if one.updated_at < seen_s and one.created_at < seen_s:
                self._violate(f"a lead is made beside {one.role} {one.id}, which search must show")

    def _lead_beside_the_heir(self, body: Any) -> None:
        """A lead that we know is gone because it was merged into a user: that is no reason for a new lead."""
        known_since_s = self._intercom.clock_s - self._registry_ttl_s + OLD_NEWS_S
        ours = {lead for lead, first_s in self._intercom.log.ours.items() if first_s > known_since_s}
        heirs = {user for lead, user in self._meddlers.heirs.items() if lead in ours}
        for one in self._live(body["email"]):
            if one.id in heirs:
                self._violate(f"a lead is made beside user {one.id}, into whom ours was merged")

    def _lead_before_user(self, contact_id: str, body: Any) -> None:
        """R3: a lane looks for others at least once in the registry's time, and then a user comes first."""
        target = self._intercom.sandbox._space.contacts.get(contact_id)
        if target is None or target.role != "lead" or not target.is_live or _IDENTITY & body.keys():
            return
        if body.keys() == _CONSENT or target.email is None:
            return  # an opt-out is for everybody
        long_ago_s = self._intercom.clock_s - self._lag_s - self._registry_ttl_s - OLD_NEWS_S
        for one in self._live(target.email):
            if one.role == "user" and max(one.created_at, one.updated_at) < long_ago_s:
                self._violate(
                    f"{contact_id} is written to, a lead, though user {one.id} has long been visible"
                )

    def _live(self, email: str) -> list[Contact]:
        return [one for one in self._intercom.sandbox._space.contacts.with_email(email) if one.is_live]
