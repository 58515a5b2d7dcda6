-- revise: a registry entry is stored, if the old one still stands; without a lease.
--
-- Input    2 lane   3 old text   4 new text, or '' for none
-- Answers  {ok} | {changed}
--
-- Law      What the lane knows lives no longer than before.

local registry = key('registry', ARGV[2])
if redis.call('GET', registry) ~= ARGV[3] then return { 'changed' } end
if ARGV[4] == '' then
  redis.call('DEL', registry)
else
  redis.call('SET', registry, ARGV[4], 'KEEPTTL')
end
return { 'ok' }
