-- gate_note: the change of address has taken effect; the lane of the new address learns whom it has got.
--
-- KEYS  those of the lane of the new address (see _common); the answer key is not used
-- ARGV  1 gate id   2 fence of the lane that changes   3 belief   4 its life (ms)   5 memory   6 its life (ms)
--
-- Result {ok} | {fenced}: the gate is not open to this holder (any more); nothing is stored
--
-- Law: before the change ends in its own lane. The lane is clean after it: what it believes is as of now.

local gate = ARGV[1]
local known = redis.call('HMGET', intents .. gate, 'fence', 'state')
if known[1] ~= ARGV[2] or known[2] == 'done' or redis.call('LINDEX', queue_key, 0) ~= gate then return { 'fenced' } end

put_key(KEYS[9], ARGV[3], ARGV[4])
put_key(KEYS[10], ARGV[5], ARGV[6])
redis.call('HDEL', lane_key, 'dirty')
return { 'ok' }
