-- scrub: what a lane still holds of the person beside belief and memory goes.
--
-- KEYS  those of a lane (see _common); the answer key is not used
-- ARGV  1 lane   2 token   3 fence   4 outcome JSON for dead letters   5 life of a status (ms)
--       6… what to look at: ids of dead letters, and members of `ended`
--
-- Result {ok} | {fenced}: another holds the lane by now, and nothing is touched
--
-- Law: a dead letter ends, with the outcome that says why. Of every ended intent its error, its dedupe key, and who its
-- contact was go; that there was one, and how it ended, is told until the status is forgotten. The history goes, and
-- a turn whose grant is older writes none any more. What still waits is left alone.

local lane = ARGV[1]
if not owns(ARGV[2], ARGV[3]) then return { 'fenced' } end

-- Only words of our own are kept. Not by cjson: it would write an empty list as an empty object.
local function without_contact(outcome)
  local kept = {}
  for _, field in ipairs({ 'result', 'role', 'reason', 'superseded_by' }) do
    local word = string.match(outcome or '', '"' .. field .. '": ?"([%w_]+)"')
    if word then kept[#kept + 1] = '"' .. field .. '":"' .. word .. '"' end
  end
  return '{' .. table.concat(kept, ',') .. '}'
end

for i = 6, #ARGV do
  local id, digest = string.match(ARGV[i], '^(%S+) ?(%S*)$')
  local intent = intents .. id
  local known = redis.call('HMGET', intent, 'state', 'lane', 'dedupe', 'outcome')
  local ours = known[2] == lane and (known[1] == 'dead' or known[1] == 'done')
  if ours then
    local outcome = without_contact(known[4])
    if known[1] == 'dead' then
      redis.call('ZREM', KEYS[12], id)
      redis.call('HSET', intent, 'state', 'done')
      redis.call('PEXPIRE', intent, ARGV[5])
      outcome = ARGV[4]
    end
    redis.call('HSET', intent, 'outcome', outcome)
    redis.call('HDEL', intent, 'payload', 'error', 'dedupe')
  end
  if digest == '' then digest = ours and known[3] or '' end
  local holder = digest ~= '' and redis.call('GET', KEYS[11] .. digest)
  if holder and string.match(holder, '^[^:]*') == id and (ours or not known[1]) then
    redis.call('DEL', KEYS[11] .. digest)
  end
  redis.call('ZREM', KEYS[14], ARGV[i])
end
redis.call('HSET', lane_key, 'scrubbed', ARGV[3])
redis.call('DEL', KEYS[15])
return { 'ok' }
