-- withdraw: a producer takes a waiting intent back.
--
-- Input    2 intent id   3 outcome JSON   4 life of its record (ms)   5 life of its dedupe key (ms)
-- Answers  {ok} | {busy}: a worker has held it, so it may have been written | {gone}: it does not wait
--
-- Law      Only an intent that no grant has ever held: it stands behind `served`, and it is no replayed dead letter.
--          Each of its two lanes is placed if its head is another one now, else only its class is set.

local id = ARGV[2]
local intent = fields(key('intent', id), 'lane', 'burials', 'ext', 'ext2')
local lane = intent.lane
local position = lane and redis.call('LPOS', key('queue', lane), id)
if not position then return { 'gone' } end

local served = tonumber(redis.call('HGET', key('lane', lane), 'served') or '0')
if position < served or intent.burials then return { 'busy' } end

go(lane, id, 'done', ARGV[3], ARGV[5])
forget_payload(id, ARGV[4])
left(lane, position == 0)
if position == 0 then
  for _, ext in ipairs(exts_of(intent)) do
    if redis.call('ZREM', key('wait', ext), lane) == 1 then wake_first_waiter(ext) end
  end
end
return { 'ok' }
