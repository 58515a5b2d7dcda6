-- What must be true of every lane whenever a script has run (PROTOCOL 2 and 8): looks at those that changed.
-- Returns what is broken, in words; then `fences`, and lane and fence of each lane.
local prefix = KEYS[1]
local broken, fences = {}, {}

local function hget(key, field) return redis.call('HGET', prefix .. key, field) end

local CLASSES = { 'interactive', 'bulk', 'suspect' }

local function is_marker(id) return string.sub(id, 1, 1) == '~' end

-- How many interactive intents and markers wait; what is wrong with what waits.
local function counted(lane, ids)
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
  local kills = tonumber(hget('intent:' .. ids[1], 'kills') or '0')
  if kills > 0 then return 'suspect' end
  return hot > 0 and 'interactive' or 'bulk'
end

local function check(lane)
  local ids = redis.call('LRANGE', prefix .. 'queue:' .. lane, 0, -1)
  local fields = redis.call('HMGET', prefix .. 'lane:' .. lane, 'token', 'until', 'hot', 'check_at')
  local score = redis.call('ZSCORE', prefix .. 'due', lane)
  local due = score and tonumber(score) or nil
  local ready, times = nil, 0
  for _, class in ipairs(CLASSES) do
    if redis.call('ZSCORE', prefix .. 'ready:' .. class, lane) then ready, times = class, times + 1 end
  end
  if #ids == 0 then
    local owed = fields[4] and tonumber(fields[4]) or nil
    if times > 0 and not owed then return 'an empty lane is ready' end
    if fields[1] then return 'an empty lane is leased' end
    if due ~= owed and times == 0 then return 'an empty lane is due, and owes no check then' end
    return nil
  end
  if times + (due and 1 or 0) ~= 1 then return 'a waiting lane is in ' .. times .. ' ready sets, due ' .. tostring(due) end
  local hot, wrong = counted(lane, ids)
  if wrong then return wrong end
  if hot ~= tonumber(fields[3] or '0') then return hot .. ' hot intents wait, and it counts ' .. tostring(fields[3]) end
  if fields[1] then
    if due ~= tonumber(fields[2]) then return "a leased lane is not due at its lease's end" end
    if is_marker(ids[1]) then return 'a leased lane has a marker at its head' end
  elseif ready and not is_marker(ids[1]) and ready ~= class_of(ids, hot) then
    return 'a ' .. class_of(ids, hot) .. ' lane is ready as ' .. ready
  end
end

for lane in pairs(redis.changed_lanes(prefix)) do
  local wrong = check(lane)
  if wrong then broken[#broken + 1] = lane .. ': ' .. wrong end
  fences[#fences + 1] = lane
  fences[#fences + 1] = hget('lane:' .. lane, 'fence') or '0'
end
broken[#broken + 1] = 'fences'
for _, word in ipairs(fences) do broken[#broken + 1] = word end
return broken
