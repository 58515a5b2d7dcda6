"""No lost update: every field ends as the fold of the applied intents, last accepted wins."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

from . import wishes
from .evidence import Address, Evidence
from .history import Accepted, Json
from .report import FIELD, Report


@dataclass(slots=True)
class _Claims:
    """Who wants what of one field of one contact."""

    sure: list[tuple[int, Any]] = field(default_factory=list)
    """Rank and value of intents that must have met this contact."""
    maybe: list[tuple[int, Any]] = field(default_factory=list)
    """Of intents that may have met it, or may have been written though they failed."""

    def acceptable(self) -> list[Any]:
        """What the field may hold at the end."""
        newest = max((rank for rank, _ in self.sure), default=-1)
        last = [value for rank, value in self.sure if rank == newest]
        return last + [value for rank, value in self.maybe if rank >= newest]


def check_fields(evidence: Evidence, report: Report) -> None:
    """Compare every field that an intent names with the true state."""
    for address in evidence.addresses.values():
        if address.entangled:
            report.counts["unjudged addresses"] += 1
            continue
        for contact in address.live:
            if contact["id"] not in evidence.declared.foreign_contacts:
                _check_contact(evidence, report, address, contact)


def _check_contact(evidence: Evidence, report: Report, address: Address, contact: Json) -> None:
    for path, claims in _claims(evidence, address, contact).items():
        if not claims.sure:
            continue
        report.counts["fields compared"] += 1
        actual, wanted = wishes.held(contact, path), claims.acceptable()
        if wishes.key(actual) not in {wishes.key(value) for value in wanted}:
            text = f"{path} is {wishes.key(actual)}, should be {' or '.join(map(wishes.key, wanted))}"
            authors = [one for one in address.intents if path in wishes.asked(one)][-3:]
            report.found(FIELD, address.name, text, *authors, *address.effective[-3:])


def _claims(evidence: Evidence, address: Address, contact: Json) -> dict[str, _Claims]:
    found: defaultdict[str, _Claims] = defaultdict(_Claims)
    alone = len(address.live) == 1
    for one in evidence.surely_applied(address):
        meant = one.external_id is not None and one.external_id == contact["external_id"]
        sure = alone or (meant and not wishes.is_form(one))
        if not sure and not meant and one.external_id is not None:
            continue  # another account's
        for path, value in wishes.asked(one).items():
            (found[path].sure if sure else found[path].maybe).append((one.rank, value))
        if sure and one.result == "created" and not (one.outcome or {}).get("adopted"):
            _insert(found, one)
    for one in address.intents:
        if _may_have_written(evidence, one):
            for path, value in wishes.asked(one).items():
                found[path].maybe.append((one.rank, value))
    return found


def _may_have_written(evidence: Evidence, one: Accepted) -> bool:
    reason = (one.outcome or {}).get("reason")
    return evidence.rolled_back(one) or (one.result == "rejected" and reason in wishes.MAY_HAVE_WRITTEN)


def _insert(found: defaultdict[str, _Claims], one: Accepted) -> None:
    for path, value in wishes.asked_on_insert(one).items():
        found[path].sure.append((one.rank, value))
