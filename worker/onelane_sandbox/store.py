"""The primary store: linearizable, and the only thing that reads by id and the uniqueness rules look at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from onelane_sandbox.contact import Contact


class ContactStore:
    """Every contact ever made, gone ones included, by id, address and external id."""

    def __init__(self) -> None:
        self._by_id: dict[str, Contact] = {}
        self._by_email: defaultdict[str, set[str]] = defaultdict(set)
        self._by_external_id: defaultdict[str, set[str]] = defaultdict(set)

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Contact]:
        return iter(self._by_id.values())

    def get(self, contact_id: str) -> Contact | None:
        """The contact of that id, whatever its state."""
        return self._by_id.get(contact_id)

    def put(self, contact: Contact) -> None:
        """Store a new version of a contact."""
        old = self._by_id.get(contact.id)
        if old is not None:
            self._unlink(old)
        self._by_id[contact.id] = contact
        if contact.email:
            self._by_email[contact.email.lower()].add(contact.id)
        if contact.external_id:
            self._by_external_id[contact.external_id].add(contact.id)

    def with_email(self, email: str | None) -> list[Contact]:
        """All contacts with that address, in order of creation; upper and lower case do not matter, but
        letters do: straße is not strasse."""
        return self._pick(self._by_email.get(email.lower(), set())) if email else []

    def with_external_id(self, external_id: str | None) -> list[Contact]:
        """All contacts with that external id, in order of creation."""
        return self._pick(self._by_external_id.get(external_id, set())) if external_id else []

    def _pick(self, ids: set[str]) -> list[Contact]:
        return sorted((self._by_id[one] for one in ids), key=lambda one: one.number)

    def _unlink(self, old: Contact) -> None:
        if old.email:
            self._by_email[old.email.lower()].discard(old.id)
        if old.external_id:
            self._by_external_id[old.external_id].discard(old.id)
