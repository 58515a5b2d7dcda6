"""What the independent checker makes of a world."""

from __future__ import annotations

from collections import Counter

from tests.checker.checker import check
from tests.checker.history import Accepted, Declared, Span
from tests.checker.report import Report

from .world import World


def judged(world: World) -> Report:
    """Judge what a test has enqueued through `enqueue` and `later`."""
    ranks = Counter[str]()
    accepted = []
    for receipt, intent, at_s in world.told:
        ranks[receipt.lane] += 1
        outcome = world.outcome(receipt)
        told = None if outcome is None else outcome.model_dump()
        body = intent.model_dump(mode="json", exclude_unset=True)
        accepted.append(
            Accepted(receipt.id, intent.kind, intent.email, body, ranks[receipt.lane], at_s, told)
        )
    network, log = world.intercom.network, world.intercom.log
    declared = Declared(
        commit_window_s=network.timeout_s + network.tail_s,
        foreign_requests=frozenset(log.foreign),
        frozen=tuple(Span(*one) for one in log.late_writes),
    )
    return check(accepted, world.sandbox.contacts(), world.sandbox.requests(), declared)
