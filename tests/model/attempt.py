"""An attempt at a batch: what is folded, what is known, and how it ends."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from onelane_worker.lanes.types import (
    KEEP,
    Ended,
    Fenced,
    GrantedIntent,
    Settled,
    StoredEntry,
)

from .faults import COMMIT_MS, LAG_MS
from .intercom import Seen, Write
from .judge import address_of
from .writing import PutBack, Sending, read

if TYPE_CHECKING:
    from .engines import Job
    from .world import Steps

LONG_AGO = -1e12
MARGIN_MS = 500.0


class Wish(NamedTuple):
    """An intent's payload."""

    kind: str
    """set, ext, change, erase, check"""
    value: int = 0
    external_id: str = ""
    version: int | None = None
    target: int = -1
    """Address to which the person moves."""
    schema: int = 1


class Entry(NamedTuple):
    """What a lane knows of its contact."""

    id: str | None
    value: int | None = None
    external_id: str = ""
    as_of: float = LONG_AGO
    gone: float = LONG_AGO
    """When a contact of this person was last found gone."""
    unsure: bool = False
    """It may have moved: it is to be read by id before it is believed."""


class Journal(NamedTuple):
    """A create whose result may be unknown."""

    ids: tuple[str, ...]
    external_id: str
    commit: float | None = None
    at: float = 0.0


def journal_of(grant: Any) -> Journal | None:
    """The journal of a grant; until when its create may commit, the open write tells."""
    journal: Journal | None = grant.journal
    if journal is not None and journal.commit is None:
        return journal._replace(commit=float(grant.commit_until_ms or grant.now_ms), at=float(grant.now_ms))
    return journal


class Attempt:
    """What all kinds of intents share."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.engine = job.engine
        self.history = job.engine.history
        self.rules = self.history.rules
        self.grant = job.grant
        self.address = address_of(job.lane)
        self.intents: Sequence[GrantedIntent] = job.grant.intents
        self.wishes: list[Wish] = [intent.payload for intent in self.intents]  # type: ignore[misc]
        self.entry: Entry | None = self.grant.registry  # type: ignore[assignment]
        self.journal = journal_of(job.grant)

    @property
    def head(self) -> GrantedIntent:
        return self.intents[0]

    @property
    def ids(self) -> list[str]:
        return [intent.id for intent in self.intents]

    # ── what is applied together ──

    def fold(self, count: int) -> None:
        self.intents, self.wishes = self.intents[:count], self.wishes[:count]

    def alike(self) -> int:
        """Length of the prefix that folds. Intents behind it never make it shorter."""
        first = self.wishes[0]
        if first.kind not in ("set", "ext"):
            return 1
        count = 1
        for one in self.wishes[1:]:
            same = one.external_id == first.external_id or not self.rules.folds_alike
            if one.kind != first.kind or not same or (one.version is None) != (first.version is None):
                break
            count += 1
        return count

    @property
    def version(self) -> int | None:
        return max((one.version for one in self.wishes if one.version is not None), default=None)

    @property
    def value(self) -> int:
        """The newest version wins; without versions the last intent does."""
        version = self.version
        for one in self.wishes:
            if version is not None and one.version == version:
                return one.value
        return self.wishes[-1].value

    @property
    def places(self) -> dict[int, int | None]:
        """A head at its last chances may bring back an older value: that is not judged."""
        place = self.history.judge.order.get(self.ids[-1]) if self.head.kills < 2 else None
        return {self.address: place}

    def is_superseded(self) -> bool:
        """Has a newer version been settled for this external id?"""
        version = self.wishes[0].version
        if version is None or not self.grant.locks:
            return False
        return version < int(self.grant.locks[0].versions.get("", "-1").split(" ", 1)[0])

    # ── what is known ──

    def doubtful(self, entry: Entry) -> bool:
        return entry.id is not None and (entry.unsure or entry.id in self.grant.moved)

    def read_doubtful(self) -> Steps[None]:
        assert self.entry is not None
        seen = yield from read(self.job, "get", self.entry.id)
        here = seen is not None and seen.address == self.address
        self.entry = self.entry_of(seen) if here else None

    def entry_of(self, seen: Seen) -> Entry:
        return Entry(seen.id, seen.value, seen.external_id, seen.as_of)

    def facts(self) -> Entry | None:
        """The entry, if its facts may be used to skip a write."""
        entry, epoch = self.entry, self.engine.epoch_ms
        if entry is None or entry.id is None or not self.grant.usable:
            return None
        if entry.as_of <= self.grant.outdated.get(entry.id, LONG_AGO):
            return None
        if epoch and self.rules.epoch_facts and entry.as_of <= epoch + 1:
            return None
        return entry

    def may_create(self, asked_at: float) -> bool:
        """Is the miss of a search that began then enough?"""
        wish, journal, epoch = self.wishes[0], self.journal, self.engine.epoch_ms
        gone = self.entry.gone if self.entry is not None else LONG_AGO
        since = gone
        if epoch and self.rules.epoch:
            since = max(since, epoch + (COMMIT_MS if self.rules.epoch_window else 0))
        if journal is not None:
            until = journal.commit or 0.0
            since = max(since, until if self.rules.window_from_commit else journal.at)
        if since < 0 or asked_at >= since + LAG_MS + MARGIN_MS:
            return True
        guarded = wish.external_id and journal is not None and journal.external_id == wish.external_id
        return bool(guarded) and gone == LONG_AGO

    def search(self, *, for_ext: str = "") -> Steps[Seen | None]:
        """A hit of the index that is confirmed by id."""
        hits = yield from read(self.job, "search", self.address)
        for hit in hits:
            seen = yield from read(self.job, "get", hit)
            other = for_ext and seen and seen.external_id not in ("", for_ext)
            if seen and seen.address == self.address and not other:
                return seen
        return None

    # ── endings ──

    def sending(self, made: Write, *, judged: bool = True, **named: Any) -> Sending:
        places: dict[int, int | None] = self.places if judged else {self.address: None}
        ids = self.ids if judged else []
        return Sending(made, places, ids, version=self.version, **named)

    def more(self) -> int:
        return self.engine.in_hand()

    def settle(self, entry: Any, **named: Any) -> Steps[Settled]:
        ended = [Ended(id, "done") for id in self.ids]
        settled: Settled = yield from self.job.call(
            "settle", ended, registry=stored(entry), more=self.more(), **named
        )
        return settled

    def bury(self, why: str = "rejected", entry: Any = KEEP, pointer: Entry | None = None) -> Steps[Any]:
        id = self.head.id
        try:
            settled = yield from self.job.call(
                "bury",
                id,
                why,
                "rejected",
                answered=self.job.answered,
                registry=stored(entry),
                target_pointer=stored(pointer) if pointer is not None else None,
                more=self.more(),
            )
        except Fenced as error:
            if str(error) != "open":
                raise
            raise PutBack(1_000, unknown=True) from None
        self.history.buried[id] = why
        self.history.active()
        return settled


def stored(entry: Any) -> Any:
    """An entry as the lane keeps it."""
    if entry is None or entry is KEEP:
        return entry
    return StoredEntry(entry, (entry.id,) if entry.id else ())
