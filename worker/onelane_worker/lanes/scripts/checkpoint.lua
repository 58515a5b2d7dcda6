-- checkpoint: write down what must not be forgotten, before the next call to Intercom.
--
-- KEYS  those of a lane (see _common); the answer key is that of the op
-- ARGV  1 lane   2 token   3 fence   4 lease (ms)   5 belief   6 its life (ms)   7 open write
--       8 how long from now it may still commit (ms)   9 journal   10 life of the answer (ms)
--
-- Result {ok, now (ms), when the open write can no longer commit (ms; 0: there is none)} | {fenced}
--
-- Law: owner only, also when asked again. Renews the lease. One open write replaces the other in this script, so
-- there is no moment between a sent write and its record. Clearing it says: answered, or provably never sent.

local lane, token, fence = ARGV[1], ARGV[2], ARGV[3]
if not owns(token, fence) then return { 'fenced' } end
local earlier = recall()
if earlier then return earlier end

lease(lane, tonumber(ARGV[4]))
put_key(KEYS[9], ARGV[5], ARGV[6])
put('journal', ARGV[9])
put('open', ARGV[7])
if ARGV[7] == 'clear' then
  redis.call('HDEL', lane_key, 'commit')
elseif ARGV[7] ~= 'keep' then
  redis.call('HSET', lane_key, 'commit', text(now + tonumber(ARGV[8])))
end
return remember({ 'ok', text(now), redis.call('HGET', lane_key, 'commit') or '0' }, ARGV[10])
