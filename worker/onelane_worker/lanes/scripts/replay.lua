-- replay: a dead letter goes to the tail of its lane once more, under its own id.
--
-- KEYS  those of a lane (see _common); the answer key is that of the op
-- ARGV  1 lane   2 intent id   3 nothing is to be left out of it: 1 | 0   4 most intents in a lane
--       5 most waiting intents in the partition   6 life of the answer (ms)
--
-- Result {accepted}, or {accepted, seq, queue, head id, attempts, payload} of a turn to publish
--   | {gone}: it is no dead letter | {lane_full} | {queue_full} | {erasing}: nothing changed
--
-- Law: the letter leaves the dead and stands in its lane in one step, and the lane is woken as by submit. When it was
-- first accepted stays on record; its attempts and kills begin anew. A living dedupe key of its own lives with it.
-- Not behind an erasure that waits there: its words are older, and would make the person anew with what was to go.

local lane, id, whole = ARGV[1], ARGV[2], ARGV[3]
local intent = intents .. id

-- A turn is told with the payload of its head, while that waits.
local function told(words)
  local payload = words[4] and redis.call('HGET', intents .. words[4], 'payload')
  if not payload then return { words[1] } end
  return append(append({}, words), { payload })
end

local function is_erasure(other)
  local payload = redis.call('HGET', intents .. other, 'payload') or ''
  if not string.find(payload, 'contact_erasure', 1, true) then return false end
  local readable, content = pcall(cjson.decode, payload)
  return readable and content.kind == 'contact_erasure'
end

local earlier = recall()
if earlier then return told(earlier) end

local known = redis.call('HMGET', intent, 'state', 'lane', 'dedupe')
if known[1] ~= 'dead' or known[2] ~= lane then return remember({ 'gone' }, ARGV[6]) end
if redis.call('LLEN', queue_key) >= tonumber(ARGV[4]) then return { 'lane_full' } end
if tonumber(redis.call('HGET', counters, 'pending') or '0') >= tonumber(ARGV[5]) then return { 'queue_full' } end

for _, other in ipairs(redis.call('LRANGE', queue_key, 0, -1)) do
  if is_erasure(other) then return { 'erasing' } end
end

redis.call('ZREM', KEYS[12], id)
redis.call('HDEL', intent, 'state', 'outcome', 'ended', 'error', 'attempts', 'kills', 'next', 'lane', 'kind', 'whole')
redis.call('HSET', intent, 'again', text(now))
if whole == '1' then redis.call('HSET', intent, 'whole', '1') end
if known[3] then
  local holder = redis.call('GET', KEYS[11] .. known[3])
  if holder and string.match(holder, '^[^:]*') == id then redis.call('PERSIST', KEYS[11] .. known[3]) end
end
if redis.call('HGET', intent, 'change') then redis.call('ZADD', KEYS[13], text(now_us), id .. ':' .. id) end
redis.call('RPUSH', queue_key, id)
redis.call('HINCRBY', counters, 'pending', 1)

local waits = redis.call('ZSCORE', due, lane) and redis.call('HGET', lane_key, 'yields') ~= '1'
if is_sent(lane) or waits then return remember({ 'accepted' }, ARGV[6]) end
return told(remember(append({ 'accepted' }, send(lane, queue_key)), ARGV[6]))
