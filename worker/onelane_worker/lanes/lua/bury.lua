-- bury: the head cannot be applied: it becomes a dead letter, kept whole; the lane goes on or is released.
-- Answers  Settled | {open}
-- Law      The head alone. Refused while a write is open that is not the answered step of this very lease, or while the
--          journal names the intent. The lane stays dirty. The pointer is for the lane of the new address of a change,
--          and is stored where nobody is known.

local in_hand, registry, about, elsewhere, consent = unpack(ARGV, 6, 10)  -- calls in hand: '' if no more is wanted
local id, error, outcome, answered_step, pointer, pointer_about, pointer_elsewhere = unpack(ARGV, 11, 17)
local done = answered()
if done then return done end

local lane, hash = ARGV[2], key('lane', ARGV[2])
if redis.call('LINDEX', key('queue', lane), 0) ~= id then return answer('fenced') end

local l = redis.call('HMGET', hash, 'openby', 'commit', 'journal')
local is_answered = l[1] and l[1] == ARGV[4] .. ':' .. answered_step
if not is_answered then
  if tonumber(l[2] or '0') > now then return answer('open') end
  if l[3] and string.find(l[3], id, 1, true) then return answer('open') end
end

local function is_known(target)
  return redis.call('EXISTS', key('registry', target)) == 1 and redis.call('HEXISTS', key('lane', target), 'about') == 1
end

redis.call('HDEL', hash, 'open', 'openby', 'commit')
if is_answered then redis.call('HDEL', hash, 'journal') end
put_belief(lane, registry, about, elsewhere, consent)
local target = redis.call('HGET', key('intent', id), 'target')
if target and not is_known(target) then put_registry(target, pointer, pointer_about, pointer_elsewhere) end
serve(lane, id, 'dead', outcome)
redis.call('HSET', key('intent', id), 'error', error)
redis.call('HINCRBY', key('intent', id), 'burials', 1)
redis.call('ZADD', DEAD, text(now), id)
redis.call('SADD', key('letters', lane), id)
redis.call('HSET', hash, 'usable', '0')
taken = 17
put_timeline(lane, take_list())
return answer(go_on(lane, in_hand))
