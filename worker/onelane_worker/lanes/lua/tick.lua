-- tick: an engine renews its leases; one of the engines moves the lanes that are due. The only recovery path.
-- Answers  Ticked
-- Law      A lease that has ended is taken back, and its head gets a kill, unless the holder's process was seen later
--          than half a lease before its end: then the lane was lost, and nobody was killed. Nor is a kill charged while
--          writes of before a failover may still commit. Dirt, open write, journal and locks stay. While nothing is
--          granted, only leases are ended.

local MOVER_MS = 1000  -- another engine becomes the mover after this much silence
local AFTER_SILENCE_MS = 2000  -- nobody ticked, perhaps because Redis was away: engines get this long to renew
local MOST = 200  -- due lanes looked at in one call
local CREDIT_MS = 1000  -- a wake-up that was lost is taken for lost after this
local ENGINE_TTL_MS = 600000
local PRESENCE_MS = 15000

local engine, worker = ARGV[2], ARGV[3]  -- then lane, token, fence of each lease
local c = redis.call('HMGET', COUNTERS, 'ticked', 'spare', 'tokens', 'healed', 'mover', 'moved')
local noted = { 'ticked', text(now) }

local lost = {}
for at = 4, #ARGV, 3 do
  local lane, token, fence = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  if is_held(lane, token, fence) then
    lease(lane)
  else
    lost[#lost + 1] = { lane, fence }
  end
end

local spare_until = tonumber(c[2] or '0')
if now - tonumber(c[1] or '0') > settings.lease_ms / 2 then
  spare_until = now + AFTER_SILENCE_MS
  add(noted, 'spare', text(spare_until))
end
redis.call('HSET', key('engine', engine), 'seen', text(now), 'name', worker)
redis.call('PEXPIRE', key('engine', engine), text(ENGINE_TTL_MS))
redis.call('ZADD', prefix .. 'engines', text(now), engine)

if tonumber(c[3] or '0') > 0 and now - tonumber(c[4] or '0') >= CREDIT_MS then
  redis.call('HINCRBY', COUNTERS, 'tokens', -1)
  add(noted, 'healed', text(now))
end

-- Open, and it is time to ask whether Intercom answers again: this engine does.
local function probes(b)
  if b[1] ~= 'open' or now < tonumber(b[3]) then return 0 end
  local pause_ms = tonumber(b[4])
  redis.call('HSET', prefix .. 'breaker', 'next', text(now + pause_ms),
    'pause', text(math.min(settings.probe_longest_ms, 2 * pause_ms)))
  return 1
end

local b = redis.call('HMGET', prefix .. 'breaker', 'state', 'streak', 'next', 'pause')
local line = b[1] or b[2] and 'streak' or 'closed'
local probe = probes(b)

-- ms until the next lane is due; false: none is waited for.
local function due_in()
  local first = redis.call('ZRANGEBYSCORE', DUE, '(' .. text(now), '+inf', 'WITHSCORES', 'LIMIT', 0, 1)[2]
  return first and math.ceil(tonumber(first) - now)
end

local function reply(due_in_ms)
  redis.call('HSET', COUNTERS, unpack(noted))
  return { lost, any_ready(), line, bulk_state(), probe, due_in_ms or false }
end

if c[5] and c[5] ~= engine and now - tonumber(c[6]) < MOVER_MS then return reply(due_in()) end
add(noted, 'mover', engine)
add(noted, 'moved', text(now))
redis.call('ZREMRANGEBYSCORE', prefix .. 'engines', '-inf', '(' .. text(now - PRESENCE_MS))
look_at_server()

local function is_alive(token, until_ms)
  if epoch_ms > 0 and now < epoch_ms + settings.commit_ms then return true end
  local seen = redis.call('HGET', key('engine', string.match(token, '^(.*):')), 'seen')
  return tonumber(seen or '0') >= until_ms - settings.lease_ms / 2
end

-- Whether the lease was taken back; it is not if it was renewed meanwhile, or if its engine gets time to.
local function end_lease(lane, token, until_ms)
  if until_ms > now then
    redis.call('ZADD', DUE, text(until_ms), lane)
    return false
  end
  if now < spare_until then return false end
  local head = redis.call('LINDEX', key('queue', lane), 0)
  if head and not is_alive(token, until_ms) then redis.call('HINCRBY', key('intent', head), 'kills', 1) end
  release(lane)
  return true
end

-- A blocked lane that no event made ready. The first in line for an external id looks when the lock ends by itself.
local function count_backstop(lane, waits)
  local ext = string.match(waits, '^x:(.*)$')
  if ext and redis.call('ZRANGE', key('wait', ext), 0, 0)[1] == lane then return end
  redis.call('HINCRBY', COUNTERS, 'backstops', 1)
end

local still = stands_still(line)
local function move(lane)
  local l = redis.call('HMGET', key('lane', lane), 'token', 'until', 'waits')
  if l[1] and not end_lease(lane, l[1], tonumber(l[2])) or not l[1] and still then return 0 end
  if l[3] then count_backstop(lane, l[3]) end
  make_ready(lane)
  return 1
end

local moved, due = 0, redis.call('ZRANGEBYSCORE', DUE, '-inf', text(now), 'LIMIT', 0, MOST)
for _, lane in ipairs(due) do moved = moved + move(lane) end
return reply(moved == MOST and 0 or due_in())
