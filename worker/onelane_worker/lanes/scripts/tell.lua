-- tell: what happened in a turn is added to the lane's history, for people.
--
-- KEYS  1 lane hash   2 history
-- ARGV  1 fence of the turn, or 0 of an operator's act   2 most events kept   3 life of the history (ms)   4… events
--
-- Result {ok} | {late}: the person was erased after this turn, and nothing is told
--
-- Law: a turn tells when it is over, when another may have served the lane since.

local scrubbed = redis.call('HGET', KEYS[1], 'scrubbed')
if scrubbed and tonumber(ARGV[1]) > 0 and tonumber(ARGV[1]) < tonumber(scrubbed) then return { 'late' } end

for i = 4, #ARGV do redis.call('RPUSH', KEYS[2], ARGV[i]) end
redis.call('LTRIM', KEYS[2], -tonumber(ARGV[2]), -1)
redis.call('PEXPIRE', KEYS[2], ARGV[3])
return { 'ok' }
