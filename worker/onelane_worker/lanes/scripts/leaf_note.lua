-- leaf_note: remember which versions of its sources an external id has seen.
--
-- KEYS  1 hash of the external id
-- ARGV  1 lane   2 fence   3 versions: clear | JSON   4 their life (ms)
--
-- Result {ok} | {fenced}
--
-- Law: only the holder of the lock, after all its writes were answered and before the lock is given back: whoever has
-- it next sees what was applied before.

local held = redis.call('HMGET', KEYS[1], 'lane', 'fence')
if held[1] ~= ARGV[1] or held[2] ~= ARGV[2] then return { 'fenced' } end

if ARGV[3] == 'clear' then
  redis.call('HDEL', KEYS[1], 'versions')
  return { 'ok' }
end
redis.call('HSET', KEYS[1], 'versions', ARGV[3])
redis.call('PEXPIRE', KEYS[1], text(math.max(tonumber(ARGV[4]), redis.call('PTTL', KEYS[1]))))
return { 'ok' }
