-- scrub: what a lane's ended intents still hold of the person goes.
--
-- KEYS  those of a lane (see _common); the answer key is not used
-- ARGV  1 lane   2 token   3 fence   4 outcome JSON for dead letters   5 life of a status (ms)
--       6… ids of ended intents
--
-- Result {ok} | {fenced}: another holds the lane by now, and nothing is touched
--
-- Law: a dead letter ends, with the outcome that says why. Of every ended intent its error and its dedupe key go;
-- that there was one, and how it ended, is told until the status is forgotten. What still waits is left alone.

local lane = ARGV[1]
if not owns(ARGV[2], ARGV[3]) then return { 'fenced' } end
for i = 6, #ARGV do
  local id = ARGV[i]
  local intent = intents .. id
  local known = redis.call('HMGET', intent, 'state', 'lane', 'dedupe')
  if known[2] == lane and (known[1] == 'dead' or known[1] == 'done') then
    if known[1] == 'dead' then
      redis.call('ZREM', KEYS[12], id)
      redis.call('HSET', intent, 'state', 'done', 'outcome', ARGV[4])
      redis.call('PEXPIRE', intent, ARGV[5])
    end
    redis.call('HDEL', intent, 'payload', 'error', 'dedupe')
    local holder = known[3] and redis.call('GET', KEYS[11] .. known[3])
    if holder and string.match(holder, '^[^:]*') == id then redis.call('DEL', KEYS[11] .. known[3]) end
  end
end
return { 'ok' }
