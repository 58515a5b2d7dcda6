-- contact_note: a lane knows a contact that lives at another address, and is perhaps about to write to it.
--
-- KEYS  1 hash of the contact
-- ARGV  1 lane   2 how long the write may take effect (ms); 0: it only knows of it   3 life of what it knows (ms)
--
-- Result {ok}
--
-- Law: noted before the write leaves. Facts that any other lane has from before `wrote` are not true any more; of the
-- last writer's own facts those from before `others` are not. Both only grow. Nobody holds this: a note by a lane that
-- has lost its lease costs a call, and no more.

local key, lane, may_commit_ms, life_ms = KEYS[1], ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local known = redis.call('HMGET', key, 'writer', 'wrote', 'others')
redis.call('HSET', key, 'at:' .. lane, text(now))
if may_commit_ms > 0 then
  if known[1] and known[1] ~= lane then redis.call('HSET', key, 'others', known[2]) end
  local wrote = math.max(now + may_commit_ms, tonumber(known[2] or '0'))
  redis.call('HSET', key, 'writer', lane, 'wrote', text(wrote))
end
redis.call('PEXPIRE', key, text(math.max(may_commit_ms + life_ms, redis.call('PTTL', key))))
return { 'ok' }
