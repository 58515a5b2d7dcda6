"""A change of address: the rules for the one kind of intent that concerns two addresses.

It is planned in the lane of the old address, and its grant holds the lane of the new one, too: the registry
entries of both are known. One search asks for both addresses.

| who moves (of the old address)       | at the new address   | next                                         |
|--------------------------------------|----------------------|----------------------------------------------|
| none                                 | a contact            | unchanged: there already                     |
| none                                 | none                 | a second look a settle window later, skipped |
| only one that answers 404            | any                  | the same, skipped `archived`                 |
| user, lead                           | none                 | write the address                            |
| user                                 | leads                | the same; leads of ours, if young, merged    |
|                                      |                      | into it (R22); others stay, and are reported |
| lead                                 | one user             | the lead is merged into the user             |
| user                                 | a user               | rejected `address_taken`                     |
| lead                                 | leads, several users | rejected `address_taken`                     |
| several users, no external id named  | any                  | rejected `ambiguous`                         |

A user with another external id than the one named is another account and stays where it is.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from onelane.results import Outcome
from onelane_worker.planner import operations as op
from onelane_worker.planner.fold import DesiredState
from onelane_worker.planner.knowledge import Knowledge, ended, recall, record
from onelane_worker.planner.policy import Policy
from onelane_worker.planner.reconcile import dead_end, journal, loops
from onelane_worker.planner.registry import ConsentMemory, Contact, RegistryEntry, Tombstone
from onelane_worker.planner.situation import Situation, Step, merge_stray, read_first
from onelane_worker.planner.verdicts import Finish, Reject, Skip, Wait


def plan(s: Situation) -> Step:
    """The next step of a change of address."""
    rules = (loops, dead_end, journal, _refused, _arrived, _look, _absent)
    step = next((step for rule in rules if (step := rule(s)) is not None), None)
    return _move(s, _who(s)[0]) if step is None else step


# ── who is it? ────────────────────────────────────────────────────────────────────────────────────────────


def _who(s: Situation) -> tuple[Contact, ...]:
    """The contacts that may be the person who moves, the likeliest first."""
    named = s.desired.external_id
    if named is None:
        return s.choice.pool
    return tuple(k for k in s.choice.pool if k.role == "lead" or k.external_id in (None, named))


def _holders(s: Situation) -> tuple[Contact, ...]:
    """The contacts of the new address."""
    there = [k for k in s.know.contacts.values() if k.email == s.desired.new_email and k.lost_ms is None]
    return tuple(sorted(there, key=lambda contact: (contact.role == "lead", contact.age_key)))


def _look(s: Situation) -> Step | None:
    """Both addresses are searched, and every hit is read before it is moved or merged."""
    external_id, know = s.desired.external_id, s.know
    sure = any(contact.confirmed and contact.external_id == external_id for contact in s.choice.pool)
    if external_id is not None and not sure and external_id not in know.asked:
        return op.FindByExternalId(external_id)
    if know.search_ms is None:
        return s.search()
    return read_first((*s.choice.pool, *_holders(s)))


def _absent(s: Situation) -> Step | None:
    """No contact of the old address: it is at the new one already, or not visible yet (R31)."""
    who, named = _who(s), s.desired.external_id
    if who:
        users = sum(contact.role == "user" for contact in who)
        return Reject("ambiguous", other_contacts=_ids(who)) if named is None and users > 1 else None
    there = [k for k in _holders(s) if named is None or k.role == "lead" or k.external_id in (None, named)]
    if there:
        return Finish(there[0].id)
    if s.choice.pool:
        return Reject("ambiguous", other_contacts=_ids(s.choice.pool))
    proven_ms = max(s.desired.accepted_ms, s.know.gone_ms or 0) + s.policy.settle_window_ms
    if not s.desired.creator_waits and (s.know.search_ms or 0) < proven_ms:
        return Wait(proven_ms, "second_look")
    return Skip("archived", s.choice.lost[0].id) if s.choice.lost else Skip("not_found")


# ── the move ──────────────────────────────────────────────────────────────────────────────────────────────


def _move(s: Situation, who: Contact) -> Step:
    if who.email == s.desired.new_email:
        return Finish(who.id)
    holders = tuple(contact for contact in _holders(s) if contact.id != who.id)
    users = [contact for contact in holders if contact.role == "user"]
    if not holders or (not users and who.role == "user"):
        return _write(s, who)
    taken = Reject("address_taken", other_contacts=_ids(holders))
    if who.role == "user" or len(users) != 1 or s.policy.merge_leads == "off":
        return taken
    other_account = s.desired.external_id is not None and users[0].external_id not in (
        None,
        s.desired.external_id,
    )
    return taken if other_account or who.id in s.know.unmergeable else op.Merge(who.id, users[0].id)


def _write(s: Situation, who: Contact) -> Step:
    if "email" in s.know.sent.get(who.id, ()):
        return Reject("refused", op.Problem("refused", message="the new address was not stored"))
    body = {"email": s.desired.new_email}
    if who.role == "user" and who.external_id is None and s.desired.external_id is not None:
        body["external_id"] = s.desired.external_id
    return op.Update(who.id, body)


def _refused(s: Situation) -> Step | None:
    """A 409: another contact holds the new address, or the external id."""
    met = s.know.clash
    if met is None:
        return None
    if met.contact_id is None:
        return Reject("conflict_without_id")
    return Reject("address_taken", other_contacts=(met.contact_id,))


def _arrived(s: Situation) -> Step | None:
    """The contact has moved; leads of ours beside the user, at both addresses, are merged into it (R22)."""
    who = _moved(s.know, s.desired)
    if who is None:
        return None
    others = (contact for contact in (*s.choice.pool, *_holders(s)) if contact.id != who.id)
    stray = merge_stray(s, others, who) if who.role == "user" and s.know.search_ms is not None else None
    return stray or Finish(who.id)


def _moved(know: Knowledge, desired: DesiredState) -> Contact | None:
    written = (know.contacts.get(contact_id) for contact_id in sorted(know.log.written))
    return next((contact for contact in written if contact and contact.email == desired.new_email), None)


def _ids(contacts: Iterable[Contact]) -> tuple[str, ...]:
    return tuple(contact.id for contact in contacts)


# ── two lanes, one grant ──────────────────────────────────────────────────────────────────────────────────


def joined(
    know: Knowledge, desired: DesiredState, there_before: RegistryEntry, policy: Policy, now_ms: int
) -> Knowledge:
    """What is known, with the registry entry of the new address. Contacts that moved from there to here
    count."""
    there = _there(desired, there_before, policy, now_ms)
    contacts = {k: contact for k, contact in there.contacts.items() if contact.email == desired.new_email}
    stones = {
        k: stone for k, stone in there.tombstones.items() if k not in know.contacts and stone.why != "moved"
    }
    return replace(know, contacts={**contacts, **know.contacts}, tombstones={**stones, **know.tombstones})


def _there(desired: DesiredState, there_before: RegistryEntry, policy: Policy, now_ms: int) -> Knowledge:
    return recall(desired.new_email or "", desired.external_id, there_before, None, policy, now_ms)


def apart(know: Knowledge, new_email: str) -> Knowledge:
    """What is known, without the contacts of the new address: the change was rejected."""
    contacts = {k: contact for k, contact in know.contacts.items() if contact.email != new_email}
    return replace(know, contacts=contacts)


def here(
    know: Knowledge,
    desired: DesiredState,
    target: str | None,
    there_before: RegistryEntry,
    policy: Policy,
    now_ms: int,
) -> RegistryEntry:
    """The registry entry of the old address afterwards. `target`: the contact that has moved, if one has;
    contacts of the new address are left out."""
    if target is not None:
        know = know.with_tombstone(target, Tombstone(why="moved", at_ms=now_ms))
    know = apart(know, desired.new_email or "")
    stones = {
        k: s for k, s in know.tombstones.items() if k not in there_before.tombstones or s.why == "moved"
    }
    return record(ended(replace(know, tombstones=stones)), None, policy, now_ms)


def there(
    know: Knowledge,
    desired: DesiredState,
    target: str | None,
    there_before: RegistryEntry,
    policy: Policy,
    now_ms: int,
) -> RegistryEntry:
    """The registry entry of the new address afterwards."""
    its = _there(desired, there_before, policy, now_ms)
    for contact_id, stone in know.tombstones.items():
        if contact_id in its.contacts:
            its = its.with_tombstone(contact_id, stone)
    for contact in know.contacts.values():
        if contact.email == desired.new_email:
            its = its.with_contact(contact)
    looked_ms = its.looked_ms if know.search_ms is None else know.search_ms
    return record(replace(its, looked_ms=looked_ms), target, policy, now_ms)


def moved_memory(old: ConsentMemory, new: ConsentMemory) -> ConsentMemory:
    """The person's last words and the newest versions of the sources go along; the newer of two counts."""
    consent, versions = dict(new.consent), dict(new.versions)
    for channel, word in old.consent.items():
        if channel not in consent or word.at_ms > consent[channel].at_ms:
            consent[channel] = word
    for key, version in old.versions.items():
        if key not in versions or version.at_ms > versions[key].at_ms:
            versions[key] = version
    return replace(new, consent=consent, versions=versions)


def outcome(desired: DesiredState, know: Knowledge, verdict: Finish) -> Outcome:
    """What to tell the producer of a change that holds."""
    contact, log = know.contacts[verdict.target], know.log
    addresses = (desired.email, desired.new_email)
    others = [k.id for k in know.contacts.values() if k.email in addresses and k.id != contact.id]
    return Outcome(
        result="updated" if log.written else "unchanged",
        contact_id=contact.id,
        role=contact.role,
        calls=log.calls,
        merged=log.merged,
        other_contacts=tuple(sorted(others)),
    )
