-- _lanes: where a lane stands, and how an intent comes into it and leaves it. The loader puts this file, behind
-- _clock, in front of every script.
--
-- KEYS[1]  what all keys of the workspace begin with: the only key of every script
-- ARGV[1]  the first 8 digits of the workspace's secret, as the caller knows it
--
-- Answers of every script before anything else: {no_workspace} | {rekeyed}: nothing was done
--
-- A lane is asleep (empty, in no set), ready (in one of the three ready sets), leased (in `due` at its lease's end) or
-- due. A lane that waits for another lane or an external id is due, too; its field `waits` names what for.
-- Numbers are kept as text: Lua would print large ones rounded. A field that would say "none" or 0 is not there.

local prefix = KEYS[1]
local secret = redis.call('HGET', prefix .. 'meta', 'secret')
if not secret then return { 'no_workspace' } end
if string.sub(secret, 1, 8) ~= ARGV[1] then return { 'rekeyed' } end

local BLOCKED_MS = 300000  -- a lane that waits for an event is looked at without one, too
local IDLE_MS = 86400000  -- an empty lane's hash lives this much longer than what it says something about

local now_us = clock()
local now = math.floor(now_us / 1000)

local function key(word, name) return prefix .. word .. ':' .. name end
local DUE, COUNTERS, DEAD = prefix .. 'due', prefix .. 'counters', prefix .. 'dead'
local READY = {
  interactive = key('ready', 'interactive'),
  bulk = key('ready', 'bulk'),
  suspect = key('ready', 'suspect'),
}

local function text(number) return string.format('%.0f', number) end

-- Some fields of a hash by their names; false: not there.
local function fields(hash, ...)
  local values, found = redis.call('HMGET', hash, ...), {}
  for n, name in ipairs({ ... }) do found[name] = values[n] end
  return found
end

-- The arguments behind the last one that was taken.
local taken = 1
local function take()
  taken = taken + 1
  return ARGV[taken]
end

local function take_words(count)
  local words = {}
  for i = 1, count do words[i] = take() end
  return words
end

-- A counter of a lane; one that is 0 is not there.
local function count(lane, name, by)
  if redis.call('HINCRBY', key('lane', lane), name, by) == 0 then redis.call('HDEL', key('lane', lane), name) end
end

-- The change of address that keeps its place here by a marker; nil if the element is an intent.
local function change_of(element)
  return string.sub(element, 1, 1) == '~' and string.sub(element, 2) or nil
end

-- ── where a lane stands ──

local function class_of(lane)
  local head = redis.call('LINDEX', key('queue', lane), 0)
  if head and not change_of(head) and redis.call('HEXISTS', key('intent', head), 'kills') == 1 then return 'suspect' end
  return redis.call('HEXISTS', key('lane', lane), 'hot') == 1 and 'interactive' or 'bulk'
end

local function is_ready(lane)
  for _, set in pairs(READY) do
    if redis.call('ZSCORE', set, lane) then return true end
  end
  return false
end

local function unready(lane)
  for _, set in pairs(READY) do redis.call('ZREM', set, lane) end
end

local function next_order() return text(redis.call('HINCRBY', COUNTERS, 'order', 1)) end

-- To the tail of its class; it keeps its place if it stands there already.
local function make_ready(lane)
  local set = READY[class_of(lane)]
  redis.call('ZREM', DUE, lane)
  if redis.call('ZSCORE', set, lane) then return end
  unready(lane)
  redis.call('ZADD', set, next_order(), lane)
  redis.call('HDEL', key('lane', lane), 'waits')
end

local function park(lane, at)
  unready(lane)
  redis.call('ZADD', DUE, text(at), lane)
end

-- Nothing waits: nobody looks at the lane, but for a settle check that it owes.
local function sleep(lane)
  local hash = key('lane', lane)
  local check_at = redis.call('HGET', hash, 'check_at')
  unready(lane)
  redis.call('HDEL', hash, 'waits')
  if check_at then
    redis.call('ZADD', DUE, check_at, lane)
  else
    redis.call('ZREM', DUE, lane)
  end
  local needed_ms = math.max(0, redis.call('PTTL', key('registry', lane)), tonumber(check_at or '0') - now)
  redis.call('PEXPIRE', hash, text(IDLE_MS + needed_ms))
end

-- The lane waits for an event of another lane (`l:` and its name).
local function wait_for_lane(lane, other)
  park(lane, now + BLOCKED_MS)
  redis.call('HSET', key('lane', lane), 'waits', 'l:' .. other)
end

-- Where a lane without a lease stands, now that it was released or has another head.
local function place(lane)
  local head = redis.call('LINDEX', key('queue', lane), 0)
  if not head then return sleep(lane) end
  local change = change_of(head)
  if not change then return make_ready(lane) end
  local source = redis.call('HGET', key('intent', change), 'lane')
  wait_for_lane(lane, source)
  if redis.call('HGET', key('lane', source), 'waits') == 'l:' .. lane then make_ready(source) end
end

-- The first of those who wait for an external id may try; nobody, if one with an entry goes already.
local function wake_first_waiter(ext)
  local PAGE = 16
  for first = 0, math.huge, PAGE do
    local waiters = redis.call('ZRANGE', key('wait', ext), first, first + PAGE - 1)
    for _, lane in ipairs(waiters) do
      if is_ready(lane) then return end
      if redis.call('HGET', key('lane', lane), 'waits') == 'x:' .. ext then return make_ready(lane) end
    end
    if #waiters < PAGE then return end
  end
end

-- The external ids that an intent has to have locked, by its fields ext and ext2.
local function exts_of(intent)
  local exts = { intent.ext or nil }
  if intent.ext2 and intent.ext2 ~= intent.ext then exts[#exts + 1] = intent.ext2 end
  return exts
end

-- ── how an intent comes and goes ──

local function is_full(lane, lane_max) return redis.call('LLEN', key('queue', lane)) >= lane_max end

local function waiting() return tonumber(redis.call('HGET', COUNTERS, 'pending') or '0') end

-- An intent or a marker to the tail. Returns whether the lane became ready.
local function append(lane, element, bulk)
  local hash = key('lane', lane)
  local length = redis.call('RPUSH', key('queue', lane), element)
  if not bulk then count(lane, 'hot', 1) end
  local l = redis.call('HMGET', hash, 'token', 'yields')
  if l[1] then return false end
  if length == 1 then
    redis.call('PERSIST', hash)
    place(lane)
    return is_ready(lane)
  end
  if l[2] and redis.call('ZSCORE', DUE, lane) then
    redis.call('HDEL', hash, 'yields')
    make_ready(lane)
    return true
  end
  if not bulk and redis.call('ZSCORE', READY.bulk, lane) then make_ready(lane) end
  return false
end

-- An intent whose record is stored waits in its lane from now on, and a change of address in both of its lanes.
local function come(lane, id)
  local i = redis.call('HMGET', key('intent', id), 'bulk', 'erases', 'target')
  redis.call('HINCRBY', COUNTERS, 'pending', 1)
  if i[2] then count(lane, 'erasing', 1) end
  local ready = append(lane, id, i[1])
  if i[3] then ready = append(i[3], '~' .. id, i[1]) or ready end
  return ready
end

-- One wake-up message more, if lanes became ready and few are under way: 1 | 0.
local function wake(ready, most)
  if not ready or tonumber(redis.call('HGET', COUNTERS, 'tokens') or '0') >= most then return 0 end
  redis.call('HINCRBY', COUNTERS, 'tokens', 1)
  return 1
end

-- Something left the queue of a lane: unless it is leased, its head or only its class is another one now.
local function left(lane, was_head)
  if redis.call('HEXISTS', key('lane', lane), 'token') == 1 then return end
  if was_head then
    redis.call('HDEL', key('lane', lane), 'waits')
    place(lane)
  elseif is_ready(lane) then
    make_ready(lane)
  end
end

local function remove_marker(lane, marker, bulk)
  local was_head = redis.call('LINDEX', key('queue', lane), 0) == marker
  if redis.call('LREM', key('queue', lane), 1, marker) == 0 then return end
  if not bulk then count(lane, 'hot', -1) end
  left(lane, was_head)
end

-- The dedupe key of an intent, unless a later intent has it by now; then nil.
local function own_dedupe(id, digest)
  local holder = digest and redis.call('GET', key('dedupe', digest))
  return holder and string.match(holder, '^[^:]*') == id and key('dedupe', digest) or nil
end

-- An intent leaves its lane, and its record tells how it ended. Its dedupe key lives on borrowed time from now on.
local function go(lane, id, state, outcome, dedupe_ttl_ms)
  local hash = key('intent', id)
  local i = redis.call('HMGET', hash, 'bulk', 'erases', 'target', 'dedupe')
  redis.call('LREM', key('queue', lane), 1, id)
  redis.call('HINCRBY', COUNTERS, 'pending', -1)
  if not i[1] then count(lane, 'hot', -1) end
  if i[2] then count(lane, 'erasing', -1) end
  if i[3] then remove_marker(i[3], '~' .. id, i[1]) end
  redis.call('HSET', hash, 'state', state, 'outcome', outcome, 'ended', text(now))
  redis.call('HDEL', hash, 'next')
  local dedupe = own_dedupe(id, i[4])
  if dedupe then redis.call('PEXPIRE', dedupe, dedupe_ttl_ms) end
end

-- Of an intent that has ended for good, how it ended is kept for a while; what it said of a person is not.
local function forget_payload(id, ttl_ms)
  redis.call('HDEL', key('intent', id), 'payload', 'error')
  redis.call('PEXPIRE', key('intent', id), ttl_ms)
end

