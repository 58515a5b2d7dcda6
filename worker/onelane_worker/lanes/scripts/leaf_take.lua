-- leaf_take: take or renew the lock on an external id, beside the lane's own lease.
--
-- KEYS  1 hash of the external id
-- ARGV  1 lane   2 fence   3 life (ms)
--
-- Result {owned, pointer JSON or '', versions JSON or ''} | {busy, ms when the lock ends}
--
-- Law: one lane at a time. The lock is the lane's: its next holder (a higher fence) takes it over at once, an
-- earlier one never. It ends by itself when a write of a dead holder can no longer commit; a repeat that
-- arrives after leaf_give costs others that long at most. Never wait for it while holding a lane: postpone.

local lane, fence = ARGV[1], ARGV[2]
local held = redis.call('HMGET', KEYS[1], 'lane', 'fence', 'until', 'pointer', 'pointer_until', 'versions')
local same = held[1] == lane
if held[1] and not same and tonumber(held[3]) > now then return { 'busy', held[3] } end
if same and tonumber(held[2]) > tonumber(fence) then return { 'busy', held[3] } end

redis.call('HSET', KEYS[1], 'lane', lane, 'fence', fence, 'until', text(now + tonumber(ARGV[3])))
redis.call('PEXPIRE', KEYS[1], text(math.max(tonumber(ARGV[3]), redis.call('PTTL', KEYS[1]))))
local known = held[4] and tonumber(held[5]) > now
return { 'owned', known and held[4] or '', held[6] or '' }
