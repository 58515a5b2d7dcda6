"""Deliberate faults in the planner's rules and in the turn loop."""

from __future__ import annotations

from tests.faults import CodeFault, Edit

_TURN, _ENDING = "worker/onelane_worker/turn.py", "worker/onelane_worker/ending.py"
_CORE = "worker/onelane_worker/core"

IN_RULES = (
    CodeFault(
        "facts-kept-over-a-crash",
        "what the dead holder believed is used to skip writes, although it may have written since",
        (
            Edit(_ENDING, "self._lease.now_ms()).without_facts()", "self._lease.now_ms())"),
            Edit(_TURN, "if not grant.facts_usable or self._end.buried:", "if False:"),
        ),
    ),
    CodeFault(
        "create-without-journal",
        "a create leaves no journal, so that nobody reconciles it after a crash",
        (Edit(_TURN, "journal = journal_json(self._journal(", "journal_json(self._journal("),),
    ),
    CodeFault(
        "search-trusted-when-empty",
        "one search without a hit proves that an unknown create never happened",
        (
            Edit(
                f"{_CORE}/learning.py",
                "if unread or know.search_ms < pending.open_until_ms + know.settle_window_ms:",
                "if unread:",
            ),
        ),
    ),
    CodeFault(
        "window-from-the-sending",
        "the window of the index is counted from when a create was sent, not from when it last could commit",
        (
            Edit(
                f"{_CORE}/learning.py",
                "know.search_ms < pending.open_until_ms + know.settle_window_ms",
                "know.search_ms < pending.sent_ms + know.settle_window_ms",
            ),
            Edit(
                f"{_CORE}/doubts.py",
                "min(look_ms, pending.open_until_ms + s.policy.settle_window_ms)",
                "min(look_ms, max(pending.open_until_ms, pending.sent_ms + s.policy.settle_window_ms))",
            ),
        ),
    ),
    CodeFault(
        "post-repeated",
        "a create whose answer was lost is simply sent again",
        (
            Edit(f"{_CORE}/handling.py", "        case op.Create():\n            return Learn()\n", ""),
            Edit(
                _TURN,
                "if isinstance(operation, op.Create) and isinstance(performed.reply, op.Unknown):",
                "if False:",
            ),
            Edit(_TURN, "journal = journal_json(self._journal(", "journal_json(self._journal("),
        ),
    ),
    CodeFault(
        "gone-taken-for-never-there",
        "a believed contact that answers 404 is replaced by a new one as soon as a search shows nobody",
        (
            Edit(
                f"{_CORE}/state.py",
                "return max(lost + gone + epoch, default=None)",
                "return max(epoch, default=None)",
            ),
        ),
    ),
    CodeFault(
        "belief-never-expires",
        "a lane that knows its lead never looks whether somebody else has made a user",
        (
            Edit(
                f"{_CORE}/knowledge.py",
                "return ages and now_ms - known.resolved_ms > life_ms",
                "return False",
            ),
            Edit(
                "worker/onelane_worker/services.py",
                "registry_ttl_ms=_ms(settings.registry_ttl_s),\n        memory_ttl_ms",
                "registry_ttl_ms=50 * _ms(settings.registry_ttl_s),\n        memory_ttl_ms",
            ),
        ),
    ),
    CodeFault(
        "consent-in-re-sync",
        "a re-sync subscribes the person again",
        (
            Edit(
                f"{_CORE}/wish.py",
                "case NewsletterOptIn(lift_unsubscribe_all=True):",
                "case NewsletterOptIn(lift_unsubscribe_all=True) | ContactSync():",
            ),
            Edit(
                f"{_CORE}/wish.py",
                "opted_in = isinstance(intent, NewsletterOptIn)",
                "opted_in = isinstance(intent, NewsletterOptIn | ContactSync)",
            ),
        ),
    ),
    CodeFault(
        "opt-out-forgotten",
        "an opt-out of somebody who is not to be seen yet is not remembered",
        (
            Edit(
                f"{_CORE}/desired.py",
                "if not w.opted_in and c not in wish.words}",
                "if False}",
            ),
        ),
    ),
    CodeFault(
        "version-guard-off",
        "an old version of a source's picture is applied after a newer one",
        (
            Edit(
                f"{_CORE}/wish.py",
                "return known.by if intent.version < known.number else None",
                "return None",
            ),
        ),
    ),
    CodeFault(
        "fold-across-identities",
        "intents that name different people are folded into one write",
        (
            Edit(
                f"{_CORE}/wish.py",
                "return a.external_id == b.external_id and same_contact and",
                "return",
            ),
        ),
    ),
    CodeFault(
        "first-word-wins",
        "in a fold the earlier value of a field is kept",
        (Edit(f"{_CORE}/wish.py", "fields |= named", "fields = named | fields"),),
    ),
    CodeFault(
        "insert-values-on-update",
        "what is meant for a new contact only is written to one that is there",
        (
            Edit(
                f"{_CORE}/desired.py",
                "return dict(wish.fields)",
                "return {**wish.insert_fields, **wish.fields}",
            ),
        ),
    ),
    CodeFault(
        "whole-fold-blamed",
        "when a fold is refused its head becomes the dead letter, guilty or not",
        (Edit(_TURN, "if len(attempt.wish.members) == 1:", "if attempt.wish.members:"),),
    ),
    CodeFault(
        "strangers-dropped",
        "a form of somebody whom nobody knows is skipped",
        (
            Edit(
                f"{_CORE}/planner.py",
                "    if role is None:\n        return _second_look(s)\n    if s.wish.mode.claims",
                "    if role in (None, 'lead'):\n        return _second_look(s)\n    if s.wish.mode.claims",
            ),
        ),
    ),
    CodeFault(
        "move-not-made",
        "a change of address is told as done, and the address is not written",
        (Edit(f"{_CORE}/moving.py", "return _write(s, who)", "return Finish(who.id)"),),
    ),
    CodeFault(
        "erased-by-word-only",
        "an erasure deletes nobody and says that it is done",
        (
            Edit(
                f"{_CORE}/erasing.py",
                "rules = (loops, journal, _look, _ambiguous, _delete, _second_look)",
                "rules = (loops, journal, _look, _ambiguous)",
            ),
        ),
    ),
)
