-- _grant: how a lane is granted, or why not; and how external ids are locked.

local SUSPECT_ALONE = 2  -- a head with this many kills is granted alone, and is its engine's only suspect
local KEPT_EXT_MS = math.max(settings.version_ttl_ms, settings.max_hold_ms + settings.commit_ms)
local CHECK_KIND, CHECK_SCHEMA = 'settle_check', '2'

-- The key lives at least this long.
local function live(name, ttl_ms)
  if redis.call('PTTL', name) < ttl_ms then redis.call('PEXPIRE', name, text(ttl_ms)) end
end

local function is_held(lane, token, fence)
  local l = redis.call('HMGET', key('lane', lane), 'token', 'fence')
  return l[1] == token and l[2] == fence
end

-- ── external ids ──

-- Does a lane other than this one hold it now? nil, or when its hold ends at the latest (ms).
local function held_until(ext, lane)
  local x = redis.call('HMGET', key('ext', ext), 'lane', 'until')
  if not x[1] or x[1] == lane then return nil end
  local ends = tonumber(x[2] or '0')
  local l = redis.call('HMGET', key('lane', x[1]), 'token', 'until', 'exts')
  if l[1] and string.find(l[3] or '', ext, 1, true) then ends = math.max(ends, tonumber(l[2])) end
  return ends > now and ends or nil
end

local function wake_waiter(ext)
  if not held_until(ext, '') then wake_first_waiter(ext) end
end

local function words_of(line)
  local words = {}
  for word in string.gmatch(line or '', '%S+') do words[#words + 1] = word end
  return words
end

-- The lane gives back the external ids that it holds, but for those in `kept` (a line of digests).
local function give_back(lane, kept)
  local hash = key('lane', lane)
  local held = redis.call('HGET', hash, 'exts')
  if not held then return end
  if kept == '' then redis.call('HDEL', hash, 'exts') end
  for _, ext in ipairs(words_of(held)) do
    if not string.find(kept, ext, 1, true) and redis.call('HGET', key('ext', ext), 'lane') == lane then
      redis.call('HDEL', key('ext', ext), 'lane', 'until')
      wake_waiter(ext)
    end
  end
end

local function lock(ext, lane)
  local hash = key('ext', ext)
  if tonumber(redis.call('HGET', hash, 'until') or '0') <= now then redis.call('HDEL', hash, 'until') end
  redis.call('HSET', hash, 'lane', lane)
  live(hash, KEPT_EXT_MS)
  redis.call('ZREM', key('wait', ext), lane)
end

-- The lane stands in line for an external id; who waited before keeps its place. The first in line also looks when the
-- lock ends by itself.
local function wait_for_ext(lane, ext, ends)
  local line = key('wait', ext)
  local in_line = redis.call('ZSCORE', line, lane) or next_order()
  redis.call('ZADD', line, in_line, lane)
  redis.call('HSET', key('lane', lane), 'waits', 'x:' .. ext)
  for _, other in ipairs(redis.call('ZRANGEBYSCORE', line, '-inf', '(' .. in_line, 'LIMIT', 0, 100)) do
    if is_ready(other) or redis.call('HGET', key('lane', other), 'waits') == 'x:' .. ext then
      return park(lane, now + BLOCKED_MS)
    end
  end
  park(lane, ends + 1000)
end

-- ── what a grant tells ──

-- What others did to the contacts that a lane knows: {contact, ms, …} of outdated facts, and of moves away.
local function marks_of(lane, about)
  local outdated, moved = {}, {}
  for _, contact in ipairs(words_of(about)) do
    local c = redis.call('HMGET', key('contact', contact), 'writer', 'wrote', 'others', 'home', 'moved')
    local at = tonumber((c[1] == lane and c[3] or c[1] ~= lane and c[2]) or '0')
    if c[5] and c[4] ~= lane then
      add(moved, contact, tonumber(c[5]))
      at = math.max(at, tonumber(c[5]))
    end
    if at > 0 then add(outdated, contact, at) end
  end
  return outdated, moved
end

local function lock_told(ext)
  local fields, versions, x = redis.call('HGETALL', key('ext', ext)), {}, {}
  for i = 1, #fields, 2 do
    x[fields[i]] = fields[i + 1]
    local source = string.match(fields[i], '^v:(.*)$')
    if source then add(versions, source, fields[i + 1]) end
  end
  local fresh = tonumber(x.pointer_until or '0') > now
  return { ext, fresh and x.pointer or false, versions }
end

-- What a lane knows: registry, consent, and what others did to its contacts.
local function knowledge(lane, about)
  return redis.call('GET', key('registry', lane)), redis.call('GET', key('consent', lane)), marks_of(lane, about)
end

local function target_told(lane)
  local l = fields(key('lane', lane), 'about', 'dirty')
  return { lane, l.dirty and 0 or 1, knowledge(lane, l.about) }
end

-- The words of `Grant` in types.py, in its order; false is nothing.
local function grant(lane)
  local l = fields(key('lane', lane), 'token', 'fence', 'usable', 'open', 'commit', 'journal', 'batch', 'exts', 'about')
  local intents, locks, error, target = {}, {}, false, false
  for n, id in ipairs(redis.call('LRANGE', key('queue', lane), 0, tonumber(l.batch) - 1)) do
    local i = redis.call('HMGET', key('intent', id), 'payload', 'at', 'attempts', 'kills', 'again', 'whole', 'burials',
      'bulk', 'error', 'target')
    intents[n] = { id, i[1] or '', i[2] or 0, i[3] or 0, i[4] or 0, i[5], i[6] or 0, i[7] or 0, i[8] or 0 }
    if n == 1 then error, target = i[9], i[10] end
  end
  for n, ext in ipairs(words_of(l.exts)) do locks[n] = lock_told(ext) end
  return {
    lane, l.token, l.fence, text(now), intents, l.usable or 0, error, l.journal, l.open, l.commit, locks,
    target and target_told(target), knowledge(lane, l.about),
  }
end

-- ── granting ──

local function lease(lane)
  local ends = text(now + settings.lease_ms)
  redis.call('HSET', key('lane', lane), 'until', ends)
  redis.call('ZADD', DUE, ends, lane)
end

local function release(lane) redis.call('HDEL', key('lane', lane), 'token', 'until', 'batch', 'seen', 'usable') end

-- How many intents from the head on may be worked on together. What folds of them is the planner's to say.
local function batch_size(lane, head, waiting)
  if waiting == 1 or tonumber(head.kills or '0') >= SUSPECT_ALONE or head.target then return 1 end
  local bytes = 0
  local ids = redis.call('LRANGE', key('queue', lane), 0, settings.fold_max - 1)
  for n, id in ipairs(ids) do
    if change_of(id) then return n - 1 end
    local i = redis.call('HMGET', key('intent', id), 'schema', 'payload')
    bytes = bytes + string.len(i[2])
    if n > 1 and (bytes > settings.batch_bytes or tonumber(i[1] or '1') > settings.schema) then return n - 1 end
  end
  return #ids
end

-- A settle check that is due becomes an intent of the empty lane.
local function begin_check(lane)
  local hash = key('lane', lane)
  local check = redis.call('HMGET', hash, 'check_id', 'check')
  redis.call('HSET', key('intent', check[1]), 'payload', check[2], 'kind', CHECK_KIND, 'lane', lane, 'at', text(now),
    'bulk', '1', 'schema', CHECK_SCHEMA)
  redis.call('HDEL', hash, 'check_id', 'check', 'check_at')
  redis.call('PERSIST', hash)
  come(lane, check[1])
  unready(lane)
  return check[1]
end

-- What parks the lane until the head can be served; nil: it can.
local function obstacle(lane, head)
  local is_newer = tonumber(head.schema or '1') > settings.schema
  if is_newer then return function() park(lane, now + settings.newer_ms) end end
  for _, ext in ipairs(exts_of(head)) do
    local ends = held_until(ext, lane)
    if ends then return function() wait_for_ext(lane, ext, ends) end end
  end
  local target = head.target
  if target and redis.call('LINDEX', key('queue', target), 0) ~= '~' .. head.id then
    return function() wait_for_lane(lane, target) end
  end
end

-- The lane is not granted: whoever waited behind it for one of these external ids may go on.
local function step_aside(lane, exts)
  release(lane)
  give_back(lane, '')
  for _, ext in ipairs(exts) do wake_waiter(ext) end
end

local function take_locks(lane, exts)
  local line = table.concat(exts, ' ')
  give_back(lane, line)
  if #exts == 0 then return end
  for _, ext in ipairs(exts) do lock(ext, lane) end
  redis.call('HSET', key('lane', lane), 'exts', line)
end

-- The lease begins (`token`), or goes on (nil) with the next batch.
local function begin_batch(lane, l, head, token)
  local hash, record, waiting = key('lane', lane), key('intent', head.id), redis.call('LLEN', key('queue', lane))
  local batch, ends = batch_size(lane, head, waiting), text(now + settings.lease_ms)
  local stored = { 'dirty', '1', 'batch', text(batch), 'seen', text(waiting), 'until', ends,
    'served', text(math.max(tonumber(l.served or '0'), batch)) }
  if token then
    add(stored, 'token', token)
    add(stored, 'fence', text(math.max(tonumber(l.fence or '0') + 1, now_us)))
  end
  if token or l.dirty then add(stored, 'usable', l.dirty and '0' or '1') end
  take_locks(lane, exts_of(head))
  redis.call('HSET', hash, unpack(stored))
  redis.call('ZADD', DUE, ends, lane)
  if l.yields then redis.call('HDEL', hash, 'yields') end
  redis.call('HSET', record, 'attempts', text(tonumber(head.attempts or '0') + 1), 'state', 'working')
  if head.next then redis.call('HDEL', record, 'next') end
end

-- Grant a lane that was taken out of the ready sets (to `token`), or that its holder goes on with (nil); or park it
-- where it belongs. Returns whether it was granted.
local function offer(lane, token)
  local l = fields(key('lane', lane), 'commit', 'check_at', 'fence', 'dirty', 'served', 'yields')
  local id = redis.call('LINDEX', key('queue', lane), 0)
  if not id and token and tonumber(l.check_at or math.huge) <= now then id = begin_check(lane) end
  if not id or change_of(id) then
    step_aside(lane, {})
    place(lane)
    return false
  end
  if token and tonumber(l.commit or '0') > now then
    park(lane, tonumber(l.commit))
    return false
  end
  local head = fields(key('intent', id), 'schema', 'kills', 'target', 'ext', 'ext2', 'attempts', 'next')
  head.id = id
  local wait = obstacle(lane, head)
  if wait then
    step_aside(lane, exts_of(head))
    wait()
    return false
  end
  begin_batch(lane, l, head, token)
  return true
end

