"""Rules of the lanes switched off: leases, steps, records, places. Most are mistakes that models made."""

from __future__ import annotations

from onelane_worker.engine import lease

from .mutant import Mutant, all_of, calls, in_lua, in_script, swap


def _lease_from_the_reply(
    self: lease.Lease, grant: object, sent_at: float, lease_s: float, clock: lease.Clock
) -> None:
    _INIT(self, grant, clock(), lease_s, clock)  # type: ignore[arg-type]


def _extended_from_the_reply(self: lease.Lease, sent_at: float) -> None:
    self.own_deadline = max(self.own_deadline, self._clock() + self._lease_s)


_INIT = lease.Lease.__init__
NOTHING = "function() end"
HERE_ONLY = """function(lane, part, about, elsewhere)
  if lane == ARGV[2] then old(lane, part, about, elsewhere) end
end"""

IN_LANES = (
    # ── leases and steps ──
    Mutant(
        "unknown-write-overtaken",
        "a lane goes on at once after a write without an answer, which may still arrive",
        all_of(
            in_script(
                "claim",
                calls("  if name == 'HMGET' and ... == 'commit' then real('HDEL', key, 'commit') end"),
            ),
            in_script(
                "postpone",
                calls(
                    """
            if name == 'HMGET' and ... == 'commit' then
              local found = real(name, key, ...)
              found[1] = false
              return found
            end"""
                ),
            ),
        ),
    ),
    Mutant(
        "open-write-not-recorded",
        "a write is sent without its record",
        in_script("checkpoint", calls("  if name == 'HSET' and ... == 'open' then return 0 end")),
    ),
    Mutant(
        "deadline-from-the-reply",
        "a holder counts its time from when the answer came, not from when it asked",
        swap(lease.Lease, __init__=_lease_from_the_reply, extended=_extended_from_the_reply),
        covered="a checkpoint renews the lease before each write, and fences who has lost the lane; "
        "`tests/unit/engine/test_lease.py`",
    ),
    Mutant(
        "step-done-twice",
        "a step that is sent again is carried out again",
        in_lua(answered="function() if not owns(ARGV[2]) then return { 'fenced' } end end"),
    ),
    Mutant(
        "stale-step-done",
        "a late copy of an earlier step is carried out",
        in_lua(
            answered="""function()
              local l = redis.call('HMGET', key('lane', ARGV[2]), 'stepfence', 'step', 'answer')
              if l[1] == ARGV[4] and l[2] == ARGV[5] then return told(words_of(l[3])) end
              if not owns(ARGV[2]) then return { 'fenced' } end
            end"""
        ),
    ),
    Mutant(
        "anybody-may-step",
        "a holder that has lost its lane goes on",
        in_lua(owns="function() return true end"),
    ),
    Mutant(
        "claim-done-twice",
        "a claim that is sent again grants more, and the first grants are forgotten",
        in_script(
            "claim", calls("  if name == 'HMGET' and ... == 'number' then return { false, false } end")
        ),
    ),
    Mutant(
        "lease-not-due",
        "a lease is not put into the due set: who waits behind a dead holder waits for ever",
        in_script("claim", calls("  if name == 'ZADD' and key == KEYS[1] .. 'due' then return 0 end")),
    ),
    Mutant(
        "lease-not-renewed",
        "the timer renews no lease",
        in_script("tick", lease=NOTHING),
    ),
    Mutant(
        "journal-dropped",
        "putting an intent back forgets that a create of it may have happened",
        in_script(
            "postpone",
            put_field="""function(hash, name, part)
              return old(hash, name, name == 'journal' and 'clear' or part)
            end""",
        ),
    ),
    Mutant(
        "dirt-forgotten",
        "facts are believed though the last holder died and may have written",
        in_script(
            "claim",
            calls(
                """
            if name == 'HMGET' and select('#', ...) == 6 and ... == 'commit' then
              local found = real(name, key, ...)
              found[4] = false
              return found
            end"""
            ),
        ),
    ),
    # ── where lanes stand ──
    Mutant(
        "not-placed",
        "a lane whose lease has been given back is in no set",
        in_script("settle", place="function(lane) redis.call('ZREM', DUE, lane) end"),
    ),
    Mutant(
        "class-not-changed",
        "an interactive intent behind a bulk one does not move its lane",
        in_script(
            "submit",
            calls("  if name == 'ZSCORE' and string.sub(key, -10) == 'ready:bulk' then return false end"),
        ),
    ),
    Mutant(
        "hot-not-counted-down",
        "the counter of waiting interactive intents never falls",
        in_lua(count="function(lane, name, by) if name ~= 'hot' or by > 0 then old(lane, name, by) end end"),
    ),
    Mutant(
        "check-forgotten",
        "an empty lane that owes a settle check falls asleep",
        in_script(
            "settle",
            sleep="""function(lane)
              old(lane)
              redis.call('ZREM', DUE, lane)
            end""",
        ),
    ),
    Mutant(
        "queued-intents-expire",
        "what waits in a lane has a time to live",
        in_script(
            "submit",
            calls("  if name == 'RPUSH' then real('PEXPIRE', KEYS[1] .. 'intent:' .. ARGV[2], '60000') end"),
        ),
    ),
    Mutant(
        "resubmit-is-new",
        "an intent that is sent again because its receipt was lost is stored again",
        in_script("submit", calls("  if name == 'EXISTS' then return 0 end")),
    ),
    Mutant(
        "settle-any-head",
        "a settle ends its intents wherever they stand",
        in_script(
            "settle",
            calls(
                """
            if name == 'LRANGE' then
              local ids = {}
              for n = 1, tonumber(ARGV[15]) do ids[n] = ARGV[13 + 3 * n] end
              return ids
            end"""
            ),
            owns="function() return true end",
        ),
    ),
    # ── kills ──
    Mutant(
        "kills-for-batch-mates",
        "a dead holder counts against every intent that it had been given",
        in_script(
            "tick",
            calls(
                """
            if name == 'HINCRBY' and ... == 'kills' then
              local lane = real('HGET', key, 'lane')
              for _, id in ipairs(real('LRANGE', KEYS[1] .. 'queue:' .. lane, 0, -1)) do
                if string.sub(id, 1, 1) ~= '~' then
                  real('HINCRBY', KEYS[1] .. 'intent:' .. id, 'kills', 1)
                end
              end
              return 1
            end"""
            ),
        ),
    ),
    Mutant(
        "kills-for-the-living",
        "a holder that stood still is counted as dead, whatever its process says",
        in_script("tick", calls("  if name == 'HGET' and ... == 'seen' then return '0' end")),
    ),
    Mutant(
        "kills-are-never-charged",
        "a dead holder counts against nobody",
        in_script("tick", calls("  if name == 'HINCRBY' and ... == 'kills' then return 0 end")),
    ),
    # ── external ids ──
    Mutant(
        "external-id-not-locked",
        "two addresses work on one external id at once",
        in_lua(held_until="function() return nil end"),
    ),
    Mutant(
        "external-id-lock-given-back-early",
        "a write without an answer gives its lock back",
        in_script(
            "postpone",
            park="""function(lane, at)
              for _, ext in ipairs(words_of(redis.call('HGET', key('lane', lane), 'exts'))) do
                redis.call('HDEL', key('ext', ext), 'until')
              end
              give_back(lane, '')
              old(lane, at)
            end""",
        ),
    ),
    Mutant(
        "external-id-lock-without-end",
        "the lock of a write that was not answered is never free again",
        in_script(
            "checkpoint",
            calls(
                """
            if name == 'HSET' and ... == 'until' and string.find(key, ':ext:', 1, true) then
              return real(name, key, 'until', '9999999999999')
            end"""
            ),
        ),
    ),
    Mutant(
        "external-id-waiters-not-woken",
        "who gives an external id back wakes nobody",
        in_lua(wake_first_waiter=NOTHING),
    ),
    Mutant(
        "versions-not-told",
        "a grant does not say which versions an external id has seen",
        in_lua(
            lock_told="""function(ext)
              local told = old(ext)
              told[3] = {}
              return told
            end"""
        ),
    ),
    Mutant(
        "contact-marks-not-told",
        "a lane believes what it knows of a contact that another lane has written to",
        in_lua(marks_of="function() return {}, {} end"),
    ),
    # ── changes of address ──
    Mutant(
        "marker-not-placed",
        "a change of address keeps no place in the lane of the new one",
        in_script(
            "submit",
            come="""function(lane, id)
              local target = redis.call('HGET', key('intent', id), 'target')
              redis.call('HDEL', key('intent', id), 'target')
              local ready = old(lane, id)
              if target then redis.call('HSET', key('intent', id), 'target', target) end
              return ready
            end""",
        ),
    ),
    Mutant(
        "marker-not-awaited",
        "a change of address does not wait for those before its marker",
        in_lua(
            obstacle="""function(lane, head)
              local target = head.target
              head.target = nil
              local what = old(lane, head)
              head.target = target
              return what
            end"""
        ),
    ),
    Mutant(
        "marker-left-behind",
        "a change of address that has ended leaves its marker",
        in_lua(remove_marker=NOTHING),
    ),
    Mutant(
        "target-not-told",
        "the lane of the new address does not learn who has come",
        in_script(
            "settle",
            put_registry=HERE_ONLY,
        ),
    ),
    Mutant(
        "buried-change-leaves-no-pointer",
        "a change of address that became a dead letter may have moved somebody, and nobody knows",
        in_script(
            "bury",
            put_registry=HERE_ONLY,
        ),
    ),
    # ── operators ──
    Mutant(
        "replayed-behind-an-erasure",
        "a dead letter comes back while an erasure waits",
        in_script("replay", calls("  if name == 'HEXISTS' and ... == 'erasing' then return 0 end")),
    ),
    Mutant(
        "withdrawn-while-served",
        "an intent that is at work can be withdrawn",
        in_script("withdraw", calls("  if name == 'HGET' and ... == 'served' then return '0' end")),
    ),
    # ── breaker, epoch, budget ──
    Mutant(
        "breaker-ignored",
        "lanes are granted while the circuit breaker is open or an operator has paused the line",
        in_lua(stands_still="function() return in_hold() end"),
    ),
    Mutant(
        "half-open-is-open-to-all",
        "when a probe was answered all lanes are granted at once",
        in_script(
            "claim",
            breaker_state="""function(name)
              local state = old(name)
              return state == 'half' and 'closed' or state
            end""",
        ),
    ),
    Mutant(
        "hold-ignored",
        "lanes are granted at once by a server that may have lost records of writes",
        in_lua(in_hold="function() return false end"),
    ),
    Mutant(
        "epoch-not-noticed",
        "nobody notices that another server has taken over",
        in_lua(look_at_server="function() epoch_ms, hold_until = 0, 0 end"),
    ),
    Mutant(
        "budget-ignored",
        "calls are reserved without end",
        in_lua(calls_left="function() return 1000 end"),
    ),
)
