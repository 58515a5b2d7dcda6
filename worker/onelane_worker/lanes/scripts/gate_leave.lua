-- gate_leave: the change of address has ended, however it did; what waited behind its gate is served.
--
-- KEYS  those of the lane of the new address (see _common); the answer key is that of the op
-- ARGV  1 lane   2 gate id   3 life of a status (ms)   4 life of an idle lane (ms)   5 life of the answer (ms)
--
-- Result {publish, seq, queue, head id, attempts, payload} | {left} | {asleep}
--
-- Law: called when the change has ended, by whoever finds that out. A gate that is not at the head is left: it is
-- found again when its turn has come.

local lane, gate = ARGV[1], ARGV[2]
local earlier = recall()
if earlier then return tell(earlier) end
if redis.call('LINDEX', queue_key, 0) ~= gate then return remember({ 'left' }, ARGV[5]) end

leave(lane, gate, 'done', '', 1)
redis.call('HDEL', intents .. gate, 'payload', 'fence')
redis.call('PEXPIRE', intents .. gate, ARGV[3])
return tell(remember(go_on(lane, false, '0', 0, 0, 0, ARGV[4]), ARGV[5]))
