-- bulk_tell: how a bulk intent fared at Intercom, as far as it says something about all of them.
--
-- KEYS  1 bulk breaker hash
-- ARGV  1 word: rejected | written   2 digest of what a rejection said   3 equal rejections that stop the class; 0: none do
--       4 pause between two trials (ms)   5 life of the count (ms)   6 problem JSON
--
-- Result {word, 1 if this call has stopped the class or started it again, else 0}; word: closed | open
--
-- Law: an equal rejection counts four, anything else takes one back, so the class stops when more than one in five is
-- rejected alike, after that many rejections. `streak` holds the count, `said` what is counted. While the class is
-- stopped any rejection keeps it so, and four that are written in a row start it again.

local word, full = ARGV[1], 4 * tonumber(ARGV[3])
local known = redis.call('HMGET', KEYS[1], 'state', 'streak', 'said')
local state, count = known[1], tonumber(known[2] or '0')

local function stop()
  redis.call('HSET', KEYS[1], 'state', 'open', 'streak', text(full), 'problem', ARGV[6],
    'next', text(now + tonumber(ARGV[4])))
  if not state then redis.call('HSET', KEYS[1], 'since', text(now)) end
  redis.call('PERSIST', KEYS[1])
  return { 'open', state and '0' or '1' }
end

if full == 0 then
  redis.call('DEL', KEYS[1])
  return { 'closed', state and '1' or '0' }
end
if state and word == 'rejected' then return stop() end
if state then
  count = count - full / 4
  if count > 0 then
    redis.call('HSET', KEYS[1], 'streak', text(count), 'next', text(now))
    return { 'open', '0' }
  end
  redis.call('DEL', KEYS[1])
  return { 'closed', '1' }
end

local said = known[3]
if word == 'rejected' and (said == ARGV[2] or count <= 1) then
  count, said = (said == ARGV[2] and count or 0) + 4, ARGV[2]
else
  count = count - 1
end
if count >= full then return stop() end
if count <= 0 then
  redis.call('DEL', KEYS[1])
else
  redis.call('HSET', KEYS[1], 'streak', text(count), 'said', said)
  redis.call('PEXPIRE', KEYS[1], ARGV[5])
end
return { 'closed', '0' }
