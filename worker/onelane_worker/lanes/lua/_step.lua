-- _step: calls under a lease, and what they store.
--
-- ARGV[2] lane   ARGV[3] token   ARGV[4] fence   ARGV[5] number of the step
-- Answers of every step before its own: {fenced}: the lane is not the caller's | {stale}: a later step was done

local function owns(lane) return is_held(lane, ARGV[3], ARGV[4]) end

local function any_ready() return redis.call('EXISTS', READY.interactive, READY.bulk, READY.suspect) > 0 and 1 or 0 end

-- The answer of a step, from the words that are remembered of it. A grant is told to the owner only.
local function told(words)
  local word = words[1]
  if word == 'more' and owns(ARGV[2]) then return { 'more', grant(ARGV[2]), tonumber(words[2]), any_ready() } end
  if word == 'more' or word == 'left' then return { 'left', false, 0, any_ready() } end
  if word == 'due' then words[3] = any_ready() end
  return words
end

-- nil: this step is to be done. Else its answer: it was done before, or is overtaken, or the lane is not the caller's.
local function answered()
  local l = redis.call('HMGET', key('lane', ARGV[2]), 'stepfence', 'step', 'answer')
  if l[1] == ARGV[4] then
    if l[2] == ARGV[5] then return told(words_of(l[3])) end
    if tonumber(ARGV[5]) < tonumber(l[2]) then return { 'stale' } end
  end
  if not owns(ARGV[2]) then return { 'fenced' } end
end

local function answer(...)
  local words = { ... }
  redis.call('HSET', key('lane', ARGV[2]), 'stepfence', ARGV[4], 'step', ARGV[5], 'answer', table.concat(words, ' '))
  return told(words)
end

-- May the lease go on with the next batch? `in_hand`: calls that the engine has; '' if it does not want more.
local function may_go_on(lane, in_hand)
  if in_hand == '' then return false end
  look_at_server()
  local head = redis.call('LINDEX', key('queue', lane), 0)
  if not head or change_of(head) or now >= tonumber(ARGV[4]) / 1000 + settings.max_hold_ms then return false end
  local state, class = breaker_state('breaker'), class_of(lane)
  if class == 'suspect' or stands_still(state) or state == 'half' then return false end
  load_bucket()
  if class == 'bulk' and (is_low(0) or bulk_state() == 'open') then return false end
  return tonumber(in_hand) > 0 or calls_left() > 0
end

-- Intents have ended: the same lease goes on, or the lane is released. Returns the words of the answer.
local function go_on(lane, in_hand)
  if may_go_on(lane, in_hand) then
    if not offer(lane, nil) then return 'left' end
    if tonumber(in_hand) > 0 then return 'more', '0' end
    bucket.level = bucket.level - 1
    store_bucket()
    return 'more', '1'
  end
  step_aside(lane, {})
  place(lane)
  return 'left'
end

local function take_list() return take_words(tonumber(take())) end

-- ── what a step stores; a part is `keep`, JSON, or '' that clears ──

local function put_field(hash, name, part)
  if part == '' then
    redis.call('HDEL', hash, name)
  elseif part ~= 'keep' then
    redis.call('HSET', hash, name, part)
  end
end

local function put_key(name, part, ttl_ms)
  if part == '' then
    redis.call('DEL', name)
  elseif part ~= 'keep' then
    redis.call('SET', name, part, 'PX', text(ttl_ms))
  end
end

-- The lane knows a contact that lives at another address: an erasure of it must find this lane.
local function note_known(lane, contact)
  redis.call('HSET', key('contact', contact), 'at:' .. lane, text(now))
  live(key('contact', contact), settings.registry_ttl_ms + settings.commit_ms)
end

-- `about`: the contacts in the entry; `elsewhere`: those that live at another address (lines of digests).
local function put_registry(lane, part, about, elsewhere)
  if part == 'keep' then return end
  put_key(key('registry', lane), part, settings.registry_ttl_ms)
  put_field(key('lane', lane), 'about', about)
  for _, contact in ipairs(words_of(elsewhere)) do note_known(lane, contact) end
end

local function put_belief(lane, registry, about, elsewhere, consent)
  put_registry(lane, registry, about, elsewhere)
  put_key(key('consent', lane), consent, settings.consent_ttl_ms)
end

local function put_timeline(lane, events)
  if #events == 0 then return end
  local timeline = key('timeline', lane)
  redis.call('RPUSH', timeline, unpack(events))
  redis.call('LTRIM', timeline, -settings.timeline_max, -1)
  redis.call('PEXPIRE', timeline, text(settings.status_ttl_ms))
end

-- The head, or the next behind it, has ended.
local function serve(lane, id, state, outcome)
  go(lane, id, state, outcome, text(settings.dedupe_ttl_ms))
  count(lane, 'served', -1)
end

