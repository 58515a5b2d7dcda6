-- When is the next moment (ms) at which something can happen? -1: never; -2: when an operator resumes; 0: there is
-- work now, or a lease is held.
-- ARGV: the hold of a new epoch (ms), the time (ms).
local prefix, hold_ms, now = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])
local due = redis.call('ZRANGE', prefix .. 'due', 0, -1, 'WITHSCORES')
for i = 1, #due, 2 do
  if redis.call('HEXISTS', prefix .. 'lane:' .. due[i], 'token') == 1 then return 0 end
end
local ready = redis.call('EXISTS', prefix .. 'ready:interactive', prefix .. 'ready:bulk', prefix .. 'ready:suspect') > 0
local waits = ready or #due > 0
local first = tonumber(due[2])

local epoch = redis.call('HMGET', prefix .. 'epoch', 'since', 'resumed')
local since = tonumber(epoch[1] or '0')
if since > 0 and not epoch[2] and now < since + hold_ms then return waits and since + hold_ms or -1 end

local breaker = redis.call('HMGET', prefix .. 'breaker', 'state', 'next')
if breaker[1] == 'paused' then return waits and -2 or -1 end
if breaker[1] == 'open' then return tonumber(breaker[2]) end
return ready and 0 or first or -1
