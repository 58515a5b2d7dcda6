"""Deliberate faults in the product, each of which must break a promise: a search that never finds anything
proves nothing.

Most are mistakes that the first models of the protocol made; the others switch off a rule that somebody might
think unneeded. Where two rules guard the same thing, the fault takes both away.
"""

from __future__ import annotations

from dataclasses import dataclass

SIMULATION = "simulation"


@dataclass(frozen=True, slots=True)
class Edit:
    """A piece of source text, replaced. It must stand there exactly once."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class CodeFault:
    """One deliberate mistake."""

    name: str
    about: str
    edits: tuple[Edit, ...]
    catcher: str = SIMULATION
    """Who has to notice: the simulation, or the test of this id."""


_CLAIM = "worker/lanes/scripts/claim.lua"
_COMMON = "worker/lanes/scripts/_common.lua"
_SETTLE = "worker/lanes/scripts/settle.lua"
_POSTPONE = "worker/lanes/scripts/postpone.lua"
_LEAF = "worker/lanes/scripts/leaf_take.lua"
_SUBMIT = "producers/scripts/submit.lua"
_TURN, _ENDING, _LEASE = "worker/turn.py", "worker/ending.py", "worker/lease.py"
_PERFORMER, _CORE = "worker/performer.py", "worker/core"

CODE_FAULTS = (
    CodeFault(
        "facts-kept-over-a-crash",
        "what the dead holder believed is used to skip writes, although it may have written since",
        (
            Edit(_ENDING, "self._lease.now_ms()).without_facts()", "self._lease.now_ms())"),
            Edit(_TURN, "if not grant.facts_usable or self._end.buried:", "if False:"),
        ),
    ),
    CodeFault(
        "unknown-write-overtaken",
        "a lane goes on at once after a write without an answer, which may still arrive",
        (
            Edit(_CLAIM, "if commit > now then", "if false then"),
            Edit(_POSTPONE, "due_at = math.max(due_at, tonumber(l[1] or '0'))", "due_at = due_at"),
        ),
    ),
    CodeFault(
        "open-write-not-recorded",
        "a write is sent without its record",
        (Edit(_PERFORMER, "open_write=_open_write(operation, record.intents),", "open_write=None,"),),
    ),
    CodeFault(
        "deadline-from-the-reply",
        "a holder counts its time from when the answer came, not from when it asked",
        (
            Edit(
                _LEASE, "max(self._own_deadline, asked_at + self._lease_s)", "self._clock() + self._lease_s"
            ),
            Edit(_PERFORMER, "min(asked_at + self._send_grace_s,", "min(self._clock() + self._send_grace_s,"),
        ),
    ),
    CodeFault(
        "replayed-settle-grants",
        "the answer to a repeated settle gives work that is somebody else's by now",
        (Edit(_COMMON, "return owns(token, fence) and append(", "return true and append("),),
    ),
    CodeFault(
        "settle-by-token",
        "all calls of a turn have one id, so that the second settle is taken for a repeat of the first",
        (Edit(_LEASE, 'return f"{self.grant.token}:{self._steps}"', "return self.grant.token"),),
    ),
    CodeFault(
        "popped-by-count",
        "a settle ends whatever stands at the head, as many as it has outcomes, every time it arrives",
        (
            Edit(_SETTLE, "if earlier then return tell(earlier, token, fence) end", ""),
            Edit(_SETTLE, "if heads[i] ~= ARGV[FIRST + 2 * (i - 1)] then", "if not heads[i] then"),
            Edit(_SETTLE, "if not owns(token, fence) then return { 'fenced' } end", ""),
        ),
    ),
    CodeFault(
        "timer-record-forgotten",
        "a lease is not put into the due set: who waits behind a dead holder waits for ever",
        (Edit(_COMMON, "  redis.call('ZADD', due, until_ms, lane)\n", ""),),
    ),
    CodeFault(
        "journal-dropped",
        "putting an intent back forgets that a create of it may have happened",
        (Edit(_POSTPONE, "put('journal', ARGV[10])", "put('journal', 'clear')"),),
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
                "worker/services.py",
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
                "fields = {} if form_on_user else dict(wish.fields)",
                "fields = {} if form_on_user else {**wish.insert_fields, **wish.fields}",
            ),
        ),
    ),
    CodeFault(
        "whole-fold-blamed",
        "when a fold is refused its head becomes the dead letter, guilty or not",
        (Edit(_TURN, "if len(attempt.wish.members) == 1:", "if attempt.wish.members:"),),
    ),
    CodeFault(
        "kills-counted-for-all",
        "a dead holder counts against every intent that it had been given",
        (
            Edit(
                _CLAIM,
                "if l[1] then redis.call('HINCRBY', head, 'kills', 1) end",
                "if l[1] then for _, id in ipairs(redis.call('LRANGE', queue_key, 0, -1)) do "
                "redis.call('HINCRBY', intents .. id, 'kills', 1) end end",
            ),
        ),
    ),
    CodeFault(
        "external-id-lock-without-end",
        "the lock of a holder that died on an external id is never free again",
        (
            Edit(_LEAF, "'until', text(now + tonumber(ARGV[3])))", "'until', text(now * 2))"),
            Edit(_LEAF, "text(math.max(tonumber(ARGV[3]), ", "text(math.max(1e12, "),
        ),
    ),
    CodeFault(
        "queued-intents-expire",
        "what waits in a lane has a time to live",
        (
            Edit(
                _SUBMIT,
                "redis.call('RPUSH', queue, id)",
                "redis.call('RPUSH', queue, id)\nredis.call('PEXPIRE', intent, 60000)",
            ),
        ),
    ),
    CodeFault(
        "resubmit-is-new",
        "an intent that is sent again because its receipt was lost is stored again",
        (Edit(_SUBMIT, "if redis.call('EXISTS', intent) == 1 then", "if false then"),),
    ),
    CodeFault(
        "dedupe-after-the-push",
        "an intent with a known dedupe key is stored before it is told that it is known",
        (
            Edit(
                _SUBMIT,
                "  if known then\n",
                "  if known then\n    redis.call('HSET', intent, 'payload', payload, 'at', '0')\n"
                "    redis.call('RPUSH', queue, id)\n",
            ),
        ),
    ),
    CodeFault(
        "unsent-turn-not-recovered",
        "the timer hands out what is due and forgets the turns that were lost",
        (
            Edit(
                "worker/lanes/scripts/due.lua",
                "for i, class in ipairs({ 'interactive', 'bulk' }) do",
                "for i, class in ipairs({}) do",
            ),
        ),
    ),
)
