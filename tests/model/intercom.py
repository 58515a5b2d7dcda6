"""Intercom: contacts, an index that lags, an outage."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal, NamedTuple

from .faults import LAG_MS

if TYPE_CHECKING:
    from .history import History

Verb = Literal["create", "update", "move", "delete", "merge"]


class Contact:
    """A contact as it is."""

    __slots__ = (
        "address",
        "external_id",
        "id",
        "index",
        "lives",
        "made_for",
        "mixed",
        "value",
        "valued_at",
        "want",
    )

    def __init__(self, id: str, address: int, external_id: str, value: int, now: float) -> None:
        self.id = id
        self.address = address
        self.external_id = external_id
        self.value = value
        self.valued_at = now
        self.lives = True
        self.index: list[tuple[float, int, bool]] = []
        """(from when search shows it, address, lives)"""
        self.made_for: frozenset[str] = frozenset()
        """Intents for which it was created."""
        self.want: int | None = None
        """The value that was settled last."""
        self.mixed = False
        """Its last value cannot be judged: two addresses write to it, or an answer was lost."""


class Seen(NamedTuple):
    """A contact as a reply shows it."""

    id: str
    address: int
    external_id: str
    value: int
    as_of: float


class Write(NamedTuple):
    """A write, as it travels."""

    verb: Verb
    contact: str = ""
    address: int = -1
    external_id: str = ""
    value: int = 0
    other: str = ""
    """The contact into which this one is merged; of a move, the one that lives at the new address."""


class Intercom:
    """Replies to reads are true, but for the index, which shows each contact as it was some time ago."""

    def __init__(self, history: History) -> None:
        self._history = history
        self.contacts: dict[str, Contact] = {}

    def get(self, id: str, now: float) -> Seen | None:
        contact = self.contacts[id]
        return self._seen(contact, now) if contact.lives else None

    def find(self, external_id: str, now: float) -> Seen | None:
        contact = self.by_external_id(external_id)
        return self._seen(contact, now) if contact is not None else None

    def search(self, address: int, now: float) -> list[str]:
        """Ids of those whom the index shows at this address, users first."""
        hits = []
        for contact in self.contacts.values():
            shown = [version for version in contact.index if version[0] <= now]
            if shown and shown[-1][1] == address and shown[-1][2]:
                hits.append((not contact.external_id, contact.id))
        return [id for _, id in sorted(hits)]

    def by_external_id(self, external_id: str) -> Contact | None:
        for contact in self.contacts.values():
            if contact.external_id == external_id and contact.lives:
                return contact
        return None

    def live_at(self, address: int) -> Iterable[Contact]:
        return [one for one in self.contacts.values() if one.lives and one.address == address]

    def _seen(self, contact: Contact, now: float) -> Seen:
        return Seen(contact.id, contact.address, contact.external_id, contact.value, now)

    def _touch(self, contact: Contact) -> None:
        """The index will show the contact as it is now, some time later."""
        last = contact.index[-1][0] if contact.index else 0.0
        shown_at = max(last, self._history.now + self._history.between(2_000, LAG_MS))
        contact.index.append((shown_at, contact.address, contact.lives))

    # ── writes ──

    def commit(self, write: Write, made_for: frozenset[str]) -> Seen | str:
        """Do it. Returns the contact, or `conflict <id>`, or `gone`."""
        if write.verb == "create":
            return self._create(write, made_for)
        contact = self.contacts[write.contact]
        if not contact.lives:
            return "gone"
        if write.verb in ("delete", "merge"):
            contact.lives = False
        elif write.verb == "move":
            other = self.contacts[write.other] if write.other else contact
            if other is not contact and other.lives:
                contact.lives = False
                self._touch(contact)
                return self._seen(other, self._history.now)
            contact.address = write.address
        else:
            owner = self.by_external_id(write.external_id) if write.external_id else None
            if owner not in (None, contact):
                return "gone"
            contact.external_id = write.external_id or contact.external_id
            contact.value, contact.valued_at = write.value, self._history.now
        self._touch(contact)
        return self._seen(contact, self._history.now)

    def _create(self, write: Write, made_for: frozenset[str]) -> Seen | str:
        if write.external_id and (owner := self.by_external_id(write.external_id)):
            return f"conflict {owner.id}"
        id = f"c{len(self.contacts) + 1}"
        contact = Contact(id, write.address, write.external_id, write.value, self._history.now)
        contact.made_for = made_for
        self._history.judge.creates(contact)
        self.contacts[id] = contact
        self._touch(contact)
        return self._seen(contact, self._history.now)
