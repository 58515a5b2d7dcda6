-- reserve: calls from the rate budget of the workspace.
-- Answers  Reserved
-- Law      The bucket refills evenly. After a 429 nothing is given before its wait is over.

local wanted, throttled_ms = tonumber(ARGV[2]), tonumber(ARGV[3])  -- the wait that a 429 asked for, else 0
load_bucket()
if throttled_ms > 0 then
  bucket.level = 0
  bucket.muted_until = math.max(bucket.muted_until, now + throttled_ms)
  redis.call('HSET', prefix .. 'bucket', 'until', text(bucket.muted_until))
end
local given = math.min(wanted, calls_left())
bucket.level = bucket.level - given
store_bucket()
return { given, given == wanted and 0 or math.ceil(wait_for_calls(1)) }
