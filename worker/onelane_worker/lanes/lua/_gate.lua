-- _gate: may anything be granted now? The epoch, the breakers, and the rate budget.
--
-- Shared parts stand in front of every script of the worker: _clock, _lanes, the table `settings` (LaneSettings), this
-- one, _grant and _step.

local LEVEL = 0.02  -- of the calls that Intercom allows in ten seconds: how many the bucket holds …
local REFILL = 0.93  -- … and how many flow into it in ten seconds
local BUCKET_TTL_MS = 60000

local function add(list, name, value)
  list[#list + 1] = name
  list[#list + 1] = value
end

local epoch_ms, hold_until  -- since when this server is on record; 0: nothing can have been lost

-- Another server than the one on record, or none, begins an epoch.
local function look_at_server()
  local known = redis.call('HMGET', prefix .. 'epoch', 'server', 'since', 'resumed')
  local here = server()
  if known[1] ~= here then
    local kept = settings.durable == 1 or (not known[1] and settings.new_redis == 1)
    known = { here, kept and '0' or text(now), false }
    redis.call('HSET', prefix .. 'epoch', 'server', here, 'since', known[2])
    redis.call('HDEL', prefix .. 'epoch', 'resumed')
  end
  epoch_ms = tonumber(known[2])
  hold_until = (epoch_ms == 0 or known[3]) and 0 or epoch_ms + settings.failover_hold_ms
end

local function in_hold() return now < hold_until end

-- closed | streak | half | open | paused
local function breaker_state(name)
  local b = redis.call('HMGET', prefix .. name, 'state', 'streak')
  return b[1] or b[2] and 'streak' or 'closed'
end

local function bulk_state() return settings.bulk_rejections == 0 and 'closed' or breaker_state('breaker:bulk') end

local function stands_still(state) return state == 'open' or state == 'paused' or in_hold() end

local bucket = { most = math.max(1, LEVEL * settings.requests_per_10s) }
bucket.per_ms = REFILL * settings.requests_per_10s / 10000

local function load_bucket()
  local b = redis.call('HMGET', prefix .. 'bucket', 'level', 'at', 'until')
  local level, at = tonumber(b[1] or bucket.most), tonumber(b[2] or now)
  bucket.level = math.min(bucket.most, level + math.max(0, now - at) * bucket.per_ms)
  bucket.muted_until = tonumber(b[3] or '0')
end

local function store_bucket()
  redis.call('HSET', prefix .. 'bucket', 'level', string.format('%.6f', bucket.level), 'at', text(now))
  redis.call('PEXPIRE', prefix .. 'bucket', text(math.max(BUCKET_TTL_MS, bucket.muted_until - now + 1)))
end

-- Calls that can be had now.
local function calls_left() return now < bucket.muted_until and 0 or math.floor(bucket.level) end

-- What is left is kept for interactive intents. `spoken_for`: calls that are as good as taken.
local function is_low(spoken_for) return bucket.level - spoken_for <= bucket.most / 2 end

-- How long until the bucket holds so many, ms.
local function wait_for_calls(level)
  return math.max(bucket.muted_until - now, (level - bucket.level) / bucket.per_ms, 0) + 1
end

