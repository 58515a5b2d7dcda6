"""The lagging copy behind search and list.

Evidence: in recorded traffic 21 of 21 searches within three seconds of a write showed the old document, and a
list still showed contacts archived 17 seconds earlier. So every write becomes visible here some time later,
document by document; until then the OLD document is served: absent if it was new, still there if it was
archived, deleted or merged away, and with the old values if it was updated. Nobody reads their own writes.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable

from onelane_sandbox.contact import Contact

_Pending = tuple[float, int, Contact]


class SearchIndex:
    """What search can see. Call `advance` with the present time before reading."""

    def __init__(self) -> None:
        self._seen: dict[str, Contact] = {}  # newest visible version of each contact, live or not
        self._by_email: defaultdict[str, set[str]] = defaultdict(set)
        self._by_external_id: defaultdict[str, set[str]] = defaultdict(set)
        self._pending: list[_Pending] = []

    @property
    def pending(self) -> int:
        """How many writes are not visible yet."""
        return len(self._pending)

    def record(self, contact: Contact, visible_at: float) -> None:
        """Note a write that will become visible at `visible_at` (epoch seconds)."""
        heapq.heappush(self._pending, (visible_at, contact.version, contact))

    def advance(self, now: float) -> None:
        """Let every write show whose time has come."""
        while self._pending and self._pending[0][0] <= now:
            self._show(heapq.heappop(self._pending)[2])

    def catch_up(self) -> None:
        """Let every write show, whatever its time."""
        self.advance(float("inf"))

    def everyone(self) -> list[Contact]:
        """All contacts the index believes to be live, in order of creation."""
        return _in_order(self._seen.values())

    def with_email(self, email: str) -> list[Contact]:
        """Those whose visible address is `email`, upper and lower case being the same."""
        return self._pick(self._by_email.get(email.lower(), ()))

    def with_external_id(self, external_id: str) -> list[Contact]:
        """Those whose visible external id is `external_id`."""
        return self._pick(self._by_external_id.get(external_id, ()))

    def with_id(self, contact_id: str) -> list[Contact]:
        """The contact of that id, if the index can see it."""
        return self._pick((contact_id,))

    def _pick(self, ids: Iterable[str]) -> list[Contact]:
        return _in_order(self._seen[one] for one in ids if one in self._seen)

    def _show(self, contact: Contact) -> None:
        old = self._seen.get(contact.id)
        if old is not None:
            # Lags differ by write, so an older write may come due after a newer one: it shows no more.
            if old.version > contact.version:
                return
            self._unlink(old)
        self._seen[contact.id] = contact
        if contact.email:
            self._by_email[contact.email.lower()].add(contact.id)
        if contact.external_id:
            self._by_external_id[contact.external_id].add(contact.id)

    def _unlink(self, old: Contact) -> None:
        if old.email:
            self._by_email[old.email.lower()].discard(old.id)
        if old.external_id:
            self._by_external_id[old.external_id].discard(old.id)


def _in_order(contacts: Iterable[Contact]) -> list[Contact]:
    return sorted((one for one in contacts if one.is_live), key=lambda one: one.number)
