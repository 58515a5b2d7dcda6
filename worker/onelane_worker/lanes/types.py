"""What goes into and comes out of a lane.

Registry, consent, journal, open write, error, outcome and timeline are JSON text that the lanes carry and
never read. Times are milliseconds of Redis' clock unless a name says otherwise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, Self, TypeVar

import msgspec

from onelane.submission import WAKE_MAX

if TYPE_CHECKING:
    from onelane_worker.settings import Settings

V = TypeVar("V")
DAY_MS: Final = 86_400_000


class Keep(StrEnum):
    KEEP = "keep"


KEEP: Final = Keep.KEEP
"""Leave what is stored as it is."""

Part = str | None | Keep
"""What to store: JSON text, None to clear, KEEP to leave it alone."""

PostponedState = Literal["retrying", "reconciling", "parked"]
BreakerState = Literal["closed", "streak", "half", "open", "paused"]
"""streak: closed, but failures are being counted, so that an answered call must be told."""
BreakerWord = Literal["ok", "failed", "refused", "pause", "resume", "rejected", "written"]


class LaneError(Exception):
    """Base of what the lanes raise."""


class Fenced(LaneError):
    """Nothing was stored or may be written: the lane is not this holder's any more (`fenced`), a later step
    was done (`stale`), or the head cannot be buried yet, as a write may commit or the journal names it
    (`open`)."""


class NoWorkspace(LaneError):
    """The workspace is not there, or has another secret by now: Redis was emptied. Nothing was done."""


@dataclass(frozen=True, slots=True)
class LaneSettings:
    """Times in milliseconds; meaning and defaults are those of the settings of the same names."""

    lease_ms: int = 5_000
    commit_ms: int = 31_000
    """Grace + HTTP time-out + tail: how long a recorded write may still commit."""
    failover_hold_ms: int = 31_000
    """In a new epoch nothing is granted for this long; 0: Redis cannot lose what it has acknowledged."""
    durable: bool = False
    """Redis cannot lose what it has acknowledged: another server is no epoch in which anything was lost."""
    new_redis: bool = False
    """This Redis was made for this start, so a first epoch can have lost nothing and begins without a hold. A
    process may say so of the first workspace that it opens only: if Redis is emptied later, writes of before
    may still be under way."""
    max_hold_ms: int = 120_000
    """Nobody goes on with a lane under the same lease for longer."""
    settle_window_ms: int = 600_000
    registry_ttl_ms: int = 900_000
    consent_ttl_ms: int = 30 * DAY_MS
    version_ttl_ms: int = DAY_MS
    status_ttl_ms: int = 7 * DAY_MS
    unchanged_ttl_ms: int = 3_600_000
    dedupe_ttl_ms: int = DAY_MS
    fold_max: int = 50
    batch_bytes: int = 65_536
    schema: int = 3
    """Newest payload schema this worker understands."""
    newer_ms: int = 60_000
    wake_max: int = WAKE_MAX
    requests_per_10s: int = 1_600
    lane_max: int = 10_000
    queue_max: int = 1_000_000
    """Limits of `replay`; producers pass their own to `submit`."""
    timeline_max: int = 200
    breaker_calls: int = 5
    breaker_lanes: int = 3
    probe_first_ms: int = 1_000
    probe_longest_ms: int = 15_000
    bulk_rejections: int = 20
    bulk_pause_ms: int = 15_000

    @classmethod
    def of(cls, settings: Settings, *, new_redis: bool = False) -> Self:
        """From the worker's settings. `new_redis`: this Redis was made for this start."""

        def ms(seconds: float) -> int:
            return round(seconds * 1000)

        return cls(
            durable=settings.redis_durable,
            new_redis=new_redis,
            lease_ms=ms(settings.lease_s),
            commit_ms=ms(settings.commit_s),
            failover_hold_ms=ms(settings.hold_s),
            max_hold_ms=ms(settings.max_hold_s),
            settle_window_ms=ms(settings.settle_window_s),
            registry_ttl_ms=ms(settings.registry_ttl_s),
            consent_ttl_ms=ms(settings.consent_memory_s),
            version_ttl_ms=ms(settings.version_memory_s),
            status_ttl_ms=ms(settings.status_ttl_s),
            unchanged_ttl_ms=ms(min(settings.unchanged_ttl_s, settings.status_ttl_s)),
            dedupe_ttl_ms=ms(settings.dedupe_ttl_s),
            fold_max=settings.fold_max,
            requests_per_10s=settings.requests_per_10s,
            lane_max=settings.lane_max,
            queue_max=settings.pending_max,
            breaker_calls=settings.breaker_calls,
            breaker_lanes=settings.breaker_lanes,
            probe_first_ms=min(1_000, ms(settings.parked_retry_s)),
            probe_longest_ms=ms(settings.parked_retry_s),
            bulk_rejections=settings.bulk_rejections,
            bulk_pause_ms=ms(settings.parked_retry_s),
        )


# ── what goes in: tuples of the words that a script takes ─────────────────────────────────────────────────


class Step(NamedTuple):
    """One call under a lease. Its number is made once, and kept across resends."""

    lane: str
    token: str
    fence: int
    number: int


class StoredEntry(NamedTuple):
    """A registry entry as the lane keeps it."""

    text: str
    """JSON."""
    about: tuple[str, ...] = ()
    """Digests of all contacts in it: the next grant tells what others did to them."""
    elsewhere: tuple[str, ...] = ()
    """Those of them that live at another address: an erasure of them must find this lane (`at:<lane>`)."""


RegistryPart = StoredEntry | None | Keep
"""What to store of the registry: an entry, None to clear, KEEP to leave it alone."""


class Ended(NamedTuple):
    """How one intent ended."""

    id: str
    outcome: str
    brief: bool = False
    """A bulk intent that changed nothing: its record lives for `unchanged_ttl_ms` only."""


class Check(NamedTuple):
    """A settle check that the lane owes from now on."""

    id: str
    """Intent id that it will have."""
    payload: str
    delay_ms: int
    only_in_new_epoch: bool = False
    """A guarded create: owed only in the first settle window of an epoch."""


class Left(NamedTuple):
    """A contact that moved away from a lane: what that lane knows of it is no longer true."""

    contact: str
    """Digest."""
    from_lane: str
    home: str
    """The lane where it lives now."""


class TargetEnd(NamedTuple):
    """What the lane of the new address is to know after a change of address."""

    registry: RegistryPart
    consent: Part


class ExtNote(NamedTuple):
    """What is remembered with an external id when the desired state holds."""

    digest: str
    pointer: Part
    versions: Mapping[str, str]
    """As in `Lock`."""


# ── what comes out: the words that a script answers, in their order ───────────────────────────────────────


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """Base of what is read from the words of an answer; the order of fields is that of the words."""


class ByName(dict[str, V]):
    """Read from {name, value, name, value, …}."""


class GrantedIntent(Answer, frozen=True):
    """An intent that the holder may work on."""

    id: str
    payload: str
    """The intent as JSON."""
    accepted_ms: int
    attempts: int
    """Attempts begun, this one included for the head."""
    kills: int
    """Processes that died while this was the head."""
    again_ms: int | None = None
    """Of a replayed dead letter: when it came back; `accepted_ms` is its first acceptance."""
    whole: bool = False
    """Of a replayed dead letter: nothing is to be left out of it."""
    burials: int = 0
    bulk: bool = False


class Lock(Answer, frozen=True):
    """An external id that the head names, locked by this grant."""

    digest: str
    pointer: str | None
    versions: ByName[str]
    """Source ("" for none) → `number intent ms`."""


class Target(Answer, frozen=True):
    """Of a change of address: what the lane of the new address knows."""

    lane: str
    usable: bool
    registry: str | None
    consent: str | None
    outdated: ByName[int]
    moved: ByName[int]


class Grant(Answer, frozen=True):
    """The lane is yours until the lease ends, counted from before the first send of what gave it."""

    lane: str
    token: str
    fence: int
    now_ms: int
    intents: tuple[GrantedIntent, ...]
    """The batch: a prefix of the queue, head first, at least one."""
    usable: bool
    """The last holder settled cleanly: the registry's facts may be used to skip a write."""
    error: str | None = None
    """The head's last error."""
    journal: str | None = None
    open_write: str | None = None
    """A write of an earlier holder whose end is not known; it can no longer commit."""
    commit_until_ms: int | None = None
    locks: tuple[Lock, ...] = ()
    target: Target | None = None
    registry: str | None = None
    consent: str | None = None
    outdated: ByName[int] = msgspec.field(default_factory=ByName)
    """Contact digest → ms: facts from before are not true any more (another lane wrote, or it moved)."""
    moved: ByName[int] = msgspec.field(default_factory=ByName)
    """Contact digest → ms when it moved to another lane than this one (`home`): its pointer is to be read
    first."""

    @property
    def head(self) -> GrantedIntent:
        return self.intents[0]


class Claimed(Answer, frozen=True):
    word: Literal["ok", "again", "stale", "open", "hold", "half"]
    grants: tuple[Grant, ...] = ()
    more: bool = False
    """More lanes are ready: claim again."""
    calls: int = 0
    """Calls reserved from the bucket beyond those in hand."""
    wait_ms: int = 0
    """When the bucket lets more lanes be claimed; 0: it does not stand in the way."""
    epoch_ms: int | None = None
    """Since when this server is on record; None: no epoch in which anything may have been lost."""
    breaker: BreakerState = "closed"
    bulk: BreakerState = "closed"
    """The breaker of bulk intents."""


class Ticked(Answer, frozen=True):
    lost: frozenset[tuple[str, int]]
    """(lane, fence) of the leases that are not this engine's any more."""
    ready: bool
    """Lanes are ready, or this tick made some ready."""
    breaker: BreakerState
    bulk: BreakerState
    probe: bool
    """This engine is to send the next probe."""
    due_in_ms: int | None = None
    """When the next lane is due, or its lease ends; 0: more are due now than one tick moves."""


class Reserved(Answer, frozen=True):
    """Calls taken from the bucket, and when more can be had (ms; 0 if all were given)."""

    calls: int
    wait_ms: int


class Checkpointed(Answer, frozen=True):
    word: Literal["ok", "ext_busy", "ext_lost"]
    commit_until_ms: int | None = None


class Settled(Answer, frozen=True):
    """The answer of settle and bury."""

    word: Literal["more", "left"]
    grant: Grant | None = None
    calls: int = 0
    """Calls reserved with `more`."""
    ready: bool = False
    """Lanes are ready now: worth a claim."""


class Postponed(Answer, frozen=True):
    due_ms: int
    ready: bool = False


class BreakerView(Answer, frozen=True):
    """How the line stands."""

    state: BreakerState
    since_ms: int = 0
    next_ms: int = 0
    problem: str = ""
    """JSON of the problem, or an operator's reason."""
    sort: str = "reads"
    changed: bool = False
    """This call changed the state."""


class Replayed(Answer, frozen=True):
    word: Literal["accepted", "gone", "lane_full", "queue_full", "erasing"]
    wake: bool = False
