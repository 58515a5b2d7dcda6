"""What to tell the producers: one outcome for every intent of a wish (R94)."""

from __future__ import annotations

from onelane.results import Outcome, Result
from onelane_worker.core.belief import Deeds
from onelane_worker.core.choice import Choice, choose
from onelane_worker.core.policy import Policy
from onelane_worker.core.state import Knowledge
from onelane_worker.core.verdicts import Finish, Reject, Skip
from onelane_worker.core.wish import Superseded, Wish


def outcomes(
    wish: Wish, know: Knowledge, verdict: Finish | Skip, policy: Policy
) -> tuple[tuple[str, Outcome], ...]:
    """Intent id → outcome, in accepted order. The calls are told to the first: they were made once."""
    if isinstance(verdict, Skip):
        told = [_skipped(know, verdict) for _ in wish.ids]
    else:
        choice = choose(wish, know, policy)
        told = [_finished(wish, know, verdict, choice, intent_id) for intent_id in wish.ids]
    told[0] = told[0].model_copy(update={"calls": know.deeds.calls})
    return tuple(zip(wish.ids, told, strict=True))


def superseded(verdict: Superseded, deeds: Deeds) -> Outcome:
    """An intent that came too late to matter, whatever its earlier attempts did."""
    return Outcome(result="superseded", superseded_by=verdict.by, calls=deeds.calls, merged=deeds.merged)


def later(deeds: Deeds) -> Outcome:
    """A settle check that could not be made; it is owed once more, or given up."""
    return Outcome(result="skipped", reason="later", calls=deeds.calls, merged=deeds.merged)


def rejected(verdict: Reject, deeds: Deeds) -> Outcome:
    """An intent that becomes a dead letter, and what was done for it before."""
    return Outcome(
        result="rejected",
        reason=verdict.reason,
        message=verdict.problem.message if verdict.problem else None,
        calls=deeds.calls,
        merged=deeds.merged,
        other_contacts=verdict.other_contacts,
    )


def _skipped(know: Knowledge, verdict: Skip) -> Outcome:
    known = know.contacts.get(verdict.contact_id or "")
    return Outcome(
        result="skipped",
        reason=verdict.reason,
        contact_id=verdict.contact_id,
        role=known.role if known else None,
        merged=know.deeds.merged,
    )


def _finished(wish: Wish, know: Knowledge, verdict: Finish, choice: Choice, intent_id: str) -> Outcome:
    contact, deeds = know.contacts[verdict.target], know.deeds
    result = _result(know, contact.id, first=intent_id == wish.ids[0])
    overwriter = _overwriter(wish, intent_id) if result in ("updated", "unchanged") else None
    return Outcome(
        result="superseded" if overwriter else result,
        superseded_by=overwriter,
        contact_id=contact.id,
        role=contact.role,
        adopted=deeds.adopted or _was_named_by_a_409(know, contact.id),
        revived=deeds.revived == contact.id,
        ambiguous=choice.ambiguous,
        applied_with=tuple(other for other in wish.ids if other != intent_id),
        merged=deeds.merged,
        other_contacts=tuple(known.id for known in choice.pool if known.id != contact.id),
    )


def _result(know: Knowledge, target: str, *, first: bool) -> Result:
    """Only the first of a fold made or converted the contact; the others met it as it then was."""
    deeds = know.deeds
    if first and deeds.created == target:
        return "created"
    if first and deeds.converted == target:
        return "converted"
    return "updated" if deeds.written else "unchanged"


def _overwriter(wish: Wish, intent_id: str) -> str | None:
    """Who overwrote every single thing this intent wanted, if somebody did."""
    said = wish.said.get(intent_id, frozenset())
    if not said or any(wish.authors[path] == intent_id for path in said):
        return None
    return max((wish.authors[path] for path in said), key=wish.ids.index)


def _was_named_by_a_409(know: Knowledge, target: str) -> bool:
    return know.clash is not None and know.clash.contact_id == target
