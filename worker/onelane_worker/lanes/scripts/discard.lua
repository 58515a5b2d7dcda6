-- discard: a person gives a dead letter up; its receipt goes on telling why, for a while.
--
-- KEYS  those of a lane (see _common); the answer key is that of the op
-- ARGV  1 lane   2 intent id   3 outcome JSON   4 life of a status (ms)   5 life of the answer (ms)
--
-- Result {ok} | {gone}: it is no dead letter
--
-- Law: what it held of a person goes; that there was such an intent, that it was rejected, and that it was given up
-- and why, is told until the status is forgotten.

local lane, id = ARGV[1], ARGV[2]
local intent = intents .. id
local earlier = recall()
if earlier then return earlier end

local known = redis.call('HMGET', intent, 'state', 'lane', 'dedupe')
if known[1] ~= 'dead' or known[2] ~= lane then return remember({ 'gone' }, ARGV[5]) end
redis.call('ZREM', KEYS[12], id)
redis.call('HSET', intent, 'state', 'done', 'outcome', ARGV[3])
redis.call('HDEL', intent, 'payload')
redis.call('PEXPIRE', intent, ARGV[4])
remember_end(id, known[3], ARGV[4])
return remember({ 'ok' }, ARGV[5])
