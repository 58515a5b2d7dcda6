-- breaker_tell: how a call went, as far as it says something about Intercom or our access to it.
--
-- KEYS  1 breaker hash
-- ARGV  1 word: ok | failed | refused   2 lane   3 failures in a row that stop the line   4 lanes among them
--       5 pause between two trials (ms)   6 life of a streak (ms)   7 problem JSON
--
-- Result {word}: closed | open | paused
--
-- Law: refused (a dead token) stops the line at once; failures only when there are many in a row on several lanes,
-- so that one lane's trouble is not everybody's. One success starts everything again. A pause is a person's: no
-- call ends it.

local word, lane = ARGV[1], ARGV[2]
local state = redis.call('HGET', KEYS[1], 'state')
if state == 'paused' then return { 'paused' } end

if word == 'ok' then
  redis.call('DEL', KEYS[1])
  return { 'closed' }
end

local function stop()
  if not state then redis.call('HSET', KEYS[1], 'state', 'open', 'since', text(now)) end
  redis.call('HSET', KEYS[1], 'next', text(now + tonumber(ARGV[5])), 'problem', ARGV[7])
  redis.call('PERSIST', KEYS[1])
  return { 'open' }
end

if state or word == 'refused' then return stop() end

local streak = redis.call('HINCRBY', KEYS[1], 'streak', 1)
redis.call('HSET', KEYS[1], 'lane:' .. lane, '1')
redis.call('PEXPIRE', KEYS[1], ARGV[6])
local lanes = redis.call('HLEN', KEYS[1]) - 1
if streak >= tonumber(ARGV[3]) and lanes >= tonumber(ARGV[4]) then return stop() end
return { 'closed' }
