-- settle: intents at the head have ended; the lane goes on with the next batch, or is released.
-- Answers  Settled
-- Law      Only if the ids are those at the head, one by one. Dirt ends only if a registry entry is stored, or if the
--          old one's facts were usable.

local in_hand, registry, about, elsewhere, consent = unpack(ARGV, 6, 10)  -- calls in hand: '' if no more is wanted
local check_id, check, check_delay_ms, check_in_epoch = unpack(ARGV, 11, 14)
local done = answered()
if done then return done end

local lane, hash = ARGV[2], key('lane', ARGV[2])

taken = 14
local ends = tonumber(take())
local ended = take_words(3 * ends)  -- intent id, outcome JSON, brief 1 | 0
local heads = redis.call('LRANGE', key('queue', lane), 0, ends - 1)
for n = 1, ends do
  if heads[n] ~= ended[3 * n - 2] then return answer('fenced') end
end
if ends == 0 then return answer('fenced') end

-- Versions are whole numbers of any length.
local function is_smaller(version, other)
  local a, b = string.match(version, '^%S+'), string.match(other, '^%S+')
  if string.len(a) ~= string.len(b) then return string.len(a) < string.len(b) end
  return a < b
end

local function put_ext(ext)
  local record, pointer = key('ext', ext), take()
  if redis.call('HGET', record, 'lane') == lane then
    put_field(record, 'pointer', pointer)
    if pointer ~= 'keep' then redis.call('HSET', record, 'pointer_until', text(now + settings.registry_ttl_ms)) end
  end
  for _ = 1, tonumber(take()) do
    local name, version = 'v:' .. take(), take()
    local known = redis.call('HGET', record, name)
    if not known or not is_smaller(version, known) then redis.call('HSET', record, name, version) end
  end
  live(record, KEPT_EXT_MS)
end

-- A guarded create owes a check only where a contact may be unseen that an earlier server knew of.
local function put_check()
  if check == '' then return redis.call('HDEL', hash, 'check', 'check_id', 'check_at') end
  if check == 'keep' then return end
  look_at_server()
  local unsure_until = epoch_ms > 0 and epoch_ms + settings.commit_ms or 0
  local is_new = now < unsure_until + settings.settle_window_ms
  if check_in_epoch == '1' and not is_new then return end
  local from = is_new and math.max(now, unsure_until) or now
  redis.call('HSET', hash, 'check', check, 'check_id', check_id, 'check_at', text(from + tonumber(check_delay_ms)))
end

for _ = 1, tonumber(take()) do put_ext(take()) end
for _ = 1, tonumber(take()) do
  local contact, from, home = take(), take(), take()
  redis.call('HSET', key('contact', contact), 'home', home, 'moved', text(now))
  note_known(from, contact)
end
for _ = 1, tonumber(take()) do  -- the lane of the new address: not leased, because the marker stands at its head
  local target = redis.call('HGET', key('intent', heads[1]), 'target')
  put_belief(target, take(), take(), take(), take())
  redis.call('HDEL', key('lane', target), 'dirty')
end

redis.call('HDEL', hash, 'open', 'openby', 'commit', 'journal')
if registry ~= 'keep' or redis.call('HGET', hash, 'usable') == '1' then
  redis.call('HDEL', hash, 'dirty')
  redis.call('HSET', hash, 'usable', '1')
end
put_belief(lane, registry, about, elsewhere, consent)
put_check()
for n, id in ipairs(heads) do
  local outcome, brief = ended[3 * n - 1], ended[3 * n] == '1'
  serve(lane, id, 'done', outcome)
  forget_payload(id, text(brief and settings.unchanged_ttl_ms or settings.status_ttl_ms))
end
put_timeline(lane, take_list())
return answer(go_on(lane, in_hand))
