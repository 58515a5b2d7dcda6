"""How an engine serves a batch: a small planner with the laws of the real one.

It folds alike intents, finds the contact, creates only where a search may be believed, writes what differs,
and settles, buries or puts back.
"""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from onelane_worker.lanes.types import (
    KEEP,
    Check,
    ExtNote,
    GrantedIntent,
    Left,
    Settled,
    TargetEnd,
)

from .attempt import MARGIN_MS, Attempt, Entry, Journal, Wish, journal_of, stored
from .faults import CHECK_MS, COMMIT_MS, LAG_MS, MAX_KILLS, Crash
from .intercom import Seen, Write
from .judge import Settling
from .writing import PutBack, read, write

if TYPE_CHECKING:
    from .engines import Job
    from .world import Steps


def serve(job: Job) -> Steps[Settled | None]:
    """One attempt. None: the lane was put back."""
    try:
        return (yield from _Serving(job).run())
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


class _Serving(Attempt):
    """One attempt, by the kind of its head."""

    def run(self) -> Steps[Settled | None]:
        history, wish = self.history, self.wishes[0]
        if any(one.schema > self.engine.settings.schema for one in self.wishes):
            history.violation("a payload is too new for this worker")
        if self.head.kills >= MAX_KILLS and self.rules.last_chance_unwritten:
            return (yield from self._last_chance())
        if any(history.poison.get(id) == "grant" for id in self.ids):
            history.crash(self.engine, "poison")
            raise Crash
        if self.engine.stopping:
            raise PutBack(0)
        self.fold(self.alike())
        if wish.kind == "change":
            return (yield from self._change())
        if self.entry is not None and self.doubtful(self.entry) and wish.kind != "check":
            yield from self.read_doubtful()
        if wish.kind == "check":
            return (yield from self._check())
        return (yield from self._apply())

    # ── set, ext, erase ──

    def _apply(self) -> Steps[Settled | None]:
        wish = self.wishes[0]
        if self.journal is None and self.is_superseded():
            self.fold(1)
            return (yield from self.settle(KEEP))
        found = _Found(self.entry.id if self.entry else None, self.facts(), self.address)
        if wish.external_id:
            if self.entry is not None and self.entry.external_id not in ("", wish.external_id):
                found.id = found.fact = None
            seen = yield from read(self.job, "find", wish.external_id)
            if seen is not None:
                found = _Found(seen.id, seen, seen.address)
            if self.journal is not None and self.is_superseded():
                self.fold(1)
                return (yield from self.settle(self.here(seen)))
        if found.id is None:
            asked_at = self.history.now
            seen = yield from self.search(for_ext=wish.external_id)
            if seen is not None:
                found = _Found(seen.id, seen, self.address)
            elif wish.kind != "erase" and not (wish.external_id and self.journal is None):
                if not self.may_create(asked_at):
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

    def here(self, seen: Seen | None) -> Any:
        """An entry of a contact that lives here."""
        return self.entry_of(seen) if seen is not None and seen.address == self.address else KEEP

    def _erase(self, found: _Found) -> Steps[Settled]:
        if found.id is not None:
            sending = Write("delete", found.id)
            yield from write(self.job, self.sending(sending))
        elif self.history.now < self.head.accepted_ms + LAG_MS + MARGIN_MS:
            wait = self.head.accepted_ms + LAG_MS + 1_000 - self.history.now
            raise PutBack(max(100.0, wait))
        yield from self.job.call("scrub", "erased", (), (found.id,) if found.id else ())
        return (yield from self.settle(Entry(None, gone=self.history.now, as_of=self.history.now)))

    def _create(self, wish: Wish) -> Steps[Seen | str]:
        journal = Journal(tuple(self.ids), wish.external_id)
        made = Write("create", "", self.address, wish.external_id, self.value)
        return (yield from write(self.job, self.sending(made, journal=journal)))

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
        wish, value = self.wishes[0], self.value
        fact, skipped = found.fact, False
        holds = fact is not None and fact.value == value
        if fact is not None and holds and wish.external_id in ("", fact.external_id):
            skipped = isinstance(fact, Entry) and fact is self.entry
        elif not created:
            away = (str(found.id),) if found.home != self.address else ()
            update = Write("update", str(found.id), found.home, wish.external_id, value)
            reply = yield from write(self.job, self.sending(update, elsewhere=away))
            if reply == "rejected":
                return (yield from self._blame())
            if not isinstance(reply, Seen):
                raise self._gone(found)
            fact = reply
        skipped_at = float(self.grant.now_ms) if skipped else None
        version = self.version
        key = (self.job.lane, self.job.fence, self.job.steps + 1)
        said = Settling(str(found.id), value, wish.external_id, version, skipped_at)
        self.history.judge.settling[key] = said
        notes = self.notes(str(found.id), wish, version)
        check = self._owed(wish) if created else KEEP
        return (yield from self.settle(self._known(found, fact), ext=notes, check=check))

    def _gone(self, found: _Found) -> PutBack:
        """A 404: the person is looked for anew, and a search must be younger than this."""
        now = self.history.now
        entry = Entry(None, gone=now, as_of=now) if found.home == self.address else KEEP
        return PutBack(1_000, journal=None, registry=stored(entry))

    def _known(self, found: _Found, fact: Any) -> Any:
        """What to store: facts only of a contact that lives here."""
        if fact is not None and getattr(fact, "address", self.address) == self.address:
            return Entry(found.id, fact.value, fact.external_id, fact.as_of)
        before = self.entry
        if found.home == self.address or before is None or before.id in (None, found.id):
            return KEEP
        return Entry(before.id)

    def notes(self, id: str, wish: Wish, version: int | None) -> list[ExtNote]:
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
            yield from write(self.job, self.sending(merge, judged=False))
            if len(leads) > 1:
                raise PutBack(100, journal=None)
            entry = Entry(users[0].id, external_id=users[0].external_id)
        return (yield from self.settle(entry))

    # ── a change of address ──

    def _change(self) -> Steps[Settled | None]:
        wish = self.wishes[0]
        found = self.entry.id if self.entry else None
        if not found:
            hit = yield from self.search()
            found = hit.id if hit else None
        if not found:
            return (yield from self.settle(KEEP))
        seen = yield from read(self.job, "get", found)
        if seen is not None and seen.address == wish.target:  # an earlier attempt has moved it
            return (yield from self._settle_change(seen))
        now = self.history.now
        if seen is None or seen.address != self.address:
            return (yield from self.settle(Entry(None, gone=now, as_of=now)))
        if (
            self.history.rejects(self.head.id)
            and self.rules.arrival_read
            and self.history.random.random() < 0.5
        ):
            return (yield from self.bury())
        other = yield from self._at_target(wish)
        move = Write("move", seen.id, wish.target, seen.external_id, other=other)
        further = f"{seen.external_id}@{self.engine.secret}" if seen.external_id else None
        sending = self.sending(move)._replace(further_ext=further, addresses=self._both(wish))
        reply = yield from write(self.job, sending)
        if reply == "rejected":
            return (yield from self.bury())
        if not isinstance(reply, Seen):
            raise PutBack(1_000, journal=None, registry=stored(Entry(None, gone=now, as_of=now)))
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
        end = TargetEnd(stored(self.entry_of(seen)), KEEP)
        left = [Left(seen.id, self.job.lane, target)]
        now = self.history.now
        return (yield from self.settle(Entry(None, as_of=now), target=end, left=left))

    def _blame(self) -> Steps[Settled | None]:
        """Intercom rejected the fold: the first that is at fault is buried, those before it go without it."""
        history = self.history
        for count, id in enumerate(self.ids):
            if not history.rejects(id):
                continue
            if count == 0:
                return (yield from self._reject(self.intents[0]))
            yield from self.job.call("clear", None)
            self.fold(count)
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
        return (yield from self.bury(why))

    def _last_chance(self) -> Steps[Settled | None]:
        """A head with all kills is not written any more. Only what may be unknown is found out."""
        history, head = self.history, self.head
        history.judge.buries(head.id, head.id in history.poison, head.kills)
        if self.journal is not None and head.id in self.journal.ids:
            return (yield from self._reconcile(self.journal))
        if self.wishes[0].kind == "change" and self.entry is not None and self.entry.id:
            pointer = Entry(self.entry.id, external_id=self.entry.external_id, unsure=True)
            return (yield from self.bury("killed", pointer, pointer))
        return (yield from self.bury("killed"))

    def _reconcile(self, journal: Journal) -> Steps[Settled | None]:
        asked_at, seen = self.history.now, None
        if journal.external_id:
            seen = yield from read(self.job, "find", journal.external_id)
        if seen is None:
            seen = yield from self.search()
        epoch = self.engine.epoch_ms
        since = max(journal.commit or 0.0, epoch + COMMIT_MS if epoch else 0.0)
        if seen is None and asked_at < since + LAG_MS + MARGIN_MS:
            raise PutBack(self.history.between(3_000, 20_000))
        yield from self.job.call("clear", None)
        return (yield from self.bury("killed", self.here(seen)))


def _first(grant: Any, count: int) -> Any:
    """The grant, with fewer intents and without its journal."""
    return replace(grant, intents=grant.intents[:count], journal=None)
