-- due: hand out turns for the lanes of one partition whose time has come, and for those whose turn was lost.
--
-- KEYS  1 lane prefix   2 queue prefix   3 due   4 sent:interactive   5 sent:bulk   6 counters   7 intent prefix
-- ARGV  1 most lanes to look at per range   2 turns that must have overtaken a lost one
--       3, 4 seq of the interactive and of the bulk queue as read before that queue was seen empty (0: not seen)
--       5 life of an idle lane (ms)
--       6 most lanes of bulk intents to hand out, -1: any number   7 when the next of them may be tried (ms)
--
-- Result, flat, for each turn to publish: lane, seq, queue, head id, attempts, payload
--
-- Law: handing out and re-arming are one step: a lane moves from `due` to `sent`, or to a new seq, so two timers
-- never hand out one lane. A living lease is left alone, and an overdue token in place: claim must see it. A turn
-- that waits in a long queue is not lost: only later turns of its own queue can overtake it. While bulk intents are
-- stopped their lanes are put off: by so much that no more of them come up than are looked at in the meantime.

local most, words = ARGV[1], {}

local function give(lane)
  local turn = send(lane, queue_key .. lane)
  words = append(append(append(words, { lane }), turn), { redis.call('HGET', intents .. turn[3], 'payload') })
end

local bulk_left, bulk_at = tonumber(ARGV[6]), tonumber(ARGV[7])

local function put_off(lane)
  if bulk_left < 0 or class_of(queue_key .. lane) ~= 'bulk' then return false end
  bulk_left = bulk_left - 1
  if bulk_left >= 0 then return false end
  bulk_left = 0
  local wait = math.max(bulk_at - now, 1000) * math.max(1, redis.call('ZCARD', due) / tonumber(most))
  redis.call('ZADD', due, text(now + wait), lane)
  return true
end

-- Nothing waits: the lane need not be looked at.
local function forget(lane)
  unsend(lane)
  rest(lane, lane_key .. lane)
  redis.call('PEXPIRE', lane_key .. lane, ARGV[5])
end

-- An empty lane owes a check, and its time has come: from here on it is an intent like any other.
local function begins_check(lane)
  local key = lane_key .. lane
  local check = redis.call('HMGET', key, 'check_at', 'check_id', 'check')
  if not check[1] or tonumber(check[1]) > now then return false end
  redis.call('HDEL', key, 'check_at', 'check_id', 'check', 'yields')
  redis.call('HSET', intents .. check[2], 'payload', check[3], 'at', text(now), 'schema', '2', 'bulk', '1')
  redis.call('RPUSH', queue_key .. lane, check[2])
  redis.call('HINCRBY', counters, 'pending', 1)
  give(lane)
  return true
end

for _, lane in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', text(now), 'LIMIT', 0, most)) do
  local held = redis.call('HMGET', lane_key .. lane, 'token', 'until')
  if held[1] and tonumber(held[2]) > now then
    redis.call('ZADD', due, held[2], lane)
  elseif redis.call('LLEN', queue_key .. lane) == 0 then
    if not begins_check(lane) then forget(lane) end
  elseif is_sent(lane) then
    redis.call('ZREM', due, lane)
  elseif not put_off(lane) then
    give(lane)
  end
end

for i, class in ipairs({ 'interactive', 'bulk' }) do
  local overtaken = tonumber(redis.call('HGET', counters, 'claimed:' .. class) or '0') - tonumber(ARGV[2]) - 1
  local last = text(math.max(overtaken, tonumber(ARGV[2 + i])))
  for _, lane in ipairs(redis.call('ZRANGEBYSCORE', sent[class], '-inf', last, 'LIMIT', 0, most)) do
    if redis.call('LLEN', queue_key .. lane) == 0 then
      forget(lane)
    elseif redis.call('ZSCORE', due, lane) then
      unsend(lane)
    else
      give(lane)
    end
  end
end
return words
