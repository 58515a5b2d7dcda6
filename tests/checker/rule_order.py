"""Per address the effects appear in accepted order, and nothing is written that nobody asked for.

Which intents travelled in which request does not matter: every value written is led back to the intents that
asked for it, and per field the accepted order of those may only grow. Of several that asked for one value,
the earliest that fits is taken, so a value that comes back later is no step back.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from . import wishes
from .evidence import Address, Evidence
from .history import Accepted, Request
from .report import ORDER, OUTCOME, STRAY, Report

Rank = tuple[float, int]
Effect = tuple[str, str]
"""Field path or `consent:<channel>`, and the key of the value."""


class Authors:
    """Effect → the places in order of those who asked for it."""

    def __init__(self, address: Address, newsletter_types: tuple[str, ...]) -> None:
        self._ranks: defaultdict[Effect, list[Rank]] = defaultdict(list)
        for one in address.intents:
            for wish in (wishes.asked(one), wishes.asked_on_insert(one), wishes.implied(one)):
                for path, value in wish.items():
                    insort(self._ranks[path, wishes.key(value)], (0.0, one.rank))
            for channel, wanted in wishes.spoken(one, newsletter_types).items():
                insort(self._ranks[_consent(channel), wishes.key(wanted)], (one.acted, one.rank))

    def of(self, effect: Effect) -> list[Rank]:
        return self._ranks.get(effect, [])


def effects_of(request: Request) -> Iterator[Effect]:
    """What a write sets."""
    body = request.body if isinstance(request.body, dict) else {}
    if "subscriptions" in request.words:
        yield from _subscription(request, body)
        return
    for path, value in wishes.fields_of(body).items():
        yield path, wishes.key(value)
    if "unsubscribed_from_emails" in body:
        yield _consent(wishes.ALL_MAIL), wishes.key(not body["unsubscribed_from_emails"])


def _subscription(request: Request, body: dict[str, Any]) -> Iterator[Effect]:
    """Attached or detached; what that means depends on the type's kind, which `Order` knows."""
    attached = request.method == "POST"
    type_id = str(body.get("id")) if attached else request.words[-1]
    yield f"type:{type_id}", wishes.key(attached)


def _consent(channel: str) -> str:
    return f"consent:{channel}"


def check_order(evidence: Evidence, report: Report) -> None:
    """Steps back, values from nowhere, and values that an outcome claims but no request carried."""
    for address in evidence.addresses.values():
        _Order(evidence, report, address).check()


class _Order:
    def __init__(self, evidence: Evidence, report: Report, address: Address) -> None:
        self._evidence = evidence
        self._report = report
        self._address = address
        self._authors = Authors(address, evidence.declared.newsletter_types)
        self._reached: dict[str, tuple[Rank, Request]] = {}
        self._written: set[Effect] = set()

    def check(self) -> None:
        for request in self._address.effective:
            effects = [self._meant(effect) for effect in effects_of(request)]
            self._written.update(effects)
            if not self._evidence.is_foreign(request):
                for effect in effects:
                    self._step(request, effect)
        for one in self._evidence.surely_applied(self._address):
            self._claims(one)

    def _meant(self, effect: Effect) -> Effect:
        path, value = effect
        if not path.startswith("type:"):
            return effect
        channel = path.removeprefix("type:")
        opts_in = self._evidence.declared.type_kinds.get(channel) == "opt_in"
        return _consent(channel), wishes.key((value == wishes.key(True)) == opts_in)

    def _step(self, request: Request, effect: Effect) -> None:
        path, value = effect
        ranks = self._authors.of(effect)
        if not ranks:
            text = f"{path} = {value} was asked by no intent of this address"
            self._report.found(STRAY, self._address.name, text, request)
            return
        reached = self._reached.get(path)
        fits = 0 if reached is None else bisect_left(ranks, reached[0])
        if fits == len(ranks) and reached is not None:
            self._back(request, effect, reached)
            return
        self._reached[path] = ranks[fits], request

    def _back(self, request: Request, effect: Effect, reached: tuple[Rank, Request]) -> None:
        path, value = effect
        rank = self._authors.of(effect)[-1][1]
        text = f"{path} went back to {value} (rank {rank}) after rank {reached[0][1]}"
        excuse = self._evidence.excuse(request)
        if request.end - request.at > self._evidence.declared.commit_window_s:
            excuse = "commit beyond the tail"
        if excuse is not None:
            self._report.set_apart(excuse, ORDER, self._address.name, text, reached[1], request)
        else:
            self._report.found(ORDER, self._address.name, text, reached[1], request)

    def _claims(self, one: Accepted) -> None:
        """What it set must have been written at some time, unless those it travelled with set it again."""
        together = [
            self._evidence.by_id[other]
            for other in (one.outcome or {}).get("applied_with") or ()
            if other in self._evidence.by_id
        ]
        overruled = {path for other in together if other.rank >= one.rank for path in wishes.asked(other)}
        for path, value in wishes.asked(one).items():
            if value is None or path in overruled or (path, wishes.key(value)) in self._written:
                continue
            text = f"{one}: says it is applied, but {path} = {wishes.key(value)} was never written"
            self._report.found(OUTCOME, self._address.name, text, one.outcome)
