"""The script of one history, as data: who asks for what when, what goes wrong, and who meddles.

It is drawn from a seed (`drawing`), printed in a failure message, and made smaller by leaving parts out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from onelane.identity import lane_id

START_S = 1_800_000_000
PARTITION = "a"
ADDRESSES_TRIED = 4000
ATTRIBUTE = "plan"
UNKNOWN_ATTRIBUTE = "no_such_attribute"

Json = dict[str, Any]
Place = Literal["redis", "intercom", "turn", "producer", "timer"]
ActKind = Literal["sdk_user", "merge", "archive", "delete"]

FAULTS: dict[Place, Sequence[str]] = {
    "redis": (
        "crash_before",
        "crash_after",
        "freeze_before",
        "freeze_after",
        "reply_lost",
        "delayed_and_resent",
        "delivered_twice",
        "down_before",
        "down_after",
    ),
    "intercom": (
        "crash_before",
        "crash_in_flight",
        "crash_in_flight",
        "crash_after",
        "crash_after",
        "freeze_in_flight",
        "dropped",
        "dropped",
        "unanswered",
        "unanswered",
        "unanswered",
        "committed_late",
        "committed_late",
        "error_before",
        "error_after",
        "throttled",
        "not_sent",
        "slow",
    ),
    "turn": ("lost", "lost", "doubled", "late", "doubled_late"),
    "producer": ("reply_lost", "delayed_and_resent", "delivered_twice", "gone_after"),
    "timer": ("crash_before", "crash_after", "reply_lost"),
}
"""What can go wrong at each boundary; the words are explained where they are acted on."""


@dataclass(frozen=True, slots=True)
class Fault:
    """The `index`-th call of its place meets this."""

    place: Place
    index: int
    kind: str
    delay_s: float


@dataclass(frozen=True, slots=True)
class Request:
    """A producer enqueues an intent."""

    at_s: float
    intent: Json


@dataclass(frozen=True, slots=True)
class Act:
    """Somebody else does something to the contacts of an address."""

    at_s: float
    kind: ActKind
    address: str
    external_id: str | None = None


@dataclass(frozen=True, slots=True)
class Conditions:
    """What kind of world it is."""

    workers: int
    slots: int
    timers: int
    settle_window_s: float
    lag_s: tuple[float, float]
    lost_after_turns: int
    slice_intents: int
    fold_max: int
    newsletter_types: tuple[str, ...]
    max_kills: int
    skew_s: float
    slow_calls: bool
    """Calls to Intercom take seconds, not milliseconds."""


@dataclass(frozen=True, slots=True)
class Script:
    """One history, before it happens."""

    seed: int
    conditions: Conditions
    before: tuple[Json, ...]
    """Bodies of contacts that are there from the beginning; `archived` is ours."""
    requests: tuple[Request, ...]
    acts: tuple[Act, ...]
    faults: tuple[Fault, ...]

    def lines(self) -> list[str]:
        """For people."""
        told = [f"seed {self.seed}: {self.conditions}"]
        told += [f"  there before: {body}" for body in self.before]
        told += [f"  at {one.at_s:8.3f} enqueue {one.intent}" for one in self.requests]
        told += [f"  at {one.at_s:8.3f} {one.kind} {one.address} {one.external_id}" for one in self.acts]
        told += [f"  {one.place} call {one.index}: {one.kind} ({one.delay_s} s)" for one in self.faults]
        return told


@cache
def addresses() -> tuple[str, ...]:
    """A few addresses whose lanes share a partition, so that one timer look sees all of them."""
    named = (f"p{number}@example.test" for number in range(ADDRESSES_TRIED))
    return tuple(email for email in named if lane_id(email)[0] == PARTITION)[:3]
