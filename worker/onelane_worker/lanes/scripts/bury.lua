-- bury: the head cannot be applied; it becomes a dead letter, kept whole, and the lane goes on or is released.
--
-- KEYS  those of a lane (see _common); the answer key is that of the op
-- ARGV  1 lane   2 token   3 fence   4 lease (ms)   5 most intents in a batch   6 newest schema understood
--       7 want more: 1 | 0   8 belief   9 its life (ms)   10 memory   11 its life (ms)   12 id of the head
--       13 error JSON   14 outcome JSON   15 life of a dedupe key (ms)   16 life of an idle lane (ms)
--       17 life of the answer (ms)
--
-- Result as settle, or {open, ms when the open write can no longer commit, or 0 for a journal}
--
-- Law: owner only, and the head alone. Refused while a write of this lane may still commit, or while the journal
-- names the intent: reconcile first (a refused op stays refused). The lane stays dirty: facts are not usable.

local lane, token, fence, id = ARGV[1], ARGV[2], ARGV[3], ARGV[12]
local earlier = recall()
if earlier then return tell(earlier, token, fence) end
if not owns(token, fence) then return { 'fenced' } end
if redis.call('LINDEX', queue_key, 0) ~= id then return remember({ 'fenced' }, ARGV[17]) end

local l = redis.call('HMGET', lane_key, 'commit', 'journal')
if l[1] and tonumber(l[1]) > now then return remember({ 'open', l[1] }, ARGV[17]) end
if l[2] and string.find(l[2], id, 1, true) then return remember({ 'open', '0' }, ARGV[17]) end

leave(lane, id, 'dead', ARGV[14], ARGV[15])
redis.call('HSET', intents .. id, 'error', ARGV[13])
redis.call('ZADD', KEYS[12], text(now), id)
put_key(KEYS[9], ARGV[8], ARGV[9])
put_key(KEYS[10], ARGV[10], ARGV[11])
redis.call('HDEL', lane_key, 'open', 'commit')

local answer = go_on(lane, ARGV[7] == '1', '0', tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[4]), ARGV[16])
return tell(remember(answer, ARGV[17]), token, fence)
