-- scrub: an erasure forgets what the lane still holds of the person.
-- Answers  {ok, dead letters are left 1 | 0}
-- Law      Dead letters end. Of the intents that the timeline names, who their contact was goes; how they ended stays
--          until the record is forgotten. The timeline goes, and what is remembered with the external ids, but not their
--          locks. Whoever knows the contacts has to read them again. What still waits is left alone.

local MOST = 500

local lane, letters_outcome = ARGV[2], ARGV[6]
local done = answered()
if done then return done end

-- Only words of our own are kept.
local function without_contact(outcome)
  local kept = {}
  for _, name in ipairs({ 'result', 'role', 'reason', 'superseded_by' }) do
    local word = string.match(outcome or '', '"' .. name .. '": ?"([%w_]+)"')
    if word then kept[#kept + 1] = '"' .. name .. '":"' .. word .. '"' end
  end
  return '{' .. table.concat(kept, ',') .. '}'
end

local function forget_dedupe(id, digest)
  local dedupe = own_dedupe(id, digest)
  if dedupe then redis.call('DEL', dedupe) end
  redis.call('HDEL', key('intent', id), 'dedupe')
end

local function end_letter(id)
  local record = key('intent', id)
  forget_dedupe(id, redis.call('HGET', record, 'dedupe'))
  redis.call('HSET', record, 'state', 'done', 'outcome', letters_outcome)
  forget_payload(id, text(settings.status_ttl_ms))
  redis.call('ZREM', DEAD, id)
  redis.call('SREM', key('letters', lane), id)
end

local function forget_ended(id)
  local i = redis.call('HMGET', key('intent', id), 'lane', 'state', 'outcome', 'dedupe')
  if i[1] ~= lane or i[2] ~= 'done' then return end
  forget_dedupe(id, i[4])
  redis.call('HSET', key('intent', id), 'outcome', without_contact(i[3]))
end

local function forget_ext(ext)
  redis.call('HDEL', key('ext', ext), 'pointer', 'pointer_until')
  for _, name in ipairs(redis.call('HKEYS', key('ext', ext))) do
    if string.sub(name, 1, 2) == 'v:' then redis.call('HDEL', key('ext', ext), name) end
  end
end

local function mark_gone(contact)
  redis.call('HSET', key('contact', contact), 'home', '', 'moved', text(now))
  live(key('contact', contact), settings.registry_ttl_ms + settings.commit_ms)
end

taken = 6
for _, ext in ipairs(take_list()) do forget_ext(ext) end
for _, contact in ipairs(take_list()) do mark_gone(contact) end
local letters = redis.call('SMEMBERS', key('letters', lane))
for n = 1, math.min(#letters, MOST) do end_letter(letters[n]) end
for _, event in ipairs(redis.call('LRANGE', key('timeline', lane), 0, -1)) do
  local id = string.match(event, '"id":"(%x+)"')
  if id then forget_ended(id) end
end
redis.call('DEL', key('timeline', lane))
return answer('ok', #letters > MOST and '1' or '0')
