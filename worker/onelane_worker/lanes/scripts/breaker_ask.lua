-- breaker_ask: may this turn call Intercom?
--
-- KEYS  1 breaker hash
-- ARGV  1 pause between two trials (ms)
--
-- Result {word, ms of the next trial, problem JSON}:
--   closed   go on                       streak   go on, and tell of a success: calls have failed lately
--   trial    go on alone: the line is stopped, and this turn finds out whether it still has to be
--   open     do not call                 paused   do not call: a person stopped the line
--
-- Law: one trial at a time. It is not taken back: a trial that dies is followed by the next after the pause.

local breaker = redis.call('HMGET', KEYS[1], 'state', 'next', 'problem', 'streak')
local state, next_ms = breaker[1], tonumber(breaker[2] or '0')

if state == 'paused' then return { 'paused', '0', breaker[3] or '' } end
if not state then return { breaker[4] and 'streak' or 'closed', '0', '' } end
if now < next_ms then return { 'open', text(next_ms), breaker[3] or '' } end
redis.call('HSET', KEYS[1], 'next', text(now + tonumber(ARGV[1])))
return { 'trial', text(now + tonumber(ARGV[1])), breaker[3] or '' }
