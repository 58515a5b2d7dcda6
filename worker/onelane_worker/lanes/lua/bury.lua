-- bury: the head cannot be applied: it becomes a dead letter, kept whole; the lane goes on or is released.
--
-- Input    2 lane   3 token   4 fence   5 step   6 calls in hand, or '' if no more is wanted
--          7 registry   8 its contacts   9 those that live elsewhere   10 consent   11 intent id   12 error JSON
--          13 outcome JSON   14 number of the step whose open write was answered, or ''
--          15 of a change of address: pointer for the lane of the new one: keep | JSON   16 its contacts   17 those
--          elsewhere   then a count and as many events of the timeline     (7, 10: keep | clear | JSON)
-- Answers  as settle | {open, ms when the open write can no longer commit, or 0: the journal names the intent}
--
-- Law      Owner only, and the head alone. Refused while a write is open that is not the answered step of this very
--          lease, or while the journal names the intent. The lane stays dirty. The pointer is stored where nobody is
--          known.

local done = answered()
if done then return done end

local lane, hash, id = ARGV[2], key('lane', ARGV[2]), ARGV[11]
if redis.call('LINDEX', key('queue', lane), 0) ~= id then return answer('fenced') end

local l = redis.call('HMGET', hash, 'openby', 'commit', 'journal')
local is_answered = l[1] and l[1] == ARGV[4] .. ':' .. ARGV[14]
if not is_answered then
  if tonumber(l[2] or '0') > now then return answer('open', l[2]) end
  if l[3] and string.find(l[3], id, 1, true) then return answer('open', '0') end
end

local function put_pointer(target)
  local known = redis.call('EXISTS', key('registry', target)) == 1
  if known and redis.call('HEXISTS', key('lane', target), 'about') == 1 then return end
  put_registry(target, ARGV[15], ARGV[16], ARGV[17])
end

redis.call('HDEL', hash, 'open', 'openby', 'commit')
if is_answered then redis.call('HDEL', hash, 'journal') end
put_registry(lane, ARGV[7], ARGV[8], ARGV[9])
put_consent(lane, ARGV[10])
local target = redis.call('HGET', key('intent', id), 'target')
if target then put_pointer(target) end
serve(lane, id, 'dead', ARGV[13])
redis.call('HSET', key('intent', id), 'error', ARGV[12])
redis.call('HINCRBY', key('intent', id), 'burials', 1)
redis.call('ZADD', DEAD, text(now), id)
redis.call('SADD', key('letters', lane), id)
redis.call('HSET', hash, 'usable', '0')
taken = 17
put_timeline(lane, take_words(tonumber(take())))
return answer(go_on(lane, ARGV[6]))
