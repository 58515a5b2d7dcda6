"""One Intercom workspace: everything that a reset throws away, and the one way to write a contact."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from onelane_sandbox.attributes import AttributeCatalog
from onelane_sandbox.catalogs import SubscriptionTypes, Tags
from onelane_sandbox.contact import Contact, Role, contact_body
from onelane_sandbox.dice import Dice, Lag
from onelane_sandbox.index import SearchIndex
from onelane_sandbox.messages import ApiError, JsonObject, Request, user_not_found
from onelane_sandbox.store import ContactStore
from onelane_sandbox.switches import Switches
from onelane_sandbox.versions import ApiVersion


@dataclass(frozen=True, slots=True)
class Call:
    """One routed API request. `params` are the variable parts of its path, `now` is in epoch seconds."""

    request: Request
    params: tuple[str, ...]
    body: JsonObject
    version: ApiVersion
    now: float


class Workspace:
    """The stores of one workspace. Every write goes to the primary at once and to the index after a lag."""

    def __init__(self, dice: Dice, lag: Lag, id_code: str) -> None:
        self.id_code = id_code
        self.dice = dice
        self.lag = lag
        self.switches = Switches()
        self.contacts = ContactStore()
        self.index = SearchIndex()
        self.attributes = AttributeCatalog()
        self.subscription_types = SubscriptionTypes()
        self.tags = Tags()
        self._writes = 0

    def create(self, now: float, role: Role, external_id: str | None, fields: dict[str, Any]) -> Contact:
        """A new live contact with a fresh id."""
        contact = Contact(
            id=self.dice.contact_id(now),
            number=len(self.contacts) + 1,
            version=0,
            role=role,
            external_id=external_id,
            created_at=int(now),
            updated_at=int(now),
            **fields,
        )
        return self._write(contact, now)

    def change(self, contact: Contact, now: float, **changes: Any) -> Contact:
        """A new version of `contact` with `changes`."""
        return self._write(replace(contact, updated_at=int(now), **changes), now)

    def live(self, contact_id: str) -> Contact:
        """The contact of that id, or ApiError 404 if it is unknown, archived, deleted or merged away."""
        contact = self.contacts.get(contact_id)
        if contact is None or not contact.is_live:
            raise user_not_found()
        return contact

    def lock_is_over(self, contact: Contact, now: float) -> bool:
        """Has a deleted contact's time of blocking its identifiers run out?"""
        return contact.deleted_at is not None and now >= contact.deleted_at + self.switches.delete_lock_s

    def show(self, contact: Contact, version: ApiVersion) -> JsonObject:
        """The contact as the API shows it under the present switches."""
        lists = self.switches["subscription_lists"] == "present"
        return contact_body(contact, version, self.id_code, with_subscription_lists=lists)

    def error_by_switch(self, switch: str, code: str, message: str) -> ApiError:
        """An error whose status is the value of `switch`."""
        return ApiError(int(self.switches[switch]), code, message)

    def _write(self, contact: Contact, now: float) -> Contact:
        self._writes += 1
        written = replace(contact, version=self._writes)
        self.contacts.put(written)
        self.index.record(written, now + self.dice.lag_s(self.lag))
        return written
