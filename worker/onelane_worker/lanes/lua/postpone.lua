-- postpone: the head cannot end now: the lane is released, and looked at again later.
--
-- Input    2 lane   3 token   4 fence   5 step   6 delay (ms)   7 state of the head: retrying | reconciling | parked
--          8 a write's result is unknown 1 | 0   9 the attempt counts: 1 | 0 | none (nor do earlier ones)   10 error
--          11 journal   12 registry   13 its contacts   14 those that live elsewhere   15 consent   16 yields 1 | 0
--          17 a further external id that the head needs, or ''   then a count and as many events of the timeline
--          (10, 11, 12, 15: keep | clear | JSON)
-- Answers  {ok, due (ms), any lane ready} | {fenced} | {stale}
--
-- Law      Owner only. Nothing leaves the lane, and dirt stays. An unknown write keeps its record and its locks, and the
--          lane waits until it can no longer commit; else both go. A head that yields does not wait if somebody came
--          after its grant; whoever comes later makes the lane ready.

local done = answered()
if done then return done end

local lane, hash = ARGV[2], key('lane', ARGV[2])
local queue, unknown = key('queue', lane), ARGV[8] == '1'
local l = redis.call('HMGET', hash, 'commit', 'seen')
local at = now + tonumber(ARGV[6])

if ARGV[16] == '1' then
  redis.call('HSET', hash, 'yields', '1')
  if redis.call('LLEN', queue) > tonumber(l[2]) then at = now end
end
release(lane)
if unknown then
  at = math.max(at, tonumber(l[1] or '0'))
else
  redis.call('HDEL', hash, 'open', 'openby', 'commit')
  give_back(lane, '')
end
put_field(hash, 'journal', ARGV[11])
put_registry(lane, ARGV[12], ARGV[13], ARGV[14])
put_consent(lane, ARGV[15])

local head = key('intent', redis.call('LINDEX', queue, 0))
redis.call('HSET', head, 'state', ARGV[7], 'next', text(at))
put_field(head, 'error', ARGV[10])
if ARGV[9] == '0' then
  redis.call('HINCRBY', head, 'attempts', -1)
elseif ARGV[9] == 'none' then
  redis.call('HDEL', head, 'attempts')
end
if ARGV[17] ~= '' then redis.call('HSET', head, 'ext2', ARGV[17]) end
taken = 17
put_timeline(lane, take_words(tonumber(take())))

if at <= now then
  make_ready(lane)
else
  park(lane, at)
end
return answer('ok', text(at))
