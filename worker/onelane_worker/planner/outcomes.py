"""What to tell the producers: one outcome for every intent of a desired state (R94)."""

from __future__ import annotations

from onelane.results import Outcome, Result
from onelane_worker.planner.fold import DesiredState, Superseded
from onelane_worker.planner.knowledge import Knowledge
from onelane_worker.planner.match import Choice, choose
from onelane_worker.planner.policy import Policy
from onelane_worker.planner.registry import AttemptLog
from onelane_worker.planner.verdicts import Finish, Reject, Skip


def outcomes(
    desired: DesiredState, know: Knowledge, verdict: Finish | Skip, policy: Policy
) -> tuple[tuple[str, Outcome], ...]:
    """Intent id → outcome, in accepted order. The calls are told to the first: they were made once."""
    if isinstance(verdict, Skip):
        told = [_skipped(know, verdict) for _ in desired.ids]
    else:
        choice = choose(desired, know, policy)
        told = [_finished(desired, know, verdict, choice, intent_id) for intent_id in desired.ids]
    told[0] = told[0].model_copy(update={"calls": know.log.calls})
    return tuple(zip(desired.ids, told, strict=True))


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


def _skipped(know: Knowledge, verdict: Skip) -> Outcome:
    known = know.contacts.get(verdict.contact_id or "")
    return Outcome(
        result="skipped",
        reason=verdict.reason,
        contact_id=verdict.contact_id,
        role=known.role if known else None,
        merged=know.log.merged,
    )


def _finished(
    desired: DesiredState, know: Knowledge, verdict: Finish, choice: Choice, intent_id: str
) -> Outcome:
    contact, log = know.contacts[verdict.target], know.log
    result = _result(know, contact.id, first=intent_id == desired.ids[0])
    overwriter = _overwriter(desired, intent_id) if result in ("updated", "unchanged") else None
    return Outcome(
        result="superseded" if overwriter else result,
        superseded_by=overwriter,
        contact_id=contact.id,
        role=contact.role,
        adopted=log.adopted or _was_named_by_a_409(know, contact.id),
        revived=log.revived == contact.id,
        ambiguous=choice.ambiguous,
        applied_with=tuple(other for other in desired.ids if other != intent_id),
        merged=log.merged,
        other_contacts=tuple(known.id for known in choice.pool if known.id != contact.id),
    )


def _result(know: Knowledge, target: str, *, first: bool) -> Result:
    """Only the first of a fold made or converted the contact; the others met it as it then was."""
    log = know.log
    if first and log.created == target:
        return "created"
    if first and log.converted == target:
        return "converted"
    return "updated" if log.written else "unchanged"


def _overwriter(desired: DesiredState, intent_id: str) -> str | None:
    """Who overwrote every single thing this intent wanted, if somebody did."""
    said = desired.said.get(intent_id, frozenset())
    if not said or any(desired.authors[path] == intent_id for path in said):
        return None
    return max((desired.authors[path] for path in said), key=desired.ids.index)


def _was_named_by_a_409(know: Knowledge, target: str) -> bool:
    return know.clash is not None and know.clash.contact_id == target
