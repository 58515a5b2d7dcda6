-- postpone: the head cannot end now; release the lane and look again later.
--
-- KEYS  those of a lane (see _common); the answer key is that of the op
-- ARGV  1 lane   2 token   3 fence   4 delay (ms)   5 state of the head: retrying | reconciling | parked
--       6 error   7 attempt counts: 1 | 0 | none: nor do earlier ones   8 a write's result is unknown: 1 | 0   9 steps aside: 1 | 0
--       10 journal   11 belief   12 its life (ms)   13 memory   14 its life (ms)   15 life of the answer (ms)
--
-- Result {ok, due (ms)} | {fenced}
--
-- Law: owner only. Nothing leaves the lane. An unknown write keeps its record, and the lane waits until it can no
-- longer commit; else the record goes: no write of this holder can still commit. The lane stays dirty. A head that
-- steps aside does not wait when somebody came after its grant: whoever comes later wakes the lane (submit).

local lane, token, fence = ARGV[1], ARGV[2], ARGV[3]
local earlier = recall()
if earlier then return earlier end
if not owns(token, fence) then return { 'fenced' } end

local due_at = now + tonumber(ARGV[4])
local l = redis.call('HMGET', lane_key, 'commit', 'seen')
if ARGV[9] == '1' then
  redis.call('HSET', lane_key, 'yields', '1')
  if redis.call('LLEN', queue_key) > tonumber(l[2]) then due_at = now end
end
if ARGV[8] == '1' then
  due_at = math.max(due_at, tonumber(l[1] or '0'))
else
  redis.call('HDEL', lane_key, 'open', 'commit')
end
put('journal', ARGV[10])
put_key(KEYS[9], ARGV[11], ARGV[12])
put_key(KEYS[10], ARGV[13], ARGV[14])

local head = intents .. redis.call('LINDEX', queue_key, 0)
redis.call('HSET', head, 'state', ARGV[5], 'next', text(due_at))
if ARGV[7] == '0' then
  redis.call('HINCRBY', head, 'attempts', -1)
elseif ARGV[7] == 'none' then
  redis.call('HSET', head, 'attempts', '0')
end
if ARGV[6] == 'clear' then
  redis.call('HDEL', head, 'error')
elseif ARGV[6] ~= 'keep' then
  redis.call('HSET', head, 'error', ARGV[6])
end

let_go()
unsend(lane)
redis.call('ZADD', due, text(due_at), lane)
return remember({ 'ok', text(due_at) }, ARGV[15])
