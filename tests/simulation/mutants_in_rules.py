"""Rules of the planner and of the engine switched off, one by one, by functions that lack them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from onelane.intents import ContactSync
from onelane.workspace import Workspace
from onelane_worker.engine import external_ids
from onelane_worker.engine.execute import WriteRecord
from onelane_worker.engine.lane import _LaneJob
from onelane_worker.engine.settle import Attempt, Endings, PutBack
from onelane_worker.lanes.types import KEEP, Grant, Settled, Target
from onelane_worker.planner import (
    absorb,
    email_change,
    erasure,
    fold,
    knowledge,
    planner,
    reconcile,
    request_body,
    retry_policy,
)
from onelane_worker.planner import operations as op
from onelane_worker.planner.fold import Accepted
from onelane_worker.planner.knowledge import Knowledge
from onelane_worker.planner.registry import ALL_MAIL, ConsentWord, Contact, Journal, RegistryEntry
from onelane_worker.planner.situation import Situation, Step
from onelane_worker.planner.verdicts import Finish, Reject, Skip

from .mutant import Mutant, all_of, swap

# ── a create whose answer is lost ─────────────────────────────────────────────────────────────────────────

_record = _LaneJob._record
_unknown = retry_policy._unknown


def _record_without_journal(self: _LaneJob, attempt: Attempt, operation: op.WriteOperation) -> WriteRecord:
    return dataclasses.replace(_record(self, attempt, operation), journal=None)


def _send_again(operation: op.Operation, problem: op.Problem) -> retry_policy.Handling:
    if isinstance(operation, op.Create):
        return retry_policy.TryAgain(problem, may_commit=True)
    return _unknown(operation, problem)


def _no_journal(*_: object) -> None:
    return None


def _concluded_by_one_search(know: Knowledge) -> Knowledge:
    pending = know.journal
    if pending is None or pending.guarded or know.search_ms is None:
        return know
    unread = any(not one.confirmed and one.email == know.email for one in know.contacts.values())
    return know if unread else replace(know, journal=None)


def _concluded_from_the_sending(know: Knowledge) -> Knowledge:
    pending = know.journal
    if pending is None or pending.guarded or know.search_ms is None:
        return know
    unread = any(not one.confirmed and one.email == know.email for one in know.contacts.values())
    if unread or know.search_ms < pending.sent_ms + know.settle_window_ms:
        return know
    return replace(know, journal=None)


def _sent_at(pending: Journal) -> int:
    return pending.sent_ms


def _only_the_epoch(know: Knowledge) -> int | None:
    return know.epoch_ms


# ── what is believed ──────────────────────────────────────────────────────────────────────────────────────

_recall = knowledge.recall


def _recall_in_no_epoch(*given: Any) -> Knowledge:
    email, external_id, entry, journal, policy, now_ms, *_ = given
    return _recall(email, external_id, entry, journal, policy, now_ms)


def _same_entry(entry: RegistryEntry) -> RegistryEntry:
    return entry


def _never_stale(contact: Contact, email: str, life_ms: int, now_ms: int) -> bool:
    return False


def _nothing_outdated(entry: RegistryEntry, marks: Grant | Target, workspace: Workspace) -> RegistryEntry:
    return entry


# ── what intents want ─────────────────────────────────────────────────────────────────────────────────────

_spoken, _content, _desired = fold._spoken, fold._content, fold._desired_state
_needed, _absent = request_body.needed, planner.absent


def _spoken_by_syncs(accepted: Accepted, types: tuple[str, ...]) -> dict[str, ConsentWord]:
    if not isinstance(accepted.intent, ContactSync):
        return _spoken(accepted, types)
    return {ALL_MAIL: ConsentWord(opted_in=True, at_ms=accepted.acted_ms, by=accepted.id)}


def _of_one_subject(*given: Any) -> Any:
    return replace(_content(*given), subject=())


def _first_word(members: list[Any], creator_waits: bool) -> Any:
    desired = _desired(members, creator_waits)
    fields: dict[str, Any] = {}
    for one in reversed(members):
        fields |= one.fields
    return replace(desired, fields=fields)


def _insert_values_too(desired: fold.DesiredState, target: Contact) -> dict[str, Any]:
    return {**desired.insert_fields, **desired.fields}


def _any_fact_proves(desired: Mapping[str, Any], facts: Any, accepted_ms: int) -> dict[str, Any]:
    return _needed(desired, facts, 0)


def _only_users_are_made(s: Situation) -> Step | None:
    if not s.choice.targets and s.desired.mode.creates == "lead":
        return Skip("not_found")
    return _absent(s)


def _first_look_counts(s: Situation) -> Step:
    return Skip("not_found")


def _told_only(s: Situation, who: Contact) -> Step:
    return Finish(who.id)


def _nobody(s: Situation) -> None:
    return None


def _without_opt_outs(*_: object) -> dict[str, ConsentWord]:
    return {}


# ── the engine ────────────────────────────────────────────────────────────────────────────────────────────


async def _head_blamed(self: _LaneJob, attempt: Attempt, problem: op.Problem) -> Settled | None:
    attempt.know = replace(attempt.know, journal=None)
    return await self._reject(attempt, Reject("refused", problem))


def _no_check(self: Endings, know: Knowledge) -> Any:
    return KEEP


def _none_known(*_: object) -> tuple[()]:
    return ()


_postpone = Endings.postpone


async def _postponed_as_known(self: Endings, attempt: Attempt, back: PutBack) -> Settled | None:
    attempt.know = replace(attempt.know, journal=None)
    return await _postpone(self, attempt, dataclasses.replace(back, may_commit=False))


_without_facts = swap(RegistryEntry, without_facts=_same_entry)

IN_RULES = (
    # ── a create whose answer is lost ──
    Mutant(
        "create-without-journal",
        "a create leaves no journal, so that nobody reconciles it after a crash",
        swap(_LaneJob, _record=_record_without_journal),
    ),
    Mutant(
        "post-repeated",
        "a create whose answer was lost is simply sent again",
        all_of(
            swap(retry_policy, _unknown=_send_again),
            swap(reconcile, as_journal=_no_journal),
        ),
    ),
    Mutant(
        "search-trusted-when-empty",
        "one search without a hit proves that an unknown create never happened",
        swap(absorb, _concluded=_concluded_by_one_search),
    ),
    Mutant(
        "window-from-the-sending",
        "the window of the index is counted from when a create was sent, not from when it last could commit",
        swap(absorb, _concluded=_concluded_from_the_sending),
    ),
    Mutant(
        "commit-not-awaited",
        "a lost create is looked for while it may still commit",
        swap(Journal, open_until_ms=property(_sent_at)),
    ),
    Mutant(
        "unknown-postponed-as-known",
        "a write without an answer is put back as if it had been answered",
        swap(Endings, postpone=_postponed_as_known),
    ),
    # ── what is believed ──
    Mutant(
        "facts-kept-over-a-crash",
        "what a dead holder believed is used to skip writes, although it may have written since",
        _without_facts,
        covered="needs an intent that says the old value again while the dead holder's lease lasts; "
        "`TestUnknownResults` in `tests/unit/engine/test_lane.py`",
    ),
    Mutant(
        "facts-kept-over-an-epoch",
        "what is known from before a failover is believed",
        swap(knowledge, recall=_recall_in_no_epoch),
    ),
    Mutant(
        "outdated-facts-believed",
        "a lane believes what it knows of a contact that another lane has written to",
        swap(external_ids, without_outdated=_nothing_outdated),
        covered="needs a change of address and its old value again; `tests/unit/engine/test_elsewhere.py`",
    ),
    Mutant(
        "gone-taken-for-never-there",
        "a believed contact that answers 404 is replaced by a new one as soon as a search shows nobody",
        swap(Knowledge, gone_ms=property(_only_the_epoch)),
    ),
    Mutant(
        "belief-never-expires",
        "a lane that knows its lead never looks whether somebody else has made a user",
        swap(knowledge, _is_stale=_never_stale),
    ),
    Mutant(
        "old-facts-prove-consent",
        "what is known from before the person spoke is taken for an answer to it",
        swap(request_body, needed=_any_fact_proves),
        covered="needs a choice of others between two words; `tests/unit/planner/test_consent.py`",
    ),
    # ── what intents want ──
    Mutant(
        "consent-in-re-sync",
        "a re-sync subscribes the person again",
        swap(fold, _spoken=_spoken_by_syncs),
    ),
    Mutant(
        "opt-out-forgotten",
        "an opt-out of somebody who is not to be seen yet is not remembered",
        swap(request_body, _remembered_opt_outs=_without_opt_outs),
    ),
    Mutant(
        "version-guard-off",
        "an old version of a source's picture is applied after a newer one",
        swap(fold, _outdated=_no_journal),
    ),
    Mutant(
        "fold-across-identities",
        "intents that name different people are folded into one write",
        swap(fold, _content=_of_one_subject),
    ),
    Mutant(
        "first-word-wins",
        "in a fold the earlier value of a field is kept",
        swap(fold, _desired_state=_first_word),
    ),
    Mutant(
        "insert-values-on-update",
        "what is meant for a new contact only is written to one that is there",
        swap(request_body, _permitted_fields=_insert_values_too),
    ),
    Mutant(
        "strangers-dropped",
        "a form of somebody whom nobody knows is skipped",
        swap(planner, absent=_only_users_are_made),
    ),
    Mutant(
        "no-second-look",
        "who is not to be seen yet is taken for nobody",
        swap(planner, _second_look=_first_look_counts),
    ),
    Mutant(
        "move-not-made",
        "a change of address is told as done, and the address is not written",
        swap(email_change, _write=_told_only),
    ),
    Mutant(
        "erased-by-word-only",
        "an erasure deletes nobody and says that it is done",
        swap(erasure, _delete=_nobody),
    ),
    # ── the engine ──
    Mutant(
        "whole-fold-blamed",
        "when a fold is refused its head becomes the dead letter, guilty or not",
        swap(_LaneJob, _blame=_head_blamed),
    ),
    Mutant(
        "settle-check-not-owed",
        "nobody looks later for a user that the index did not show",
        swap(Endings, _check_after=_no_check),
        covered="needs a user of the browser that the index hides from a lead's create; "
        "`tests/unit/engine/test_settle_check.py`",
    ),
    Mutant(
        "departure-not-told",
        "the lane of an address that somebody has left is not told",
        swap(external_ids, left=_none_known),
        covered="where one account has two addresses the checker cannot say whose value is right; "
        "`tests/unit/engine/test_elsewhere.py`",
    ),
    Mutant(
        "pointer-ignored",
        "the contact that an external id points at is not used",
        swap(external_ids, pointed=lambda know, *_: know),
        covered="the search that stands in for it costs a call; `TestExternalIds` in "
        "`tests/unit/engine/test_lane.py`",
    ),
    Mutant(
        "no-lock-for-a-move",
        "a change of address does not lock the external id that its contact has",
        swap(external_ids, further=_no_journal),
        covered="where one account has two addresses the checker cannot say whose value is right; "
        "`tests/unit/engine/test_email_change.py`",
    ),
)
