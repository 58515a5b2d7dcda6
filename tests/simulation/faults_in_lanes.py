"""Deliberate faults in the lanes: scripts, leases, records."""

from __future__ import annotations

from tests.faults import CodeFault, Edit

_CLAIM = "worker/onelane_worker/lanes/scripts/claim.lua"
_COMMON = "worker/onelane_worker/lanes/scripts/_common.lua"
_SETTLE = "worker/onelane_worker/lanes/scripts/settle.lua"
_CHECKPOINT = "worker/onelane_worker/lanes/scripts/checkpoint.lua"
_POSTPONE = "worker/onelane_worker/lanes/scripts/postpone.lua"
_LEAF = "worker/onelane_worker/lanes/scripts/leaf_take.lua"
_SUBMIT = "producers/onelane/scripts/submit.lua"
_LEASE, _PERFORMER = "worker/onelane_worker/lease.py", "worker/onelane_worker/performer.py"

IN_LANES = (
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
        (
            Edit(
                _COMMON,
                "return owns(token, fence) and append(",
                "return redis.call('HGET', lane_key, 'batch') and append(",
            ),
            Edit(_CHECKPOINT, "if not owns(token, fence) then return { 'fenced' } end", ""),
        ),
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
            Edit(_SETTLE, "if heads[i] ~= ARGV[FIRST + 3 * (i - 1)] then", "if not heads[i] then"),
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
                "worker/onelane_worker/lanes/scripts/due.lua",
                "for i, class in ipairs({ 'interactive', 'bulk' }) do",
                "for i, class in ipairs({}) do",
            ),
        ),
    ),
)
