-- gate: keep a place in the lane of a new address, for a change of address that waits in another lane.
--
-- KEYS  1 gate (an intent hash)   2 queue list   3 due   4 sent:interactive   5 sent:bulk   6 counters   7 changes
-- ARGV  1 gate id   2 lane   3 payload JSON   4 payload schema version   5 id of the change
--       6 when the change was accepted (us)   7 how soon a lane that sleeps is looked at (ms)
--
-- Result {kept} | {stands}: it had been made before
--
-- Law: made once for each acceptance of its change, whoever calls, and never again when it has ended. It waits like
-- an intent, so the lane stands in `sent` or `due`; but no turn is needed for it: it is the change that asks.

local gate, queue, due, counters, changes = KEYS[1], KEYS[2], KEYS[3], KEYS[6], KEYS[7]
local id, lane, change, order = ARGV[1], ARGV[2], ARGV[5], ARGV[6]
local at = string.format('%.0f', math.floor(tonumber(order) / 1000))
local member = change .. ':' .. id

local known = redis.call('HMGET', gate, 'at', 'state')
if known[1] and tonumber(known[1]) >= tonumber(at) then return { 'stands' } end
if known[1] and known[2] ~= 'done' then  -- its change came back from the dead before this was cleared away
  redis.call('HSET', gate, 'at', at)
  redis.call('ZADD', changes, order, member)
  return { 'kept' }
end

redis.call('DEL', gate)
redis.call('HSET', gate, 'payload', ARGV[3], 'at', at, 'schema', ARGV[4], 'change', change)
redis.call('RPUSH', queue, id)
redis.call('ZADD', changes, order, member)
redis.call('HINCRBY', counters, 'pending', 1)

local sent = redis.call('ZSCORE', KEYS[4], lane) or redis.call('ZSCORE', KEYS[5], lane)
if not sent and not redis.call('ZSCORE', due, lane) then
  local time = redis.call('TIME')
  local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
  redis.call('ZADD', due, string.format('%.0f', now + tonumber(ARGV[7])), lane)
end
return { 'kept' }
