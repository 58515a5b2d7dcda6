-- breaker_tell: how a call went, as far as it says something about Intercom or our access to it.
--
-- KEYS  1 breaker hash
-- ARGV  1 word: ok | failed | refused | untold   2 lane   3 failures in a row that stop the line   4 lanes among them
--       5 pause between two trials (ms)   6 life of a streak (ms)   7 problem JSON
--       8 sort of the call: reads | writes | subscriptions
--
-- Result {word, 1 if this call has stopped the line or started it again, else 0}
--   word: closed | streak | open | paused
--
-- Law: refused (a dead token, a missing permission) stops the line at once; failures only when there are many in a
-- row on several lanes, so that one lane's trouble is not everybody's. The record bears one sort, the widest that
-- had failed when the line stopped; a success of it starts everything again, and where reads failed any success does.
-- `untold`: the trial made no call of that sort, and the next may be made at once. A pause is a person's: no call ends
-- it.

local word, lane, sort = ARGV[1], ARGV[2], ARGV[8]
local known = redis.call('HMGET', KEYS[1], 'state', 'sort')
local state, failing = known[1], known[2] or 'reads'
if state == 'paused' then return { 'paused', '0' } end

if word == 'untold' then
  if state then redis.call('HSET', KEYS[1], 'next', text(now)) end
  return { state or 'closed', '0' }
end

if word == 'ok' then
  if failing ~= 'reads' and failing ~= sort then return { state or 'streak', '0' } end
  redis.call('DEL', KEYS[1])
  return { 'closed', state and '1' or '0' }
end

local width = { reads = 3, writes = 2, subscriptions = 1 }
if not known[2] or not state and width[sort] > width[failing] then redis.call('HSET', KEYS[1], 'sort', sort) end

local function stop()
  if not state then redis.call('HSET', KEYS[1], 'state', 'open', 'since', text(now)) end
  redis.call('HSET', KEYS[1], 'next', text(now + tonumber(ARGV[5])), 'problem', ARGV[7])
  redis.call('PERSIST', KEYS[1])
  return { 'open', state and '0' or '1' }
end

if state or word == 'refused' then return stop() end

local streak = redis.call('HINCRBY', KEYS[1], 'streak', 1)
redis.call('HSET', KEYS[1], 'lane:' .. lane, '1')
redis.call('PEXPIRE', KEYS[1], ARGV[6])
local lanes = redis.call('HLEN', KEYS[1]) - 2
if streak >= tonumber(ARGV[3]) and lanes >= tonumber(ARGV[4]) then return stop() end
return { 'streak', '0' }
