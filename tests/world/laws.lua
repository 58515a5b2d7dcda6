-- What must be true of every lane whenever a script has run (PROTOCOL 2 and 8): looks at those that changed.
-- ARGV: the time (ms), the hold of a new epoch (ms).
-- Returns how the line stands (closed | half | open | paused | hold), a count of what is broken and as many words, and
-- of each lane its name, its fence, and whether it is leased 1 | 0.
local prefix, now, hold_ms = KEYS[1], tonumber(ARGV[1]), tonumber(ARGV[2])
local broken, lanes = {}, {}

local CLASSES = { 'interactive', 'bulk', 'suspect' }

local function is_marker(id) return string.sub(id, 1, 1) == '~' end

local function place_of(lane)
  local score, ready, times = redis.call('ZSCORE', prefix .. 'due', lane), nil, 0
  for _, class in ipairs(CLASSES) do
    if redis.call('ZSCORE', prefix .. 'ready:' .. class, lane) then ready, times = class, times + 1 end
  end
  return score and tonumber(score) or nil, ready, times
end

-- How many interactive intents and markers wait; what is wrong with what waits.
local function counted(ids)
  local hot = 0
  for _, id in ipairs(ids) do
    if is_marker(id) then
      hot = hot + 1
    else
      local record = redis.call('HMGET', prefix .. 'intent:' .. id, 'payload', 'bulk')
      if not record[1] then return hot, 'waits without a payload: ' .. id end
      if redis.call('PTTL', prefix .. 'intent:' .. id) ~= -1 then return hot, 'waits and will expire: ' .. id end
      if record[2] ~= '1' then hot = hot + 1 end
    end
  end
  return hot
end

local function class_of(ids, hot)
  if redis.call('HEXISTS', prefix .. 'intent:' .. ids[1], 'kills') == 1 then return 'suspect' end
  return hot > 0 and 'interactive' or 'bulk'
end

local function check(lane, fields)
  local ids = redis.call('LRANGE', prefix .. 'queue:' .. lane, 0, -1)
  local due, ready, times = place_of(lane)
  if #ids == 0 then
    local owed = fields[4] and tonumber(fields[4]) or nil
    if times > 0 and not owed then return 'an empty lane is ready' end
    if fields[1] then return 'an empty lane is leased' end
    if due ~= owed and times == 0 then return 'an empty lane is due, and owes no check then' end
    return nil
  end
  if times + (due and 1 or 0) ~= 1 then return 'a waiting lane is in ' .. times .. ' ready sets, due ' .. tostring(due) end
  local hot, wrong = counted(ids)
  if wrong then return wrong end
  if hot ~= tonumber(fields[3] or '0') then return hot .. ' hot intents wait, and it counts ' .. tostring(fields[3]) end
  if fields[1] then
    if due ~= tonumber(fields[2]) then return "a leased lane is not due at its lease's end" end
    if is_marker(ids[1]) then return 'a leased lane has a marker at its head' end
  elseif ready and not is_marker(ids[1]) and ready ~= class_of(ids, hot) then
    return 'a ' .. class_of(ids, hot) .. ' lane is ready as ' .. ready
  end
end

-- A free external id for which lanes wait has one in its line that goes on, or its last holder comes back for it. One
-- that waits for a lane keeps its place in the line.
local function check_waiters(ext)
  local lock = redis.call('HMGET', prefix .. 'ext:' .. ext, 'lane', 'until')
  if lock[2] and tonumber(lock[2]) > now then return nil end
  if lock[1] then
    local l = redis.call('HMGET', prefix .. 'lane:' .. lock[1], 'token', 'exts')
    local due, ready = place_of(lock[1])
    local comes_back = ready or due and due <= now + 2000
    if (l[1] or comes_back) and string.find(l[2] or '', ext, 1, true) then return nil end
  end
  local waits = false
  for _, lane in ipairs(redis.call('ZRANGE', prefix .. 'wait:' .. ext, 0, -1)) do
    local due, ready = place_of(lane)
    local l = redis.call('HMGET', prefix .. 'lane:' .. lane, 'token', 'waits')
    if ready or due and due <= now + 2000 or l[1] then return nil end
    waits = waits or l[2] == 'x:' .. ext
  end
  return waits and 'nobody of those who wait for a free external id goes on' or nil
end

for lane in pairs(redis.changed_lanes(prefix)) do
  local fields = redis.call('HMGET', prefix .. 'lane:' .. lane, 'token', 'until', 'hot', 'check_at', 'fence')
  local wrong = check(lane, fields)
  if wrong then broken[#broken + 1] = lane .. ': ' .. wrong end
  lanes[#lanes + 1], lanes[#lanes + 2], lanes[#lanes + 3] = lane, fields[5] or '0', fields[1] and '1' or '0'
end
for _, ext in ipairs(redis.names(prefix .. 'wait:')) do broken[#broken + 1] = check_waiters(ext) end

local epoch = redis.call('HMGET', prefix .. 'epoch', 'since', 'resumed')
local since = tonumber(epoch[1] or '0')
local state = redis.call('HGET', prefix .. 'breaker', 'state') or 'closed'
if since > 0 and not epoch[2] and now < since + hold_ms then state = 'hold' end
local told = { state, tostring(#broken) }
for _, word in ipairs(broken) do told[#told + 1] = word end
for _, word in ipairs(lanes) do told[#told + 1] = word end
return told
