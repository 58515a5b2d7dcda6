"""Whom to write to, when more than one contact could be meant (R4, R17, R20).

Order: the user with the intent's external id, a user without one, other users, leads; among equals the
oldest. An intent that claims an identity never takes a user of another external id for its own: at one
address there may live two accounts. The choice is always the same; where it is not certain it says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from onelane_worker.core.belief import Known
from onelane_worker.core.policy import Policy
from onelane_worker.core.state import Knowledge
from onelane_worker.core.wish import Wish


class _Rank(IntEnum):
    """What a contact is to the wish; the lowest is written to."""

    SAME_ID = 0
    NO_ID = 1
    OTHER_ID = 2
    LEAD = 3


@dataclass(frozen=True, slots=True)
class Choice:
    """The contacts of the person, and which of them to write to."""

    pool: tuple[Known, ...]
    """Every live contact that may be the person, in order of rank."""
    targets: tuple[Known, ...]
    """Those to write to: one, or all for an opt-out, or none."""
    lost: tuple[Known, ...] = ()
    """Those that would be written to if they did not answer 404, in order of rank."""
    ambiguous: bool = False
    other_account: bool = False
    """A user with another external id than the wish's lives at this address (state U≠)."""
    refused: bool = False
    """Policy forbids to make a second account beside the other one."""

    @property
    def others(self) -> tuple[Known, ...]:
        """The pool without the targets."""
        chosen = {known.id for known in self.targets}
        return tuple(known for known in self.pool if known.id not in chosen)

    @property
    def other_users(self) -> tuple[Known, ...]:
        """The users among them."""
        return tuple(known for known in self.others if known.role == "user")


def choose(wish: Wish, know: Knowledge, policy: Policy) -> Choice:
    """The choice for this wish, given what is known."""

    def order(known: Known) -> tuple[int, bool, tuple[float, str]]:
        return _rank(known, wish), known.id != wish.contact_id, known.age_key

    meant = sorted((k for k in know.contacts.values() if _is_meant(k, wish, know)), key=order)
    separate = wish.mode.claims_identity and policy.other_external_id != "adopt"
    own = [k for k in meant if not (separate and _rank(k, wish) is _Rank.OTHER_ID)]
    pool = tuple(k for k in meant if k.lost_ms is None)
    live = tuple(k for k in own if k.lost_ms is None)
    other_account = wish.external_id is not None and any(_rank(k, wish) is _Rank.OTHER_ID for k in pool)
    first = _rank(live[0], wish) if live else None
    refused = (
        separate and policy.other_external_id == "reject" and other_account and first in (None, _Rank.LEAD)
    )
    targets = () if refused else pool if wish.mode.everyone else live[:1]
    return Choice(
        pool,
        targets,
        lost=tuple(k for k in own if k.lost_ms is not None),
        ambiguous=other_account or _is_crowded(wish, know, live),
        other_account=other_account,
        refused=refused,
    )


def _rank(known: Known, wish: Wish) -> _Rank:
    if known.role == "lead":
        return _Rank.LEAD
    if known.external_id is None:
        return _Rank.NO_ID
    return _Rank.SAME_ID if known.external_id == wish.external_id else _Rank.OTHER_ID


def _is_crowded(wish: Wish, know: Knowledge, live: tuple[Known, ...]) -> bool:
    """Could another one of the chosen kind have been meant as well? Who writes to all need not choose."""
    if wish.mode.everyone or not live:
        return False
    ranks = [_Rank.LEAD if k.id == know.deeds.converted else _rank(k, wish) for k in live]
    users = sum(rank is not _Rank.LEAD for rank in ranks)
    if wish.external_id is None and ranks[0] is not _Rank.LEAD:
        return users > 1
    return ranks.count(ranks[0]) > 1


def _is_meant(known: Known, wish: Wish, know: Knowledge) -> bool:
    """R4: a pointer counts while it shows the lane's address or the intent's external id, or was pointed out
    as this very person: by the producer, by Intercom, or by what we did ourselves."""
    if known.email == wish.email or known.id in (wish.contact_id, know.deeds.created, know.deeds.revived):
        return True
    if wish.external_id is not None and wish.external_id in (known.external_id, known.alias):
        return True
    return known.id in know.named or know.is_heir(known.id)
