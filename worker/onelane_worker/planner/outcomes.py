"""One outcome for every intent of a desired state (R94)."""

from __future__ import annotations

from onelane.results import Outcome, Result
from onelane_worker.planner.fold import DesiredState, Superseded
from onelane_worker.planner.knowledge import Knowledge
from onelane_worker.planner.match import choose
from onelane_worker.planner.policy import Policy
from onelane_worker.planner.registry import AttemptLog
from onelane_worker.planner.verdicts import Finish, Reject, Skip


def outcomes(
    desired: DesiredState, know: Knowledge, verdict: Finish | Skip, policy: Policy
) -> tuple[tuple[str, Outcome], ...]:
    """Intent id → outcome, in accepted order. The first one counts the calls: they were made once."""
    ids, first = desired.ids, desired.members[0].id
    if isinstance(verdict, Skip):
        return tuple((id_, _skipped(know, verdict, id_ == first)) for id_ in ids)
    choice = choose(desired, know, policy)
    others = tuple(one.id for one in choice.pool if one.id != verdict.target)
    return tuple(
        (id_, _finished(desired, know, verdict.target, id_, ids, others, choice.ambiguous)) for id_ in ids
    )


def superseded(verdict: Superseded, log: AttemptLog) -> Outcome:
    """An intent that came too late to matter, whatever its earlier attempts did."""
    return Outcome(result="superseded", superseded_by=verdict.by, calls=log.calls, merged=log.merged)


def later(log: AttemptLog) -> Outcome:
    """A settle check that could not be made; it is owed once more, or given up."""
    return Outcome(result="skipped", reason="later", calls=log.calls, merged=log.merged)


def rejected(verdict: Reject, log: AttemptLog) -> Outcome:
    """An intent that becomes a dead letter, and what was done for it before."""
    return Outcome(
        result="rejected",
        reason=verdict.reason,
        message=verdict.problem.message if verdict.problem else None,
        calls=log.calls,
        merged=log.merged,
        other_contacts=verdict.other_contacts,
    )


def _skipped(know: Knowledge, verdict: Skip, first: bool) -> Outcome:
    contact = know.contacts.get(verdict.contact_id or "")
    return Outcome(
        result="skipped",
        reason=verdict.reason,
        contact_id=verdict.contact_id,
        role=contact.role if contact else None,
        merged=know.log.merged,
        calls=know.log.calls if first else 0,
    )


def _finished(
    desired: DesiredState,
    know: Knowledge,
    target: str,
    intent_id: str,
    ids: tuple[str, ...],
    others: tuple[str, ...],
    ambiguous: bool,
) -> Outcome:
    log, first = know.log, intent_id == ids[0]
    result = _result(log, target, first=first)
    overwriter = _overwriter(desired, intent_id, ids) if result in ("updated", "unchanged") else None
    return Outcome(
        result="superseded" if overwriter else result,
        superseded_by=overwriter,
        contact_id=target,
        role=know.contacts[target].role,
        calls=log.calls if first else 0,
        adopted=log.adopted or _was_named_by_a_409(know, target),
        revived=log.revived == target,
        ambiguous=ambiguous,
        applied_with=tuple(other for other in ids if other != intent_id),
        merged=log.merged,
        other_contacts=others,
    )


def _result(log: AttemptLog, target: str, *, first: bool) -> Result:
    """Only the first of a fold made or converted the contact; the others met it as it then was."""
    if first and log.created == target:
        return "created"
    if first and log.converted == target:
        return "converted"
    return "updated" if log.written else "unchanged"


def _overwriter(desired: DesiredState, intent_id: str, ids: tuple[str, ...]) -> str | None:
    """Who overwrote every single thing this intent wanted, if somebody did."""
    authors = {desired.authors[path] for path in desired.said.get(intent_id, ())}
    return max(authors, key=ids.index) if authors and intent_id not in authors else None


def _was_named_by_a_409(know: Knowledge, target: str) -> bool:
    return know.clash is not None and know.clash.contact_id == target
