"""The history, laid out by address: what every rule looks at."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from . import wishes
from .atlas import Atlas, in_order
from .history import Accepted, Declared, Json, Request, normal

_GONE = ("archived", "deleted", "merged_into")


def is_live(contact: Json) -> bool:
    """Neither archived, deleted nor merged away."""
    return not any(contact.get(name) for name in _GONE)


@dataclass(slots=True)
class Address:
    """One address: its intents, its requests, its contacts."""

    name: str
    intents: list[Accepted] = field(default_factory=list)
    """In accepted order."""
    requests: list[Request] = field(default_factory=list)
    """Ours and others', by arrival."""
    effective: list[Request] = field(default_factory=list)
    """The writes that took effect, in the order in which they did."""
    live: list[Json] = field(default_factory=list)
    """Contacts that are neither archived, deleted nor merged away."""
    entangled: bool = False
    """Its person also goes by another address: who holds which value is not judged here."""

    @property
    def ended_by_erasure(self) -> int:
        """Rank of the last erasure; intents up to it leave nothing behind."""
        return max((one.rank for one in self.intents if one.kind == "contact_erasure"), default=-1)

    def with_result(self, results: Iterable[str]) -> list[Accepted]:
        """The intents that ended so, after the last erasure."""
        wanted, erased = frozenset(results), self.ended_by_erasure
        return [one for one in self.intents if one.result in wanted and one.rank > erased]


class Evidence:
    """All addresses of a history."""

    def __init__(
        self,
        accepted: Iterable[Accepted],
        contacts: Sequence[Json],
        requests: Iterable[Request],
        declared: Declared,
    ) -> None:
        self.accepted = sorted(accepted, key=lambda one: one.rank)
        self.contacts = contacts
        self.requests = sorted(requests, key=lambda one: (one.at, one.n))
        self.declared = declared
        self.atlas = Atlas(self.accepted, contacts, self.requests)
        self.unmapped = 0

    @cached_property
    def by_id(self) -> dict[str, Accepted]:
        return {one.id: one for one in self.accepted}

    @cached_property
    def addresses(self) -> dict[str, Address]:
        """Every address that an intent names."""
        found = {one.address: Address(one.address) for one in self.accepted}
        for one in self.accepted:
            found[one.address].intents.append(one)
        self._add_contacts(found)
        self._add_requests(found)
        self._mark_entangled(found)
        return found

    def _add_contacts(self, found: dict[str, Address]) -> None:
        for contact in self.contacts:
            email = contact.get("email")
            if email and normal(email) in found and is_live(contact):
                found[normal(email)].live.append(contact)

    def _add_requests(self, found: dict[str, Address]) -> None:
        for request in self.requests:
            names = self.atlas.addresses(request) & found.keys()
            self.unmapped += not names and request.words[0] == "contacts"
            for name in names:
                found[name].requests.append(request)
        for address in found.values():
            address.effective = in_order(one for one in address.requests if one.is_write)

    def _mark_entangled(self, found: dict[str, Address]) -> None:
        sharing: defaultdict[str, set[str]] = defaultdict(set)
        for one in self.accepted:
            if one.external_id is not None:
                sharing[one.external_id].add(one.address)
            if one.kind == "email_change":
                sharing[f"move {one.id}"] |= {one.address, normal(one.intent["new_email"])}
        for group in sharing.values():
            for name in group if len(group) > 1 else ():
                if name in found:
                    found[name].entangled = True

    def is_foreign(self, request: Request) -> bool:
        """Did somebody else make it?"""
        return request.n in self.declared.foreign_requests

    def excuse(self, *late: Request) -> str | None:
        """The declared event that explains why one of these requests came too late, if there is one."""
        declared = self.declared
        if self.woke(*late):
            return "frozen worker"
        for one in late:
            if any(s.end <= one.at <= s.end + declared.rollback_slack_s for s in declared.rollbacks):
                return "rollback of Redis"
        return None

    def woke(self, *late: Request) -> bool:
        """Did one of these requests come from a worker that had just been frozen?"""
        slack_s = self.declared.frozen_slack_s
        return any(s.end <= one.at <= s.end + slack_s for one in late for s in self.declared.frozen)

    def was_frozen(self, request: Request) -> bool:
        """Did some worker stand still while this request was under way?"""
        return any(s.start <= request.end and request.at <= s.end for s in self.declared.frozen)

    def rolled_back(self, one: Accepted) -> bool:
        """Was it lost with a moment of Redis? It may have been carried out before."""
        return one.outcome is None and any(s.start <= one.at <= s.end for s in self.declared.rollbacks)

    def surely_applied(self, address: Address) -> list[Accepted]:
        """The intents whose effect must be there."""
        return address.with_result(wishes.APPLIED)
