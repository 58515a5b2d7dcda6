"""From the registry into a turn, and back.

`recall` makes the turn's `Knowledge` out of the entry, `absorb` adds what each reply says, `record` makes the
next entry. A entry says for longer *who* than *what*, and about a lead only for a while even that.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from onelane_worker.planner.absorb import absorb
from onelane_worker.planner.policy import Policy
from onelane_worker.planner.registry import AttemptLog, Contact, Journal, RegistryEntry, Tombstone
from onelane_worker.planner.state import Clash, Knowledge

__all__ = ["Clash", "Knowledge", "absorb", "ended", "recall", "record"]


def recall(
    email: str,
    external_id: str | None,
    entry: RegistryEntry,
    journal: Journal | None,
    policy: Policy,
    now_ms: int,
    epoch_ms: int | None = None,
) -> Knowledge:
    """What the registry still may say.

    `epoch_ms`: when Redis last may have lost a moment, if it ever did.
    """
    life_ms = policy.registry_ttl_ms
    stale = {known.id for known in entry.contacts if _is_stale(known, email, life_ms, now_ms)}
    complete = not stale and _young(entry.searched_ms, life_ms, now_ms)
    kept = [_doubted(k) if k.id in stale else k for k in entry.contacts if k.id not in stale or k.is_ours]
    return Knowledge(
        email=email,
        external_id=external_id,
        settle_window_ms=policy.settle_window_ms,
        epoch_ms=epoch_ms,
        contacts={
            known.id: _with_young_facts(_at_home(known, email), max(now_ms - life_ms, epoch_ms or 0))
            for known in kept
        },
        primary=entry.primary,
        tombstones=_young_stones(entry.tombstones, life_ms, now_ms),
        looked_ms=entry.searched_ms if complete else None,
        missed_ms=entry.clashed_ms,
        unarchive_failures=entry.unarchive_failures,
        journal=journal,
        log=entry.log,
    )


def ended(know: Knowledge) -> Knowledge:
    """The head has ended, however it did: what was kept for it alone must not reach the next one."""
    return replace(know, missed_ms=None, log=AttemptLog())


def record(know: Knowledge, primary: str | None, policy: Policy, now_ms: int) -> RegistryEntry:
    """The entry to store. `primary`: whom the desired state ended with; None if it goes on, or ended with
    nobody."""
    if primary is not None:
        know = ended(_without_lost(know))
    primary = primary or know.primary
    return RegistryEntry(
        contacts=tuple(
            _at_home(known, know.email)
            for known in sorted(know.contacts.values(), key=lambda known: known.age_key)
        ),
        primary=primary if primary in know.contacts else None,
        searched_ms=know.looked_ms,
        tombstones=_young_stones(know.tombstones, policy.registry_ttl_ms, now_ms),
        clashed_ms=know.missed_ms,
        unarchive_failures=dict(know.unarchive_failures),
        log=know.log,
    )


def elsewhere(entry: RegistryEntry, email: str) -> tuple[str, ...]:
    """The contacts of an entry that live at another address than `email`."""
    return tuple(known.id for known in entry.contacts if known.email != email)


def _is_stale(known: Contact, email: str, life_ms: int, now_ms: int) -> bool:
    """R3: a lead's pointer ages from its resolution, so that a busy lane looks again now and then and finds a
    user made elsewhere. So do pointers to contacts of other addresses, and to those that are lost."""
    if known.lost_ms is not None:
        return now_ms - known.lost_ms > life_ms
    ages = known.role == "lead" or known.email != email
    return ages and now_ms - known.resolved_ms > life_ms


def _doubted(known: Contact) -> Contact:
    """A lead of ours is not forgotten, only looked up again: it may have to be merged into a user (R22)."""
    return replace(known, confirmed=False, facts=None, lost_ms=None)


def _at_home(known: Contact, email: str) -> Contact:
    """Who lives at another address is written to from there, and nobody tells us: a pointer, but no facts."""
    return known if known.email == email else replace(known, facts=None)


def _with_young_facts(known: Contact, oldest_ms: int) -> Contact:
    """R2: facts are for skipping writes only while they are young, and none outlives its epoch."""
    if known.facts is None or known.facts.as_of_ms >= oldest_ms:
        return known
    return replace(known, facts=None)


def _young(at_ms: int | None, life_ms: int, now_ms: int) -> bool:
    return at_ms is not None and now_ms - at_ms <= life_ms


def _young_stones(stones: Mapping[str, Tombstone], life_ms: int, now_ms: int) -> dict[str, Tombstone]:
    return {contact_id: stone for contact_id, stone in stones.items() if now_ms - stone.at_ms <= life_ms}


def _without_lost(know: Knowledge) -> Knowledge:
    """The person lives on in another contact: who answered 404 is not asked back any more."""
    for known in tuple(know.contacts.values()):
        if known.lost_ms is not None:
            know = know.bury(known.id, Tombstone(why="gone", at_ms=known.lost_ms))
    return know
