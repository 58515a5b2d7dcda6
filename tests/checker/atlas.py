"""Which request concerns which address: requests by contact id are led back to the create that made it.

The log has no response bodies, but the sandbox lists all contacts it ever made in the order of creation, and
every create that took effect stands in the log: the n-th of one is the n-th of the other. From then on a
contact's address changes only by updates, which are in the log too.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any
from urllib.parse import unquote

from .history import Accepted, Json, Request, normal

_NOT_AN_ID = ("search", "merge", "find_by_external_id")


def in_order(requests: Iterable[Request]) -> list[Request]:
    """Those that took effect, in the order in which they did."""
    return sorted((one for one in requests if one.committed), key=lambda one: (one.end, one.n))


class Atlas:
    """Request → the addresses it is about."""

    def __init__(
        self, accepted: Iterable[Accepted], contacts: Sequence[Json], requests: Sequence[Request]
    ) -> None:
        self._by_external_id: defaultdict[str, set[str]] = defaultdict(set)
        for one in accepted:
            if one.external_id is not None:
                self._by_external_id[one.external_id].add(one.address)
        self._moves: defaultdict[str, list[tuple[float, str]]] = defaultdict(list)
        self.created_by: dict[str, Request] = {}
        """Contact id → the request that made it."""
        self._read(contacts, requests)

    def _read(self, contacts: Sequence[Json], requests: Sequence[Request]) -> None:
        effective = in_order(requests)
        creates = [one for one in effective if one.creates]
        for contact in contacts:
            if contact.get("email"):
                self._moves[contact["id"]] = [(float("-inf"), normal(contact["email"]))]
        if len(creates) == len(contacts):
            for contact, create in zip(contacts, creates, strict=True):
                self.created_by[contact["id"]] = create
                self._moves[contact["id"]] = [(float("-inf"), address) for address in _emails(create.body)]
        for one in effective:
            contact_id = _contact_id(one)
            if one.method == "PUT" and contact_id is not None:
                self._moves[contact_id] += [(one.end, address) for address in _emails(one.body)]

    def addresses(self, request: Request) -> set[str]:
        """Normally one; none if the request is about nobody or cannot be told."""
        told = set(_emails(request.body))
        if told:
            return told
        if request.words[:2] == ["contacts", "find_by_external_id"]:
            return set(self._by_external_id.get(unquote(request.words[-1]), set()))
        return {address for one in named_ids(request) for address in self._address_at(one, request.at)}

    def places(self, contact_id: str) -> set[str]:
        """Every address at which the contact has been, by the log."""
        return {address for _, address in self._moves.get(contact_id, [])}

    def _address_at(self, contact_id: str, at: float) -> list[str]:
        moves = self._moves.get(contact_id, [])
        known = bisect_right([moved_at for moved_at, _ in moves], at)
        return [address for _, address in moves[max(0, known - 1) : known]]


def named_ids(request: Request) -> set[str]:
    """The contacts that a request names by id."""
    own = _contact_id(request)
    return {*_merged(request), *(() if own is None else (own,))}


def _contact_id(request: Request) -> str | None:
    words = request.words
    if words[0] != "contacts" or len(words) < 2 or words[1] in _NOT_AN_ID:
        return None
    return words[1]


def _merged(request: Request) -> Iterator[str]:
    if request.words == ["contacts", "merge"] and isinstance(request.body, dict):
        yield from (str(request.body[end]) for end in ("from", "into") if end in request.body)


def _emails(body: Any) -> Iterator[str]:
    """The addresses that a body names: its own, or those it searches for."""
    if not isinstance(body, dict):
        return
    if isinstance(body.get("email"), str) and "@" in body["email"]:
        yield normal(body["email"])
    if body.get("field") == "email" and isinstance(body.get("value"), str):
        yield normal(body["value"])
    inner = body.get("query") or body.get("value")
    for part in inner if isinstance(inner, list) else [inner]:
        yield from _emails(part)
