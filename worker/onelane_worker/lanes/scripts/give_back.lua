-- give_back: the holder is alive, but Redis failed it in the middle: nothing of its attempt counts.
--
-- KEYS  those of a lane (see _common); the answer key is that of the token
-- ARGV  1 lane   2 token   3 delay (ms)   4 error JSON of the head   5 life of the answer (ms)
--
-- Result {ok, due (ms)}: released | {excused}: another has the lane, and blames us no more | {gone}: nothing to do
--
-- Law: by the token alone, since a claim whose answer was lost told no fence. Nothing leaves the lane. An open write
-- keeps its record, and the lane waits until it can no longer commit. The lane stays dirty. Whoever took the lane over
-- has charged the head a kill; it is taken back with the attempt. A token that was given back is never granted again.

local lane, token = ARGV[1], ARGV[2]
local l = redis.call('HMGET', lane_key, 'token', 'commit', 'blamed')
local blamed, charged = string.match(l[3] or '', '^(%S+) (%S+)$')
remember({ 'busy', '0' }, ARGV[5])

local function uncharge(field, head)
  if tonumber(redis.call('HGET', head, field) or '0') > 0 then redis.call('HINCRBY', head, field, -1) end
end

if l[1] == token then
  local due_at = text(math.max(now + tonumber(ARGV[3]), tonumber(l[2] or '0')))
  local head = intents .. redis.call('LINDEX', queue_key, 0)
  uncharge('attempts', head)
  redis.call('HSET', head, 'state', 'retrying', 'next', due_at, 'error', ARGV[4])
  let_go()
  unsend(lane)
  redis.call('ZADD', due, due_at, lane)
  return { 'ok', due_at }
end
if blamed ~= token then return { 'gone' } end
redis.call('HDEL', lane_key, 'blamed')
if redis.call('HGET', intents .. charged, 'payload') then
  uncharge('kills', intents .. charged)
  uncharge('attempts', intents .. charged)
end
return { 'excused' }
