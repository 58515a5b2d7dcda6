-- claim: a turn asks for its lane.
--
-- KEYS  those of a lane (see _common); the answer key is that of the token
-- ARGV  1 lane   2 queue the turn came by   3 its seq   4 token   5 lease (ms)   6 most intents in a batch
--       7 newest payload schema understood   8 life of the answer (ms)   9 life of an idle lane (ms)
--       10 kills after which a head goes alone
--
-- Result {granted, …grant (see _common)}, or {reason, ms of the next chance or 0}:
--   busy     another holder's lease lives          asleep   nothing waits
--   not_due  the retry has its time                newer    the head needs a newer worker
--   held     an open write may still commit
--   gated    a change of address keeps its place at the head: two more words, its id and the gate's
--
-- Law: the turn's seq is recorded whatever the answer. Whoever is refused leaves the lane in `sent` or `due`, or
-- asleep. No lease begins while a write may still commit. A holder who never released costs the head a kill, and
-- nobody but the head. Facts are usable only if the last holder settled. A token is answered once: asked again it
-- is given what it still owns and never anything new.

local lane, queue, seq, token = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local lease_ms, schema = tonumber(ARGV[5]), tonumber(ARGV[7])

-- `seq` follows too: after a rollback of Redis the turns to come must not look overtaken.
for _, counter in ipairs({ 'claimed:', 'seq:' }) do
  if tonumber(seq) > tonumber(redis.call('HGET', counters, counter .. queue) or '0') then
    redis.call('HSET', counters, counter .. queue, seq)
  end
end
if tonumber(redis.call('ZSCORE', sent[queue], lane) or '-1') == tonumber(seq) then
  redis.call('ZREM', sent[queue], lane)
end

-- The turn may have been the lane's outstanding one: the timer takes its place.
local function stand(at)
  if redis.call('ZSCORE', due, lane) or is_sent(lane) then return end
  redis.call('ZADD', due, text(at), lane)
end

local function refuse(reason, at)
  return remember({ reason, text(at) }, ARGV[8])
end

local l = redis.call('HMGET', lane_key, 'token', 'until', 'fence', 'dirty', 'open', 'commit')
local until_ms, commit = tonumber(l[2] or '0'), l[5] and tonumber(l[6]) or 0

if l[1] == token then
  stand(until_ms)
  return append({ 'granted' }, grant())
end

local empty = redis.call('LLEN', queue_key) == 0
if empty then fall_asleep(lane, ARGV[9]) end

local earlier = recall()
if earlier then
  if not empty then stand(now) end
  return earlier[1] == 'granted' and { 'busy', '0' } or earlier
end
if empty then return refuse('asleep', 0) end

if l[1] and until_ms > now then
  stand(until_ms)
  return refuse('busy', until_ms)
end

local due_at = tonumber(redis.call('ZSCORE', due, lane) or '0')
if due_at > now then return refuse('not_due', due_at) end

if commit > now then
  unsend(lane)
  redis.call('ZADD', due, text(commit), lane)
  return refuse('held', commit)
end

local first = head_in_order()
local head = intents .. first
if tonumber(redis.call('HGET', head, 'schema') or '1') > schema then
  stand(now + lease_ms)
  return refuse('newer', now + lease_ms)
end

local change = gate_of(first)
if change then
  stand(now + lease_ms)
  return remember({ 'gated', text(now + lease_ms), change, first }, ARGV[8])
end

if l[1] then redis.call('HINCRBY', head, 'kills', 1) end
if l[1] then redis.call('HSET', lane_key, 'blamed', l[1] .. ' ' .. first) end  -- it may be alive: see give_back
local fence = text(math.max(tonumber(l[3] or '0') + 1, now_us))
redis.call('HSET', lane_key, 'token', token, 'fence', fence)
redis.call('PERSIST', lane_key)
hand_over(lane, batch_size(tonumber(ARGV[6]), schema, tonumber(ARGV[10])), l[4] == '1' and '0' or '1', lease_ms)
remember({ 'granted' }, ARGV[8])
return append({ 'granted' }, grant())
