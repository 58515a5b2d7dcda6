-- settle: intents at the head have ended; the lane goes on or is released.
--
-- KEYS  those of a lane (see _common); the answer key is that of the op
-- ARGV  1 lane   2 token   3 fence   4 lease (ms)   5 most intents in a batch   6 newest schema understood
--       7 want more: 1 | 0   8 belief   9 its life (ms)   10 memory   11 its life (ms)
--       12 settle check: keep | clear | payload JSON
--       13 life of a dedupe key (ms)   14 life of an idle lane (ms)   15 life of the answer (ms)
--       16 intent id of the settle check   17 how long from now it is due (ms)
--       18… id, outcome JSON, life of the status (ms) of each ended intent, head first
--
-- Result {more, …grant} | {publish, seq, queue, head id, attempts, payload} | {left} | {asleep} | {fenced}
--   left: intents remain, and a turn or another holder has them already
--
-- Law: owner only, and only if the ids are those at the head, one by one. Outcomes, belief, and the end of journal,
-- open write and dirt happen together. A turn is in `sent` before it is published, and never a second one. Asked
-- again it changes nothing and grants only what is still owned.

local lane, token, fence = ARGV[1], ARGV[2], ARGV[3]
local earlier = recall()
if earlier then return tell(earlier, token, fence) end
if not owns(token, fence) then return { 'fenced' } end

local FIRST = 18
local count = (#ARGV - FIRST + 1) / 3
local heads = redis.call('LRANGE', queue_key, 0, count - 1)
for i = 1, count do
  if heads[i] ~= ARGV[FIRST + 3 * (i - 1)] then return remember({ 'fenced' }, ARGV[15]) end
end

for i = 1, count do
  local id, outcome, life_ms = heads[i], ARGV[FIRST + 3 * i - 2], ARGV[FIRST + 3 * i - 1]
  local dedupe = leave(lane, id, 'done', outcome, ARGV[13])
  redis.call('HDEL', intents .. id, 'payload', 'error')
  redis.call('PEXPIRE', intents .. id, life_ms)
  remember_end(id, dedupe, math.max(tonumber(life_ms), dedupe and tonumber(ARGV[13]) or 0))
end
put_key(KEYS[9], ARGV[8], ARGV[9])
put_key(KEYS[10], ARGV[10], ARGV[11])
redis.call('HDEL', lane_key, 'dirty', 'open', 'commit', 'journal')
if ARGV[12] == 'clear' then
  redis.call('HDEL', lane_key, 'check', 'check_id', 'check_at')
elseif ARGV[12] ~= 'keep' then
  local at = text(now + tonumber(ARGV[17]))
  redis.call('HSET', lane_key, 'check', ARGV[12], 'check_id', ARGV[16], 'check_at', at)
end

local answer = go_on(lane, ARGV[7] == '1', '1', tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[4]), ARGV[14])
return tell(remember(answer, ARGV[15]), token, fence)
