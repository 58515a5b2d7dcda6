-- leaf_give: release the lock on an external id, and say who its contact is.
--
-- KEYS  1 hash of the external id
-- ARGV  1 lane   2 fence   3 pointer: keep | clear | JSON   4 its life (ms)
--
-- Result {ok} | {fenced}
--
-- Law: only its holder gives it back or writes the pointer. Give the leaf back before the lane is released.

local held = redis.call('HMGET', KEYS[1], 'lane', 'fence')
if held[1] ~= ARGV[1] or held[2] ~= ARGV[2] then return { 'fenced' } end

if ARGV[3] == 'clear' then
  redis.call('HDEL', KEYS[1], 'pointer', 'pointer_until')
elseif ARGV[3] ~= 'keep' then
  redis.call('HSET', KEYS[1], 'pointer', ARGV[3], 'pointer_until', text(now + tonumber(ARGV[4])))
  redis.call('PEXPIRE', KEYS[1], text(math.max(tonumber(ARGV[4]), redis.call('PTTL', KEYS[1]))))
end
redis.call('HDEL', KEYS[1], 'lane', 'fence', 'until')
return { 'ok' }
