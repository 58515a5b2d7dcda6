-- settle: intents at the head have ended; the lane goes on with the next batch, or is released.
--
-- Input    2 lane   3 token   4 fence   5 step   6 calls in hand, or '' if no more is wanted
--          7 registry   8 its contacts   9 those that live elsewhere   10 consent
--          11 settle check: keep | clear | payload   12 its intent id   13 delay (ms)   14 only in a new epoch 1 | 0
--          15 of a change of address, for the lane of the new one: registry   16 its contacts   17 those elsewhere
--          18 consent, or '' if nothing is told to it
--          then a count and as many: intent id, outcome JSON, brief 1 | 0
--          then a count and as many external ids: digest, pointer, count of versions, {source, version}
--          then a count and as many contacts that left: contact, lane that it left, lane where it lives now
--          then a count and as many events of the timeline              (registry, consent, pointer: keep | clear | JSON)
-- Answers  {more, calls reserved, any lane ready, grant} | {left, 0, any lane ready} | {fenced} | {stale}
--
-- Law      Owner only, and only if the ids are those at the head, one by one. Outcomes, registry, consent, versions and
--          the end of journal, open write and dirt come at once. Dirt ends only if a registry entry is stored, or if the
--          old one's facts were usable.

local done = answered()
if done then return done end

local lane, hash = ARGV[2], key('lane', ARGV[2])
local registry, check = ARGV[7], ARGV[11]

taken = 18
local ends = tonumber(take())
local told_ends = take_words(3 * ends)
local heads = redis.call('LRANGE', key('queue', lane), 0, ends - 1)
for n = 1, ends do
  if heads[n] ~= told_ends[3 * n - 2] then return answer('fenced') end
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

local function put_left(contact, from, home)
  redis.call('HSET', key('contact', contact), 'home', home, 'moved', text(now))
  note_known(from, contact)
end

-- A guarded create owes a check only where a contact may be unseen that an earlier server knew of.
local function put_check()
  if check == 'clear' then return redis.call('HDEL', hash, 'check', 'check_id', 'check_at') end
  if check == 'keep' then return end
  look_at_server()
  local unsure_until = epoch_ms > 0 and epoch_ms + settings.commit_ms or 0
  local is_new = now < unsure_until + settings.settle_window_ms
  if ARGV[14] == '1' and not is_new then return end
  local from = is_new and math.max(now, unsure_until) or now
  redis.call('HSET', hash, 'check', check, 'check_id', ARGV[12], 'check_at', text(from + tonumber(ARGV[13])))
end

-- The lane of the new address: it is not leased, because the marker stands at its head.
local function put_target(target)
  put_registry(target, ARGV[15], ARGV[16], ARGV[17])
  put_consent(target, ARGV[18])
  redis.call('HDEL', key('lane', target), 'dirty')
end

for _ = 1, tonumber(take()) do put_ext(take()) end
for _ = 1, tonumber(take()) do put_left(take(), take(), take()) end
local target = ARGV[18] ~= '' and redis.call('HGET', key('intent', heads[1]), 'target')
if target then put_target(target) end

redis.call('HDEL', hash, 'open', 'openby', 'commit', 'journal')
if registry ~= 'keep' or redis.call('HGET', hash, 'usable') == '1' then
  redis.call('HDEL', hash, 'dirty')
  redis.call('HSET', hash, 'usable', '1')
end
put_registry(lane, registry, ARGV[8], ARGV[9])
put_consent(lane, ARGV[10])
put_check()
for n = 1, ends do
  local id, brief = heads[n], told_ends[3 * n] == '1'
  serve(lane, id, 'done', told_ends[3 * n - 1])
  forget_payload(id, text(brief and settings.unchanged_ttl_ms or settings.status_ttl_ms))
end
put_timeline(lane, take_words(tonumber(take())))
return answer(go_on(lane, ARGV[6]))
