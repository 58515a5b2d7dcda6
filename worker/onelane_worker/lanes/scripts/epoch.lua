-- epoch: which server is this, and since when?
--
-- KEYS  1 epoch hash
-- ARGV  1 identity of the server as a fresh connection saw it
--
-- Result {ms since when this is the server; 0: since ever}
--
-- Law: another server than the one on record may have lost a moment: what it says of searches and facts is in doubt
-- until the index has settled. A first server has nothing to have lost.

local known = redis.call('HMGET', KEYS[1], 'server', 'since')
if known[1] == ARGV[1] then return { known[2] } end
local since = known[1] and text(now) or '0'
redis.call('HSET', KEYS[1], 'server', ARGV[1], 'since', since)
return { since }
