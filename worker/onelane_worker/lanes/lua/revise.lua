-- revise: a registry entry is stored, if the old one still stands; without a lease.
-- Answers  {ok} | {changed}
-- Law      What the lane knows lives no longer than before.

local lane, old, new = unpack(ARGV, 2, 4)  -- new: '' for none
local registry = key('registry', lane)
if redis.call('GET', registry) ~= old then return { 'changed' } end
if new == '' then
  redis.call('DEL', registry)
else
  redis.call('SET', registry, new, 'KEEPTTL')
end
return { 'ok' }
