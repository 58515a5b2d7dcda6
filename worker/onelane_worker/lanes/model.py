"""What goes into and comes out of a lane.

Belief, memory, journal, open write, error and outcome are JSON text that the lanes carry and never read.
Times are milliseconds of Redis' clock, unless a name says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal

from onelane.keyspace import QueueName
from onelane.receipts import State
from onelane.turns import Turn

DAY_MS: Final = 86_400_000


class Keep(Enum):
    """The type of `KEEP`."""

    KEEP = "keep"


KEEP: Final = Keep.KEEP
"""Leave what is stored as it is."""

Part = str | None | Keep
"""What to store: JSON text, None to clear, KEEP to leave it alone."""

Refusal = Literal["busy", "asleep", "not_due", "held", "newer", "gated"]
PostponedState = Literal["retrying", "reconciling", "parked"]
ReplayStatus = Literal["accepted", "gone", "lane_full", "queue_full", "erasing"]
SettledStatus = Literal["more", "publish", "left", "asleep"]


class LaneError(Exception):
    """Base of what the lanes raise."""


class Fenced(LaneError):
    """The lane is not this holder's any more: nothing was stored, and nothing more may be written."""


class StillOpen(LaneError):
    """The head cannot be buried yet: a write may still commit, or the journal names it. Reconcile first."""

    def __init__(self, commit_until_ms: int | None) -> None:
        self.commit_until_ms = commit_until_ms
        """When the open write can no longer commit; None if it is the journal that names the intent."""
        super().__init__("a write of this lane is still open")


@dataclass(frozen=True, slots=True)
class LaneSettings:
    """Times in milliseconds."""

    lease_ms: int = 5_000
    leaf_ms: int = 36_000
    """Life of an external id's lock after its last renewal: as long as a write of its holder may commit."""
    registry_ttl_ms: int = 900_000
    """Life of a belief, counted from its writing."""
    memory_ttl_ms: int = 30 * DAY_MS
    status_ttl_ms: int = 7 * DAY_MS
    """Life of a done intent's record."""
    unchanged_ttl_ms: int = 3_600_000
    """The same for a bulk intent that changed nothing."""
    dedupe_ttl_ms: int = DAY_MS
    """Life of a dedupe key after its intent has ended."""
    answer_ttl_ms: int = 120_000
    """How long a repeated call finds its first answer: longer than any client repeats."""
    lane_idle_ttl_ms: int = DAY_MS
    """Life of an empty lane's fence and dirt: longer than any belief."""
    fold_max: int = 50
    """Intents granted at once at most."""
    lost_after_turns: int = 64
    """A turn overtaken by more than this many is lost."""
    schema: int = 3
    """Newest payload schema this worker understands."""
    max_kills: int = 3
    """Killed workers until a head is a dead letter."""

    def __post_init__(self) -> None:
        if self.lane_idle_ttl_ms < self.registry_ttl_ms:
            raise ValueError("lane_idle_ttl_ms must be at least registry_ttl_ms: dirt must outlive beliefs")
        if min(self.lease_ms, self.fold_max, self.lost_after_turns) < 1:
            raise ValueError("lease_ms, fold_max and lost_after_turns must be at least 1")

    @property
    def kills_to_go_alone(self) -> int:
        """With one chance left a head gets no batch: it must not be blamed for what another one does."""
        return max(1, self.max_kills - 1)


@dataclass(frozen=True, slots=True)
class GrantedIntent:
    """An intent that the holder may work on."""

    id: str
    payload: str
    """The intent as JSON."""
    accepted_at_ms: int
    attempts: int
    """Attempts begun, this one included for the head."""
    kills: int
    """Holders that never came back while this was the head."""
    first_accepted_ms: int | None = None
    """Of a replayed dead letter: when it was accepted before it died; `accepted_at_ms` is its return."""
    whole: bool = False
    """Of a replayed dead letter: nothing is to be left out of it."""

    @property
    def again(self) -> bool:
        """It is a replayed dead letter."""
        return self.first_accepted_ms is not None


@dataclass(frozen=True, slots=True)
class Grant:
    """The lane is yours until the lease ends, counted from before the call that gave it."""

    lane: str
    token: str
    fence: int
    now_ms: int
    facts_usable: bool
    """The last holder settled: the belief's field values may be used to skip a write."""
    open_write: str | None
    """A write of an earlier holder whose end is not known. It can no longer commit."""
    commit_until_ms: int | None
    """Since when (or until when, if it is your own) the open write can no longer commit."""
    journal: str | None
    belief: str | None
    memory: str | None
    intents: tuple[GrantedIntent, ...]
    """Head first, at least one."""

    @property
    def head(self) -> GrantedIntent:
        """The intent that must end first."""
        return self.intents[0]

    @property
    def attempts(self) -> int:
        """Attempts of the head, this one included."""
        return self.head.attempts

    @property
    def kills(self) -> int:
        """Holders that the head has outlived."""
        return self.head.kills


@dataclass(frozen=True, slots=True)
class Refused:
    """The turn ends here, without work; the lane is looked at again by somebody."""

    reason: Refusal
    at_ms: int | None
    """When there is a next chance, if that is known."""
    gate: Gate | None = None
    """What stands at the head, if that is why."""


@dataclass(frozen=True, slots=True)
class Gate:
    """The place that a change of address keeps in the lane of the new one."""

    id: str
    lane: str
    change: str
    """Id of the change, an intent of another lane."""


@dataclass(frozen=True, slots=True)
class Asked:
    """May the change of address have the lane of the new one now?"""

    answer: Literal["open", "busy", "missing"]
    """missing: it keeps no place there (any more)"""
    until_ms: int | None = None
    """When to ask again, if it is busy and that is known."""
    facts_usable: bool = False
    belief: str | None = None
    memory: str | None = None


@dataclass(frozen=True, slots=True)
class Check:
    """A look that an empty lane owes: put into it as an intent when its time has come."""

    id: str
    payload: str
    delay_ms: int


@dataclass(frozen=True, slots=True)
class Checkpointed:
    """What was handed over is stored, and the lease renewed."""

    now_ms: int
    commit_until_ms: int | None
    """When the open write can no longer commit; None if there is none."""


@dataclass(frozen=True, slots=True)
class Settled:
    """How the lane goes on."""

    status: SettledStatus
    """more: go on with `grant` · publish: send `turn` · left: others have the rest · asleep: nothing waits"""
    grant: Grant | None = None
    turn: Turn | None = None


@dataclass(frozen=True, slots=True)
class Replayed:
    """A dead letter stands in its lane again, or why not."""

    status: ReplayStatus
    """gone: it is no dead letter (any more) · lane_full, queue_full: the limit is reached
    erasing: an erasure waits in its lane, and the letter is older: it will go with the rest"""
    turn: Turn | None = None
    """To be published, if the lane was asleep."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """Answer to the wish for an external id's lock."""

    owned: bool
    busy_until_ms: int | None
    """When the other lane's lock ends at the latest, if not owned."""
    pointer: str | None
    """JSON of who the contact is, if owned and known."""
    versions: str | None = None
    """JSON of the versions that were applied to it, if owned and there are any."""


@dataclass(frozen=True, slots=True)
class TurnCounters:
    """Of one partition."""

    seq: Mapping[QueueName, int]
    """The newest turn of each queue."""
    claimed: Mapping[QueueName, int]
    """The newest turn of each queue that has been claimed."""
    pending: int
    """Intents accepted and not ended."""


@dataclass(frozen=True, slots=True)
class WaitingIntent:
    """An intent of a lane, for people."""

    id: str
    kind: str
    state: State
    attempts: int


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds, or held and never released, the lane."""

    token: str
    fence: int
    until_ms: int


@dataclass(frozen=True, slots=True)
class LaneView:
    """A lane as it stands, for people."""

    lane: str
    waiting: int
    intents: tuple[WaitingIntent, ...]
    """The first of those that wait."""
    holder: Holder | None
    dirty: bool
    due_ms: int | None
    sent: Mapping[QueueName, int]
    """Seq of the outstanding turn, by queue."""
    open_write: str | None
    commit_until_ms: int | None
    journal: str | None
    belief: str | None
    memory: str | None


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An intent that could not be applied, kept whole."""

    id: str
    lane: str
    kind: str
    buried_at_ms: int
    accepted_at_ms: int
    attempts: int
    payload: str
    error: str | None
    outcome: str | None
