"""How an engine serves a batch: a small planner with the laws of the real one.

It folds alike intents, finds the contact, creates only where a search may be believed, writes what differs,
and settles, buries or puts back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from onelane_worker.lanes.types import (
    KEEP,
    Check,
    ContactWrite,
    Ended,
    ExtNote,
    GrantedIntent,
    Left,
    More,
    Settled,
    StillOpen,
    StoredEntry,
    TargetEnd,
)

from .faults import CHECK_MS, COMMIT_MS, LAG_MS, Crash
from .intercom import Seen, Write
from .judge import Settling, address_of
from .writing import PutBack, Sending, read, write

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


def serve(job: Job) -> Steps[Settled | None]:
    """One attempt. None: the lane was put back."""
    try:
        return (yield from _Attempt(job).run())
    except PutBack as back:
        journal = back.named.pop("journal")
        journal = journal_of(job.grant) if journal is KEEP else journal
        yield from job.call("postpone", int(back.delay_ms), "retrying", journal=journal, **back.named)
        return None


@dataclass
class _Found:
    """Whom the wish is about."""

    id: str | None = None
    fact: Seen | Entry | None = None
    """How the contact is, if that is known."""
    home: int = -1


class _Attempt:
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

    def run(self) -> Steps[Settled | None]:
        history, wish = self.history, self.wishes[0]
        if any(one.schema > self.engine.settings.schema for one in self.wishes):
            history.violation("a payload is too new for this worker")
        if self.head.kills >= history.settings.max_kills and self.rules.last_chance_unwritten:
            return (yield from self._last_chance())
        if any(history.poison.get(id) == "grant" for id in self.ids):
            history.crash(self.engine, "poison")
            raise Crash
        if self.engine.stopping:
            raise PutBack(0)
        self._fold(self._alike())
        if wish.kind == "change":
            return (yield from self._change())
        if self.entry is not None and self._doubtful(self.entry) and wish.kind != "check":
            yield from self._read_doubtful()
        if wish.kind == "check":
            return (yield from self._check())
        return (yield from self._apply())

    # ── what is applied together ──

    def _fold(self, count: int) -> None:
        self.intents, self.wishes = self.intents[:count], self.wishes[:count]

    def _alike(self) -> int:
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
    def _version(self) -> int | None:
        return max((one.version for one in self.wishes if one.version is not None), default=None)

    @property
    def _value(self) -> int:
        """The newest version wins; without versions the last intent does."""
        version = self._version
        for one in self.wishes:
            if version is not None and one.version == version:
                return one.value
        return self.wishes[-1].value

    @property
    def _places(self) -> dict[int, int | None]:
        """A head at its last chances may bring back an older value: that is not judged."""
        place = self.history.judge.order.get(self.ids[-1]) if self.head.kills < 2 else None
        return {self.address: place}

    def _is_superseded(self) -> bool:
        """Has a newer version been settled for this external id?"""
        version = self.wishes[0].version
        if version is None or not self.grant.locks:
            return False
        return version < int(self.grant.locks[0].versions.get("", "-1").split(" ", 1)[0])

    # ── what is known ──

    def _doubtful(self, entry: Entry) -> bool:
        return entry.id is not None and (entry.unsure or entry.id in self.grant.moved)

    def _read_doubtful(self) -> Steps[None]:
        assert self.entry is not None
        seen = yield from read(self.job, "get", self.entry.id)
        here = seen is not None and seen.address == self.address
        self.entry = self._entry_of(seen) if here else None

    def _entry_of(self, seen: Seen) -> Entry:
        return Entry(seen.id, seen.value, seen.external_id, seen.as_of)

    def _facts(self) -> Entry | None:
        """The entry, if its facts may be used to skip a write."""
        entry, epoch = self.entry, self.engine.epoch_ms
        if entry is None or entry.id is None or not self.grant.usable:
            return None
        if entry.as_of <= self.grant.outdated.get(entry.id, LONG_AGO):
            return None
        if epoch and self.rules.epoch_facts and entry.as_of <= epoch + 1:
            return None
        return entry

    def _may_create(self, asked_at: float) -> bool:
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

    def _search(self, *, for_ext: str = "") -> Steps[Seen | None]:
        """A hit of the index that is confirmed by id."""
        hits = yield from read(self.job, "search", self.address)
        for hit in hits:
            seen = yield from read(self.job, "get", hit)
            other = for_ext and seen and seen.external_id not in ("", for_ext)
            if seen and seen.address == self.address and not other:
                return seen
        return None

    # ── set, ext, erase ──

    def _apply(self) -> Steps[Settled | None]:
        wish = self.wishes[0]
        if self.journal is None and self._is_superseded():
            self._fold(1)
            return (yield from self._settle(KEEP))
        found = _Found(self.entry.id if self.entry else None, self._facts(), self.address)
        if wish.external_id:
            if self.entry is not None and self.entry.external_id not in ("", wish.external_id):
                found.id = found.fact = None
            seen = yield from read(self.job, "find", wish.external_id)
            if seen is not None:
                found = _Found(seen.id, seen, seen.address)
            if self.journal is not None and self._is_superseded():
                self._fold(1)
                return (yield from self._settle(self._here(seen)))
        if found.id is None:
            asked_at = self.history.now
            seen = yield from self._search(for_ext=wish.external_id)
            if seen is not None:
                found = _Found(seen.id, seen, self.address)
            elif wish.kind != "erase" and not (wish.external_id and self.journal is None):
                if not self._may_create(asked_at):
                    raise PutBack(self.history.between(3_000, 20_000), counted=self.journal is None)
        if wish.kind == "erase":
            return (yield from self._erase(found))
        created = False
        if found.id is None:
            reply = yield from self._create(wish)
            if reply == "rejected":
                return (yield from self._blame())
            if isinstance(reply, Seen):
                found, created = _Found(reply.id, reply, self.address), True
            else:
                found = yield from self._adopt(str(reply))
        return (yield from self._update_and_settle(found, created))

    def _here(self, seen: Seen | None) -> Any:
        """An entry of a contact that lives here."""
        return self._entry_of(seen) if seen is not None and seen.address == self.address else KEEP

    def _erase(self, found: _Found) -> Steps[Settled]:
        if found.id is not None:
            sending = Write("delete", found.id)
            yield from write(self.job, self._sending(sending))
        elif self.history.now < self.head.accepted_ms + LAG_MS + MARGIN_MS:
            wait = self.head.accepted_ms + LAG_MS + 1_000 - self.history.now
            raise PutBack(max(100.0, wait))
        yield from self.job.call("scrub", "erased", (), (found.id,) if found.id else ())
        return (yield from self._settle(Entry(None, gone=self.history.now, as_of=self.history.now)))

    def _create(self, wish: Wish) -> Steps[Seen | str]:
        journal = Journal(tuple(self.ids), wish.external_id)
        made = Write("create", "", self.address, wish.external_id, self._value)
        return (yield from write(self.job, self._sending(made, journal=journal)))

    def _adopt(self, reply: str) -> Steps[_Found]:
        """Somebody has this external id already."""
        id = reply.removeprefix("conflict ")
        try:
            seen = yield from read(self.job, "get", id)
        except PutBack as back:
            back.named["journal"] = None
            raise
        if seen is None:
            raise PutBack(self.history.between(500, 4_000), journal=None, counted=True)
        return _Found(id, None, seen.address)

    def _update_and_settle(self, found: _Found, created: bool) -> Steps[Settled | None]:
        wish, value = self.wishes[0], self._value
        fact, skipped = found.fact, False
        holds = fact is not None and fact.value == value
        if fact is not None and holds and wish.external_id in ("", fact.external_id):
            skipped = isinstance(fact, Entry) and fact is self.entry
        elif not created:
            away = None
            if found.home != self.address:
                away = ContactWrite(str(found.id), f"{found.home}@{self.engine.secret}")
            update = Write("update", str(found.id), found.home, wish.external_id, value)
            reply = yield from write(self.job, self._sending(update, elsewhere=away))
            if reply == "rejected":
                return (yield from self._blame())
            if not isinstance(reply, Seen):
                raise self._gone(found)
            fact = reply
        skipped_at = float(self.grant.now_ms) if skipped else None
        version = self._version
        key = (self.job.lane, self.job.fence, self.job.steps + 1)
        said = Settling(str(found.id), value, wish.external_id, version, skipped_at)
        self.history.judge.settling[key] = said
        notes = self._notes(str(found.id), wish, version)
        check = self._owed(wish) if created else KEEP
        return (yield from self._settle(self._known(found, fact), ext=notes, check=check))

    def _gone(self, found: _Found) -> PutBack:
        """A 404: the person is looked for anew, and a search must be younger than this."""
        now = self.history.now
        entry = Entry(None, gone=now, as_of=now) if found.home == self.address else KEEP
        return PutBack(1_000, journal=None, registry=_stored(entry))

    def _known(self, found: _Found, fact: Any) -> Any:
        """What to store: facts only of a contact that lives here."""
        if fact is not None and getattr(fact, "address", self.address) == self.address:
            return Entry(found.id, fact.value, fact.external_id, fact.as_of)
        before = self.entry
        if found.home == self.address or before is None or before.id in (None, found.id):
            return KEEP
        return Entry(before.id)

    def _notes(self, id: str, wish: Wish, version: int | None) -> list[ExtNote]:
        if not wish.external_id:
            return []
        digest = f"{wish.external_id}@{self.engine.secret}"
        versions = {"": f"{version} {self.ids[-1]} 0"} if version is not None else {}
        return [ExtNote(digest, id, versions)]

    def _owed(self, wish: Wish) -> Check:
        """A create may stand beside somebody else's contact that the index hid."""
        id = self.history.new_check_id()
        return Check(id, Wish("check"), CHECK_MS, bool(wish.external_id))  # type: ignore[arg-type]

    # ── the settle check ──

    def _check(self) -> Steps[Settled | None]:
        """A lead beside a user of one address is merged into the user."""
        hits = yield from read(self.job, "search", self.address)
        here = []
        for hit in hits:
            seen = yield from read(self.job, "get", hit)
            if seen and seen.address == self.address:
                here.append(seen)
        leads = [one for one in here if not one.external_id]
        users = [one for one in here if one.external_id]
        entry: Any = KEEP
        if leads and users:
            merge = Write("merge", leads[0].id, other=users[0].id)
            yield from write(self.job, self._sending(merge, judged=False))
            if len(leads) > 1:
                raise PutBack(100, journal=None)
            entry = Entry(users[0].id, external_id=users[0].external_id)
        return (yield from self._settle(entry))

    # ── a change of address ──

    def _change(self) -> Steps[Settled | None]:
        wish = self.wishes[0]
        found = self.entry.id if self.entry else None
        if not found:
            hit = yield from self._search()
            found = hit.id if hit else None
        if not found:
            return (yield from self._settle(KEEP))
        seen = yield from read(self.job, "get", found)
        if seen is not None and seen.address == wish.target:  # an earlier attempt has moved it
            return (yield from self._settle_change(seen))
        now = self.history.now
        if seen is None or seen.address != self.address:
            return (yield from self._settle(Entry(None, gone=now, as_of=now)))
        if self.history.rejects(self.head.id) and self.rules.arrival_read and self.history.random.random() < 0.5:
            return (yield from self._bury())
        other = yield from self._at_target(wish)
        move = Write("move", seen.id, wish.target, seen.external_id, other=other)
        further = f"{seen.external_id}@{self.engine.secret}" if seen.external_id else None
        sending = self._sending(move)._replace(further_ext=further, addresses=self._both(wish))
        reply = yield from write(self.job, sending)
        if reply == "rejected":
            return (yield from self._bury())
        if not isinstance(reply, Seen):
            raise PutBack(1_000, journal=None, registry=_stored(Entry(None, gone=now, as_of=now)))
        return (yield from self._settle_change(reply))

    def _both(self, wish: Wish) -> dict[int, int | None]:
        place = self.history.judge.order.get(self.head.id)
        return {self.address: place, wish.target: place}

    def _at_target(self, wish: Wish) -> Steps[str]:
        """The contact that lives at the new address."""
        target = self.grant.target
        known: Entry | None = target.registry if target is not None else None  # type: ignore[assignment]
        if known is not None and known.id:
            return known.id
        hits = yield from read(self.job, "search", wish.target)
        other = ""
        for hit in hits:
            seen = yield from read(self.job, "get", hit)
            if seen and seen.address == wish.target:
                other = seen.id
        return other

    def _settle_change(self, seen: Seen) -> Steps[Settled]:
        target = f"{self.wishes[0].target}@{self.engine.secret}"
        end = TargetEnd(_stored(self._entry_of(seen)), KEEP)
        left = [Left(seen.id, self.job.lane, target)]
        now = self.history.now
        return (yield from self._settle(Entry(None, as_of=now), target=end, left=left))

    # ── endings ──

    def _sending(self, made: Write, *, judged: bool = True, **named: Any) -> Sending:
        places = self._places if judged else {self.address: None}
        ids = self.ids if judged else []
        return Sending(made, places, ids, version=self._version, **named)

    def _more(self) -> More:
        return More(self.engine.in_hand())

    def _settle(self, entry: Any, **named: Any) -> Steps[Settled]:
        ended = [Ended(id, "done") for id in self.ids]
        settled: Settled = yield from self.job.call(
            "settle", ended, registry=_stored(entry), more=self._more(), **named
        )
        return settled

    def _bury(self, why: str = "rejected", entry: Any = KEEP, pointer: Entry | None = None) -> Steps[Any]:
        id = self.head.id
        try:
            settled = yield from self.job.call(
                "bury",
                id,
                why,
                "rejected",
                answered=self.job.answered,
                registry=_stored(entry),
                target_pointer=_stored(pointer) if pointer is not None else None,
                more=self._more(),
            )
        except StillOpen:
            raise PutBack(1_000, unknown=True) from None
        self.history.buried[id] = why
        self.history.active()
        return settled

    def _blame(self) -> Steps[Settled | None]:
        """Intercom rejected the fold: the first that is at fault is buried, those before it go without it."""
        history = self.history
        for count, id in enumerate(self.ids):
            if not history.rejects(id):
                continue
            if count == 0:
                return (yield from self._reject(self.intents[0]))
            yield from self.job.call("clear", None)
            self._fold(count)
            self.job.answered = None
            self.journal = None
            self.job.grant = _first(self.grant, count)
            return (yield from serve(self.job))
        raise PutBack(history.between(500, 4_000), journal=None)

    def _reject(self, intent: GrantedIntent) -> Steps[Settled | None]:
        """Bulk intents that are rejected alike are kept while their class is stopped."""
        history = self.history
        why = "alike" if intent.id in history.alike else "rejected"
        if why == "alike":
            view = yield from self.engine.script("breaker", "rejected", lane=why, problem="{}", bulk=True)
            if view.state == "open":
                history.judge.bulk_not_before = history.now + history.settings.bulk_pause_ms - 100
                raise PutBack(history.between(500, 4_000), journal=None, counted=None)
        return (yield from self._bury(why))

    def _last_chance(self) -> Steps[Settled | None]:
        """A head with all kills is not written any more. Only what may be unknown is found out."""
        history, head = self.history, self.head
        history.judge.buries(head.id, head.id in history.poison, head.kills)
        if self.journal is not None and head.id in self.journal.ids:
            return (yield from self._reconcile(self.journal))
        if self.wishes[0].kind == "change" and self.entry is not None and self.entry.id:
            pointer = Entry(self.entry.id, external_id=self.entry.external_id, unsure=True)
            return (yield from self._bury("killed", pointer, pointer))
        return (yield from self._bury("killed"))

    def _reconcile(self, journal: Journal) -> Steps[Settled | None]:
        asked_at, seen = self.history.now, None
        if journal.external_id:
            seen = yield from read(self.job, "find", journal.external_id)
        if seen is None:
            seen = yield from self._search()
        epoch = self.engine.epoch_ms
        since = max(journal.commit or 0.0, epoch + COMMIT_MS if epoch else 0.0)
        if seen is None and asked_at < since + LAG_MS + MARGIN_MS:
            raise PutBack(self.history.between(3_000, 20_000))
        yield from self.job.call("clear", None)
        return (yield from self._bury("killed", self._here(seen)))


def _first(grant: Any, count: int) -> Any:
    """The grant, with fewer intents and without its journal."""
    return replace(grant, intents=grant.intents[:count], journal=None)


def _stored(entry: Any) -> Any:
    """An entry as the lane keeps it."""
    if entry is None or entry is KEEP:
        return entry
    return StoredEntry(entry, (entry.id,) if entry.id else ())
