"""Which contact to write to, when more than one could be meant (R4, R17, R20).

Order: the user with the intent's external id, a user without one, other users, leads; among equals the
oldest. An intent that claims an identity never takes a user of another external id for its own: at one
address there may live two accounts. The choice is always the same; where it is not certain it says so.
"""

from __future__ import annotations

from enum import IntEnum

from msgspec import Struct

from onelane_worker.planner.fold import DesiredState
from onelane_worker.planner.knowledge import Knowledge
from onelane_worker.planner.policy import Policy
from onelane_worker.planner.registry import Contact


class _Rank(IntEnum):
    """What a contact is to the desired state; the lowest is written to."""

    SAME_ID = 0
    NO_ID = 1
    OTHER_ID = 2
    LEAD = 3


class Choice(Struct, frozen=True):
    """The contacts of the person, and which of them to write to."""

    pool: tuple[Contact, ...]
    """Every live contact that may be the person, in order of rank."""
    targets: tuple[Contact, ...]
    """Those to write to: one, or all for an opt-out, or none."""
    lost: tuple[Contact, ...] = ()
    """Those that would be written to if they did not answer 404, in order of rank."""
    ambiguous: bool = False
    other_account: bool = False
    """A user with another external id than the desired state's lives at this address (state U≠)."""
    refused: bool = False
    """Policy forbids to make a second account beside the other one."""

    @property
    def others(self) -> tuple[Contact, ...]:
        """The pool without the targets."""
        chosen = {contact.id for contact in self.targets}
        return tuple(contact for contact in self.pool if contact.id not in chosen)

    @property
    def other_users(self) -> tuple[Contact, ...]:
        """The users among them."""
        return tuple(contact for contact in self.others if contact.role == "user")


def choose(desired: DesiredState, know: Knowledge, policy: Policy) -> Choice:
    """The choice for this desired state, given what is known."""
    ranked = [(_rank(c, desired), c) for c in know.contacts.values() if _is_meant(c, desired, know)]
    ranked.sort(key=lambda one: (one[0], one[1].id != desired.contact_id, one[1].age_key))
    separate = desired.mode.claims_identity and policy.other_external_id != "adopt"
    own = [one for one in ranked if not (separate and one[0] is _Rank.OTHER_ID)]
    live = [one for one in own if one[1].lost_ms is None]
    present = [one for one in ranked if one[1].lost_ms is None]
    pool = tuple(contact for _, contact in present)
    other_account = desired.external_id is not None and any(rank is _Rank.OTHER_ID for rank, _ in present)
    alone = not live or live[0][0] is _Rank.LEAD
    refused = separate and policy.other_external_id == "reject" and other_account and alone
    targets = pool if desired.mode.everyone else tuple(contact for _, contact in live[:1])
    return Choice(
        pool,
        () if refused else targets,
        lost=tuple(contact for _, contact in own if contact.lost_ms is not None),
        ambiguous=other_account or _is_crowded(desired, know, live),
        other_account=other_account,
        refused=refused,
    )


def _rank(contact: Contact, desired: DesiredState) -> _Rank:
    if contact.role == "lead":
        return _Rank.LEAD
    if contact.external_id is None:
        return _Rank.NO_ID
    return _Rank.SAME_ID if contact.external_id == desired.external_id else _Rank.OTHER_ID


def _is_crowded(desired: DesiredState, know: Knowledge, live: list[tuple[_Rank, Contact]]) -> bool:
    """Could another one of the chosen kind have been meant as well? Who writes to all need not choose."""
    if desired.mode.everyone or len(live) < 2:
        return False
    ranks = [_Rank.LEAD if contact.id == know.log.converted else rank for rank, contact in live]
    users = sum(rank is not _Rank.LEAD for rank in ranks)
    if desired.external_id is None and ranks[0] is not _Rank.LEAD:
        return users > 1
    return ranks.count(ranks[0]) > 1


def _is_meant(contact: Contact, desired: DesiredState, know: Knowledge) -> bool:
    """R4: a pointer counts while it shows the lane's address or the intent's external id, or was pointed out
    as this very person: by the producer, by Intercom, or by what we did ourselves."""
    if contact.email == desired.email:
        return True
    if contact.id in (desired.contact_id, know.log.created, know.log.revived):
        return True
    if desired.external_id is not None and desired.external_id in (contact.external_id, contact.alias):
        return True
    return contact.id in know.named or know.is_heir(contact.id)
