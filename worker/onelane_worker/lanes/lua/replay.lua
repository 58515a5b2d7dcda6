-- replay: a dead letter goes to the tail of its lane once more, under its own id.
-- Answers  Replayed
-- Law      Repeated, the call changes nothing. When the letter was first accepted stays on record; attempts and kills
--          begin anew. Not while an erasure waits in its lane: the letter is older, and would make the person anew.

local id, burial, whole, event = unpack(ARGV, 2, 5)  -- burial: the number that the operator saw
local record = key('intent', id)
local i = redis.call('HMGET', record, 'state', 'lane', 'burials', 'replayed', 'target', 'dedupe')
local lane = i[2]
if i[3] ~= burial then return { 'gone' } end
if i[1] ~= 'dead' then return i[4] == burial and { 'accepted', 0 } or { 'gone' } end
if redis.call('HEXISTS', key('lane', lane), 'erasing') == 1 then return { 'erasing' } end
if is_full(lane, settings.lane_max) or i[5] and is_full(i[5], settings.lane_max) then return { 'lane_full' } end
if waiting() >= settings.queue_max then return { 'queue_full' } end

redis.call('ZREM', DEAD, id)
redis.call('SREM', key('letters', lane), id)
redis.call('HDEL', record, 'state', 'outcome', 'ended', 'error', 'attempts', 'kills', 'next', 'whole')
redis.call('HSET', record, 'again', text(now), 'replayed', burial)
if whole == '1' then redis.call('HSET', record, 'whole', '1') end
local dedupe = own_dedupe(id, i[6])
if dedupe then redis.call('PERSIST', dedupe) end
if event ~= '' then put_timeline(lane, { event }) end
return { 'accepted', wake(come(lane, id), settings.wake_max) }
