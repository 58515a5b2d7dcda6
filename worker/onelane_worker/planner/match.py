"""Whom to write to, when more than one contact could be meant (R4, R17, R20).

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

    def order(contact: Contact) -> tuple[int, bool, tuple[float, str]]:
        return _rank(contact, desired), contact.id != desired.contact_id, contact.age_key

    meant = sorted((k for k in know.contacts.values() if _is_meant(k, desired, know)), key=order)
    separate = desired.mode.claims_identity and policy.other_external_id != "adopt"
    own = [k for k in meant if not (separate and _rank(k, desired) is _Rank.OTHER_ID)]
    pool = tuple(k for k in meant if k.lost_ms is None)
    live = tuple(k for k in own if k.lost_ms is None)
    other_account = desired.external_id is not None and any(_rank(k, desired) is _Rank.OTHER_ID for k in pool)
    first = _rank(live[0], desired) if live else None
    refused = (
        separate and policy.other_external_id == "reject" and other_account and first in (None, _Rank.LEAD)
    )
    targets = () if refused else pool if desired.mode.everyone else live[:1]
    return Choice(
        pool,
        targets,
        lost=tuple(k for k in own if k.lost_ms is not None),
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


def _is_crowded(desired: DesiredState, know: Knowledge, live: tuple[Contact, ...]) -> bool:
    """Could another one of the chosen kind have been meant as well? Who writes to all need not choose."""
    if desired.mode.everyone or not live:
        return False
    ranks = [_Rank.LEAD if k.id == know.log.converted else _rank(k, desired) for k in live]
    users = sum(rank is not _Rank.LEAD for rank in ranks)
    if desired.external_id is None and ranks[0] is not _Rank.LEAD:
        return users > 1
    return ranks.count(ranks[0]) > 1


def _is_meant(contact: Contact, desired: DesiredState, know: Knowledge) -> bool:
    """R4: a pointer counts while it shows the lane's address or the intent's external id, or was pointed out
    as this very person: by the producer, by Intercom, or by what we did ourselves."""
    if contact.email == desired.email or contact.id in (
        desired.contact_id,
        know.log.created,
        know.log.revived,
    ):
        return True
    if desired.external_id is not None and desired.external_id in (contact.external_id, contact.alias):
        return True
    return contact.id in know.named or know.is_heir(contact.id)
