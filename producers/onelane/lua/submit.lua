-- submit: a producer stores an intent in the lane of its address.
--
-- Input    2 intent id   3 lane   4 bulk 1 | 0   5 kind   6 payload JSON   7 version of its form   8 content digest
--          9 dedupe digest or ''   10 digest of the external id or ''   11 lane of the new address (a change) or ''
--          12 it is an erasure 1 | 0   13 most intents in a lane   14 most waiting in the workspace
--          15 most wake-ups under way
-- Answers  {accepted | duplicate, id, send a wake-up 1 | 0} | {mismatch, id, 0} | {lane_full | queue_full, limit, 0}
--
-- Law      A known id was stored before: nothing is done. The record, its place in the lane and, of a change, the
--          marker in the lane of the new address come at once. A lane that was empty is placed; all others are listed.

local id, lane, dedupe, target = ARGV[2], ARGV[3], ARGV[9], ARGV[11]
local lane_max, queue_max, wake_max = tonumber(ARGV[13]), tonumber(ARGV[14]), tonumber(ARGV[15])

if redis.call('EXISTS', key('intent', id)) == 1 then return { 'accepted', id, 0 } end

local holder = dedupe ~= '' and redis.call('GET', key('dedupe', dedupe))
if holder then
  local other, content = string.match(holder, '^([^:]*):(.*)$')
  return { content == ARGV[8] and 'duplicate' or 'mismatch', other, 0 }
end

if is_full(lane, lane_max) or target ~= '' and is_full(target, lane_max) then return { 'lane_full', ARGV[13], 0 } end
if waiting() >= queue_max then return { 'queue_full', ARGV[14], 0 } end

local record = { 'payload', ARGV[6], 'kind', ARGV[5], 'lane', lane, 'at', text(now) }
local function keep(name, value)
  record[#record + 1] = name
  record[#record + 1] = value
end
if ARGV[4] == '1' then keep('bulk', '1') end
if ARGV[7] ~= '1' then keep('schema', ARGV[7]) end
if ARGV[10] ~= '' then keep('ext', ARGV[10]) end
if ARGV[12] == '1' then keep('erases', '1') end
if target ~= '' then keep('target', target) end
if dedupe ~= '' then
  keep('dedupe', dedupe)
  redis.call('SET', key('dedupe', dedupe), id .. ':' .. ARGV[8])
end
redis.call('HSET', key('intent', id), unpack(record))

return { 'accepted', id, wake(come(lane, id), wake_max) }
