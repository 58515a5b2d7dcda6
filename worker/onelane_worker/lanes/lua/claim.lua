-- claim: an engine takes up to n lanes, and the calls that it needs to begin with them.
-- Answers  Claimed
-- Law      A claim with an older number does nothing; one with the last number is told what it was granted then, as far
--          as that is still its own, and never anything new. No lane without a call. Suspects come first and in their
--          order; then interactive lanes; every eighth pop, and else while the bucket is above half, bulk ones. While
--          bulk intents are stopped, one bulk lane is tried at a time.

local POPS = 4  -- beyond two for each lane that is wanted
local BULK_TURN = 8
local ENGINE_TTL_MS = 600000

local engine, number, most = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local room, has = tonumber(ARGV[5]), tonumber(ARGV[6])  -- suspects that may come, and that the engine has
local wakes, in_hand = tonumber(ARGV[7]), tonumber(ARGV[8])
local token, record = engine .. ':' .. ARGV[3], key('engine', engine)

look_at_server()
local line, bulk = breaker_state('breaker'), bulk_state()

local function reply(word, grants, calls, wait_ms, more)
  local since = epoch_ms > 0 and text(epoch_ms)
  return { word, grants or {}, more and 1 or 0, calls or 0, math.ceil(wait_ms or 0), since, line, bulk }
end

local known = redis.call('HMGET', record, 'number', 'grants')
local last = tonumber(known[1] or '0')
if number < last then return reply('stale') end
if number == last then
  local grants = {}
  for lane, fence in string.gmatch(known[2] or '', '(%S+) (%S+)') do
    if is_held(lane, token, fence) then grants[#grants + 1] = grant(lane) end
  end
  return reply('again', grants)
end
redis.call('HSET', record, 'number', ARGV[3])
redis.call('HDEL', record, 'grants')
live(record, ENGINE_TTL_MS)
if wakes > 0 then
  local tokens = tonumber(redis.call('HGET', COUNTERS, 'tokens') or '0')
  redis.call('HSET', COUNTERS, 'tokens', text(math.max(0, tokens - wakes)))
end

if stands_still(line) then return reply(in_hold() and 'hold' or 'open') end

-- Is the one lane that a breaker lets through still at work?
local function is_tried(name)
  local lane, fence = string.match(redis.call('HGET', prefix .. name, 'trial') or '', '(%S+) (%S+)')
  local l = lane and redis.call('HMGET', key('lane', lane), 'token', 'fence', 'until')
  return l and l[1] and l[2] == fence and tonumber(l[3]) > now
end

if line == 'half' then
  if is_tried('breaker') then return reply('half') end
  most = math.min(most, 1)
end

local bulk_stops = bulk == 'open'
    and (is_tried('breaker:bulk') or now < tonumber(redis.call('HGET', prefix .. 'breaker:bulk', 'next') or '0'))

load_bucket()
most = math.min(most, in_hand + calls_left())

local grants, granted, pops, turns = {}, {}, 0, tonumber(redis.call('HGET', COUNTERS, 'pops') or '0')
local turns_before = turns

local function spoken_for() return math.max(0, #grants - in_hand) end

local function waits(class) return redis.call('EXISTS', READY[class]) == 1 end

local function bulk_waits() return not bulk_stops and waits('bulk') end

local function kills_of(lane)
  local head = redis.call('LINDEX', key('queue', lane), 0)
  return head and not change_of(head) and tonumber(redis.call('HGET', key('intent', head), 'kills') or '0') or 0
end

-- The first suspect, if it may come: one that must be alone waits until the others have ended, and nobody passes it.
local function next_suspect()
  local lane = room > 0 and redis.call('ZRANGE', READY.suspect, 0, 0)[1]
  return lane and (has == 0 or kills_of(lane) < SUSPECT_ALONE) and lane or nil
end

local function next_class()
  turns = turns + 1
  if turns % BULK_TURN == 0 and bulk_waits() then return 'bulk' end
  if waits('interactive') then return 'interactive' end
  if not is_low(spoken_for()) and bulk_waits() then return 'bulk' end
end

local function take_lane(lane, class)
  local kills = class == 'suspect' and kills_of(lane)
  if not offer(lane, token) then return end
  grants[#grants + 1] = grant(lane)
  local name = lane .. ' ' .. grants[#grants][3]
  granted[#granted + 1] = name
  if class == 'suspect' then
    has = has + 1
    room = kills < SUSPECT_ALONE and room - 1 or 0
  end
  if class == 'bulk' and bulk == 'open' then
    bulk_stops = true
    redis.call('HSET', prefix .. 'breaker:bulk', 'trial', name, 'next', text(now + settings.bulk_pause_ms))
  end
  if line == 'half' then redis.call('HSET', prefix .. 'breaker', 'trial', name) end
end

while #grants < most and pops < 2 * most + POPS do
  local lane, class = next_suspect(), 'suspect'
  if lane then
    redis.call('ZREM', READY.suspect, lane)
  else
    class = next_class()
    if not class then break end
    lane = redis.call('ZPOPMIN', READY[class])[1]
  end
  pops = pops + 1
  take_lane(lane, class)
end

if turns > turns_before then redis.call('HSET', COUNTERS, 'pops', text(turns)) end
if #granted > 0 then redis.call('HSET', record, 'grants', table.concat(granted, ' ')) end

local need = spoken_for()
if need > 0 then
  bucket.level = bucket.level - need
  store_bucket()
end

-- Would another claim be granted something now? If only calls are missing: when it would.
local function what_is_left()
  local interactive, bulks, suspect = waits('interactive'), bulk_waits(), next_suspect()
  if line == 'half' or not (interactive or bulks or suspect) then return false, 0 end
  local can_call = in_hand > #grants or calls_left() > 0
  if can_call and (interactive or suspect or bulks and not is_low(0)) then return true, 0 end
  return false, wait_for_calls(math.max(1, bucket.most / 2))
end

local more, wait_ms = what_is_left()
return reply('ok', grants, need, wait_ms, more)
