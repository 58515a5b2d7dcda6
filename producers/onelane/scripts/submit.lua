-- submit: accept one intent into its lane.
--
-- KEYS  1 intent hash   2 queue list   3 lane hash   4 due   5 sent:interactive   6 sent:bulk   7 counters
--       8 dedupe key (only if the intent has one)   last: changes (only for a change of address)
-- ARGV  1 intent id     2 lane         3 payload JSON        4 queue class: interactive | bulk
--       5 payload schema version       6 content digest
--       7 most intents in a lane       8 most waiting intents in the partition
--       9 1 if it is a change of address
--
-- Result {status, intent id, seq, queue, us of acceptance of a change or 0}, all strings. seq "0": nothing to publish; else publish a turn with
-- that seq into that queue.
--   accepted    stored, now or by an earlier call with this id
--   duplicate   the dedupe key stands for an equal intent: its id
--   mismatch    the dedupe key stands for another content: the id of that intent
--   lane_full   nothing stored; the second word is the limit
--   queue_full  nothing stored; the second word is the limit
--
-- Law: stored and in `sent` before any message exists. A lane that nobody would look at is woken here; one that
-- stands in `sent`, or in `due` for its lease or its retry, is left to the turn or the timer that has it. Called
-- again with one id it changes nothing.
--
-- Fields of the intent hash: payload, at (ms of acceptance), dedupe (last word of the dedupe key), bulk (1 in the
-- bulk class), schema (if above 1), change (its own id, of a change of address). No `state` means waiting. Every byte here counts once per waiting intent.

local intent, queue, lane_hash, due = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local sent = { interactive = KEYS[5], bulk = KEYS[6] }
local is_change = ARGV[9] == '1'
local counters, dedupe = KEYS[7], (not is_change or #KEYS > 8) and KEYS[8]
local id, lane, payload, class = ARGV[1], ARGV[2], ARGV[3], ARGV[4]

local function text(number) return string.format('%.0f', number) end

local function outstanding()
  for _, name in ipairs({ 'interactive', 'bulk' }) do
    local seq = redis.call('ZSCORE', sent[name], lane)
    if seq then return name, text(tonumber(seq)) end
  end
end

-- Two changes may be accepted within one ms; which was first decides where they cross.
local function accepted(seq, name)
  local order = is_change and redis.call('ZSCORE', KEYS[#KEYS], id .. ':' .. id)
  return { 'accepted', id, seq, name, order and text(tonumber(order)) or '0' }
end

local function send(name)
  local seq = text(redis.call('HINCRBY', counters, 'seq:' .. name, 1))
  redis.call('ZADD', sent[name], seq, lane)
  return accepted(seq, name)
end

if redis.call('EXISTS', intent) == 1 then
  local name, seq = outstanding()
  return accepted(seq or '0', name or class)
end

if dedupe then
  local known = redis.call('GET', dedupe)
  if known then
    local earlier, content = string.match(known, '^([^:]*):(.*)$')
    return { content == ARGV[6] and 'duplicate' or 'mismatch', earlier, '0', class, '0' }
  end
end

if redis.call('LLEN', queue) >= tonumber(ARGV[7]) then
  return { 'lane_full', ARGV[7], '0', class, '0' }
end
if tonumber(redis.call('HGET', counters, 'pending') or '0') >= tonumber(ARGV[8]) then
  return { 'queue_full', ARGV[8], '0', class, '0' }
end

local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now_ms = text(math.floor(now_us / 1000))
redis.call('HSET', intent, 'payload', payload, 'at', now_ms)
if class == 'bulk' then redis.call('HSET', intent, 'bulk', '1') end
if tonumber(ARGV[5]) > 1 then redis.call('HSET', intent, 'schema', ARGV[5]) end
if dedupe then
  redis.call('SET', dedupe, id .. ':' .. ARGV[6])
  redis.call('HSET', intent, 'dedupe', string.match(dedupe, '[^:]*$'))
end
if is_change then
  redis.call('HSET', intent, 'change', id)
  redis.call('ZADD', KEYS[#KEYS], text(now_us), id .. ':' .. id)
end
redis.call('RPUSH', queue, id)
redis.call('HINCRBY', counters, 'pending', 1)

local name = outstanding()
if name == 'bulk' and class == 'interactive' then
  redis.call('ZREM', sent.bulk, lane)  -- `due` stays: a double of that turn may hold the lane
  return send('interactive')
end
if name then return accepted('0', class) end

if redis.call('ZSCORE', due, lane) and redis.call('HGET', lane_hash, 'yields') ~= '1' then
  return accepted('0', class)
end
redis.call('ZREM', due, lane)
return send(class)
