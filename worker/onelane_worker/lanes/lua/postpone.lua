-- postpone: the head cannot end now: the lane is released, and looked at again later.
-- Answers  {due} and Postponed
-- Law      Nothing leaves the lane, and dirt stays. An unknown write keeps its record and its locks, and the lane waits
--          until it can no longer commit; else both go. A head that yields does not wait if somebody came after its
--          grant; whoever comes later makes the lane ready.

local delay_ms, state, unknown, counted, yields, further = unpack(ARGV, 6, 11)
local error, journal, registry, about, elsewhere, consent = unpack(ARGV, 12, 17)
local done = answered()
if done then return done end

local lane, hash = ARGV[2], key('lane', ARGV[2])
local queue = key('queue', lane)
local l = redis.call('HMGET', hash, 'commit', 'seen')
local at = now + tonumber(delay_ms)

if yields == '1' then
  redis.call('HSET', hash, 'yields', '1')
  if redis.call('LLEN', queue) > tonumber(l[2]) then at = now end
end
release(lane)
if unknown == '1' then
  at = math.max(at, tonumber(l[1] or '0'))
else
  redis.call('HDEL', hash, 'open', 'openby', 'commit')
  give_back(lane, '')
end
put_field(hash, 'journal', journal)
put_belief(lane, registry, about, elsewhere, consent)

local head = key('intent', redis.call('LINDEX', queue, 0))
redis.call('HSET', head, 'state', state, 'next', text(at))
put_field(head, 'error', error)
if counted == '0' then
  redis.call('HINCRBY', head, 'attempts', -1)
elseif counted == '' then  -- nor do earlier ones
  redis.call('HDEL', head, 'attempts')
end
if further ~= '' then redis.call('HSET', head, 'ext2', further) end
taken = 17
put_timeline(lane, take_list())

if at <= now then
  make_ready(lane)
else
  park(lane, at)
end
return answer('due', text(at))
