"""The script of one history, as data: who asks for what when, what goes wrong, and who meddles.

It is drawn from a seed (`drawing`), printed in a failure message, and made smaller by leaving parts out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from tests.world.faults import Fault, Place

START_S = 1_800_000_000
ATTRIBUTE = "plan"
UNKNOWN_ATTRIBUTE = "no_such_attribute"

Json = dict[str, Any]
ActKind = Literal["sdk_user", "merge", "archive", "delete"]
TroubleKind = Literal[
    "failover", "emptied", "redis_away", "redis_refuses", "outage", "no_writes", "shutdown", "pause",
    "withdraw", "replay", "discard",
]  # fmt: skip

FAULTS: dict[Place, Sequence[str]] = {
    "redis": (
        "crash_before",
        "crash_after",
        "freeze_before",
        "freeze_after",
        "reply_lost",
        "reply_lost",
        "delayed_and_resent",
        "late_copy",
        "down_before",
        "down_after",
        "hung",
        "oom",
        "readonly",
    ),
    "tick": ("crash_before", "crash_after", "freeze_after", "reply_lost", "late_copy", "down_before", "hung"),
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
        "page",
    ),
    "wake": ("lost", "lost", "doubled", "late", "doubled_late"),
    "producer": ("reply_lost", "delayed_and_resent", "late_copy", "crash_after"),
}
"""What can go wrong at each boundary; the words are explained where they are acted on (tests/world)."""


@dataclass(frozen=True, slots=True)
class Struck:
    """The `index`-th call of its place meets this fault."""

    place: Place
    index: int
    fault: Fault


@dataclass(frozen=True, slots=True)
class Request:
    """A producer enqueues an intent."""

    at_s: float
    intent: Json
    kills: int = 0
    """So often its process dies when it is served."""


@dataclass(frozen=True, slots=True)
class Act:
    """Somebody else does something to the contacts of an address."""

    at_s: float
    kind: ActKind
    address: str
    external_id: str | None = None


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something happens to all: servers, engines, or by an operator's hand.

    failover       Redis is away for `for_s`, and comes back without the last `lost_s`
    emptied        the same, with nothing
    redis_away     nobody reaches Redis            redis_refuses   it refuses everything (out of memory)
    outage         no call reaches Intercom        no_writes       reads are answered, writes are not
    shutdown       an engine is stopped in good order, and starts again after `for_s`
    pause          an operator stops the line for `for_s`
    withdraw       a producer takes back the intent that was accepted last
    replay         an operator replays all dead letters     discard   and discards them
    """

    at_s: float
    kind: TroubleKind
    for_s: float = 0.0
    lost_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Conditions:
    """What kind of world it is."""

    engines: int
    slots: int
    settle_window_s: float
    lag_s: tuple[float, float]
    fold_max: int
    newsletter_types: tuple[str, ...]
    max_kills: int
    max_attempts: int
    skew_s: float
    slow_calls: bool
    """Calls to Intercom take seconds, not milliseconds."""
    requests_per_10s: int
    wake_max: int
    hold: bool
    """After Redis came back nothing is granted for a while. False: Redis loses nothing (`REDIS_DURABLE`)."""


@dataclass(frozen=True, slots=True)
class Script:
    """One history, before it happens."""

    seed: int
    conditions: Conditions
    before: tuple[Json, ...]
    """Bodies of contacts that are there from the beginning; `archived` is ours."""
    requests: tuple[Request, ...]
    acts: tuple[Act, ...]
    faults: tuple[Struck, ...]
    troubles: tuple[Trouble, ...] = ()

    def lines(self) -> list[str]:
        """For people."""
        told = [f"seed {self.seed}: {self.conditions}"]
        told += [f"  there before: {body}" for body in self.before]
        told += [f"  at {one.at_s:8.3f} enqueue {one.intent} {one.kills or ''}" for one in self.requests]
        told += [f"  at {one.at_s:8.3f} {one.kind} {one.address} {one.external_id}" for one in self.acts]
        told += [f"  at {one.at_s:8.3f} {one}" for one in self.troubles]
        told += [f"  {one.place} call {one.index}: {one.fault}" for one in self.faults]
        return told


def addresses(count: int) -> tuple[str, ...]:
    """The people of a history."""
    return tuple(f"p{number}@example.test" for number in range(count))
