-- _common: the loader puts this before every lane script.
--
-- KEYS of a script that serves one lane (due, leaf_take and leaf_give name their own):
--   1 lane hash   2 queue list   3 due   4 sent:interactive   5 sent:bulk   6 counters   7 intent prefix
--   8 answer key of this call    9 belief   10 memory   11 dedupe prefix   12 dead   13 changes   14 ended
--   15 history
--
-- Lane hash: token, fence, until (ms)   the lease. An overdue token stays until somebody takes the lane over: that
--                                       it is still there says that its holder never released. Who holds the token
--                                       owns the lane, overdue or not, since nobody else has touched it.
--            batch, seen, usable        the grant: intents granted, intents then waiting, facts usable (1 | 0)
--            dirty                      1 from a grant to the settle that ends it cleanly
--            open, commit (ms)          the open write and when it can no longer commit
--            journal                    a create that may be in flight or done
--            blamed                     the token that was last taken for a dead holder's, and the intent charged for it
--            scrubbed                   fence of the last erasure
--            yields                     1: the waiting head steps aside for whoever comes next
--            check, check_id, check_at  an intent of our own, to be put into the lane at its time, when it is empty
-- Intent hash, besides what submit.lua writes: state, attempts, kills, next (ms), error; at the end kind, lane,
--                                       outcome, ended (ms); once replayed: again (ms), whole (1: as it is)
--
-- Opaque values come as `keep`, `clear` or JSON. All times are ms of Redis' own clock, fences are its us; both are
-- kept as text, since Lua would print them rounded.

local lane_key, queue_key, due = KEYS[1], KEYS[2], KEYS[3]
local sent = { interactive = KEYS[4], bulk = KEYS[5] }
local counters, intents, answer_key = KEYS[6], KEYS[7], KEYS[8]
local LOOK_AHEAD = 50  -- waiting intents whose class decides the queue of the next turn

local time = redis.call('TIME')
local now_us = tonumber(time[1]) * 1000000 + tonumber(time[2])
local now = math.floor(now_us / 1000)

local function text(number) return string.format('%.0f', number) end

local function append(words, more)
  for _, word in ipairs(more) do words[#words + 1] = word end
  return words
end

-- Answers given once and to be given again: words without blanks, never payloads.
local function remember(words, ttl_ms)
  redis.call('SET', answer_key, table.concat(words, ' '), 'PX', ttl_ms)
  return words
end

local function recall()
  local known = redis.call('GET', answer_key)
  if not known then return nil end
  local words = {}
  for word in string.gmatch(known, '%S+') do words[#words + 1] = word end
  return words
end

local function owns(token, fence)
  local held = redis.call('HMGET', lane_key, 'token', 'fence')
  return held[1] == token and held[2] == fence
end

local function put(field, value)
  if value == 'clear' then
    redis.call('HDEL', lane_key, field)
  elseif value ~= 'keep' then
    redis.call('HSET', lane_key, field, value)
  end
end

local function put_key(key, value, ttl_ms)
  if value == 'clear' then
    redis.call('DEL', key)
  elseif value ~= 'keep' then
    redis.call('SET', key, value, 'PX', ttl_ms)
  end
end

local function is_sent(lane)
  return redis.call('ZSCORE', sent.interactive, lane) or redis.call('ZSCORE', sent.bulk, lane)
end

local function unsend(lane)
  redis.call('ZREM', sent.interactive, lane)
  redis.call('ZREM', sent.bulk, lane)
end

-- Interactive as soon as one of those next in line is.
local function class_of(queue)
  for _, id in ipairs(redis.call('LRANGE', queue, 0, LOOK_AHEAD - 1)) do
    if not redis.call('HGET', intents .. id, 'bulk') then return 'interactive' end
  end
  return 'bulk'
end

-- A new outstanding turn for a lane with waiting intents: {seq, queue, head id, attempts of the head}.
local function send(lane, queue)
  local class = class_of(queue)
  local head = redis.call('LINDEX', queue, 0)
  local seq = text(redis.call('HINCRBY', counters, 'seq:' .. class, 1))
  unsend(lane)
  redis.call('ZREM', due, lane)
  redis.call('ZADD', sent[class], seq, lane)
  return { seq, class, head, redis.call('HGET', intents .. head, 'attempts') or '0' }
end

-- The head, once the oldest change of address that waits here, or keeps a place here, stands before the others of
-- its sort. Where changes cross, every lane then serves them in one order, and no two wait for each other. Only while
-- nobody has the lane.
local function head_in_order()
  local head = redis.call('LINDEX', queue_key, 0)
  if not head or not redis.call('HGET', intents .. head, 'change') then return head end
  local oldest = redis.call('ZRANGEBYSCORE', KEYS[13], '-inf', '+inf', 'LIMIT', 0, 1)[1]
  local id = oldest and string.match(oldest, '[^:]*$') or head
  if id ~= head and redis.call('LREM', queue_key, 1, id) == 1 then
    redis.call('LPUSH', queue_key, id)
    return id
  end
  return head
end

-- The change of address whose place this is, if it is one: nobody serves it, and what waits behind it waits.
local function gate_of(id)
  local change = redis.call('HGET', intents .. id, 'change')
  return change and change ~= id and change or nil
end

local function lease(lane, lease_ms)
  local until_ms = text(now + lease_ms)
  redis.call('HSET', lane_key, 'until', until_ms)
  redis.call('ZADD', due, until_ms, lane)
end

-- How many intents, head first, one holder may have: none of a newer schema, none from a gate on, and a head that
-- killed so many workers alone. Before that, others of its batch may have been written already: without them an
-- earlier value would come back.
local function batch_size(most, schema, kills_to_go_alone)
  local ids = redis.call('LRANGE', queue_key, 0, most - 1)
  for position, id in ipairs(ids) do
    local intent = redis.call('HMGET', intents .. id, 'schema', 'kills', 'change')
    if tonumber(intent[1] or '1') > schema or (intent[3] and intent[3] ~= id) then return position - 1 end
    if position == 1 and tonumber(intent[2] or '0') >= kills_to_go_alone then most = 1 end
    if position == most then return position end
  end
  return #ids
end

-- The lease begins or goes on with `batch` intents; the attempt is the head's alone.
local function hand_over(lane, batch, usable, lease_ms)
  local head = intents .. redis.call('LINDEX', queue_key, 0)
  redis.call('HINCRBY', head, 'attempts', 1)
  redis.call('HSET', head, 'state', 'working')
  redis.call('HDEL', head, 'next')
  redis.call('HSET', lane_key, 'batch', batch, 'seen', redis.call('LLEN', queue_key), 'usable', usable, 'dirty', '1')
  redis.call('HDEL', lane_key, 'yields')
  lease(lane, lease_ms)
end

-- The grant as it stands: fence, now, facts usable, open write, its commit time, journal, belief, memory, then for
-- each intent: id, payload, accepted, attempts, kills, and of a replayed one when it was first accepted, and 1 if it
-- is wanted whole. '' is nothing.
local function grant()
  local l = redis.call('HMGET', lane_key, 'fence', 'usable', 'open', 'commit', 'journal', 'batch')
  local words = {
    l[1], text(now), l[2], l[3] or '', l[4] or '', l[5] or '',
    redis.call('GET', KEYS[9]) or '', redis.call('GET', KEYS[10]) or '',
  }
  for _, id in ipairs(redis.call('LRANGE', queue_key, 0, tonumber(l[6]) - 1)) do
    local intent = redis.call('HMGET', intents .. id, 'payload', 'at', 'attempts', 'kills', 'again', 'whole')
    local again = intent[5]
    append(words, { id, intent[1], again or intent[2], intent[3] or '0', intent[4] or '0' })
    append(words, { again and intent[2] or '', again and intent[6] or '' })
  end
  return words
end

local function let_go() redis.call('HDEL', lane_key, 'token', 'until', 'batch', 'seen', 'usable') end

-- Nobody need look at an empty lane, but for a check that it owes; and that steps aside for whoever comes.
local function rest(lane, key)
  local at = redis.call('HGET', key, 'check_at')
  if at then
    redis.call('HSET', key, 'yields', '1')
    redis.call('ZADD', due, at, lane)
  else
    redis.call('ZREM', due, lane)
  end
end

-- Its fence and what is dirty are kept for a while.
local function fall_asleep(lane, idle_ms)
  let_go()
  unsend(lane)
  rest(lane, lane_key)
  redis.call('PEXPIRE', lane_key, idle_ms)
end

-- After intents have left the lane: the same lease goes on, or the lane is released. As remembered:
-- {more} | {publish, seq, queue, head id, attempts} | {left} | {asleep}
local function go_on(lane, want_more, usable, most, schema, lease_ms, idle_ms)
  local waiting = redis.call('LLEN', queue_key)
  if waiting == 0 then
    fall_asleep(lane, idle_ms)
    return { 'asleep' }
  end
  local batch = want_more and batch_size(most, schema, 1) or 0
  if batch > 0 then
    hand_over(lane, batch, usable, lease_ms)
    return { 'more' }
  end
  let_go()
  redis.call('ZREM', due, lane)
  if is_sent(lane) then return { 'left' } end
  return append({ 'publish' }, send(lane, queue_key))
end

-- What is told of a remembered go_on: a grant only to who still owns the lane, a turn only while its head waits.
local function tell(words, token, fence)
  if words[1] == 'more' then
    return owns(token, fence) and append({ 'more' }, grant()) or { 'left' }
  end
  if words[1] == 'publish' then
    local head = redis.call('HMGET', intents .. words[4], 'state', 'payload')
    if head[1] == 'dead' or not head[2] then return { 'left' } end
    return append(append({}, words), { head[2] })
  end
  return words
end

-- What is kept of an ended intent, for as long as it is: its receipt, and its dedupe key. An erasure looks here.
local function remember_end(id, dedupe, life_ms)
  local until_ms = now + tonumber(life_ms)
  for _, old in ipairs(redis.call('ZRANGEBYSCORE', KEYS[14], '-inf', text(now), 'LIMIT', 0, 100)) do
    redis.call('ZREM', KEYS[14], old)
  end
  redis.call('ZADD', KEYS[14], text(until_ms), dedupe and id .. ' ' .. dedupe or id)
  redis.call('PEXPIRE', KEYS[14], text(math.max(tonumber(life_ms), redis.call('PTTL', KEYS[14]))))
end

-- An intent leaves the lane, compared by id; from now on its dedupe key lives on borrowed time.
local function leave(lane, id, state, outcome, dedupe_ms)
  local intent = intents .. id
  local known = redis.call('HMGET', intent, 'payload', 'dedupe', 'change')
  local readable, content = pcall(cjson.decode, known[1])
  redis.call('LREM', queue_key, 1, id)
  redis.call('HINCRBY', counters, 'pending', -1)
  redis.call('HSET', intent, 'state', state, 'ended', text(now),
    'lane', lane, 'kind', readable and content.kind or 'unknown')
  if outcome ~= '' then redis.call('HSET', intent, 'outcome', outcome) end
  redis.call('HDEL', intent, 'next')
  if known[2] then redis.call('PEXPIRE', KEYS[11] .. known[2], dedupe_ms) end
  if known[3] then redis.call('ZREM', KEYS[13], known[3] .. ':' .. id) end
  return known[2]
end

