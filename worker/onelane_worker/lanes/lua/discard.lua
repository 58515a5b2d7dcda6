-- discard: an operator gives a dead letter up; its record goes on telling why, for a while.
-- Answers  {ok} | {gone}
-- Law      What it held of a person goes. Repeated, the call changes nothing.

local id, burial, outcome, event = unpack(ARGV, 2, 5)  -- burial: the number that the operator saw
local record = key('intent', id)
local i = redis.call('HMGET', record, 'state', 'lane', 'burials', 'discarded', 'dedupe')
if i[3] ~= burial then return { 'gone' } end
if i[1] ~= 'dead' then return { i[4] == burial and 'ok' or 'gone' } end

redis.call('ZREM', DEAD, id)
redis.call('SREM', key('letters', i[2]), id)
redis.call('HSET', record, 'state', 'done', 'outcome', outcome, 'discarded', burial)
forget_payload(id, text(settings.status_ttl_ms))
local dedupe = own_dedupe(id, i[5])
if dedupe then redis.call('PEXPIRE', dedupe, text(settings.dedupe_ttl_ms)) end
if event ~= '' then put_timeline(i[2], { event }) end
return { 'ok' }
