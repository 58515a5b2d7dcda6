-- breaker: what a call said of everybody's calls, or what an operator wants.
-- Answers  BreakerView
-- Law      `refused` (a dead token, a missing permission) opens it; `failed` does after several in a row on several
--          lanes. The record bears one sort, the widest that had failed when it opened. A probe that is answered makes
--          it half open; then an answered call of that sort (of reads: any) closes it, and any failure opens it again,
--          with the pause between probes as long as it has grown. An operator's pause ends by resume only.
--          Bulk: an equal rejection counts four, anything else takes one back, so bulk intents stop when more than one
--          in five is rejected alike; four that are written in a row start them again.

local STREAK_MS = 60000
local EQUAL = 4  -- what an equal rejection counts
local WIDTH = { reads = 3, writes = 2, subscriptions = 1 }

-- lane: of `rejected`, a digest of what was said
local name, word, lane, sort, problem, probe, ends_hold = unpack(ARGV, 2, 8)
local record = prefix .. name
local b = redis.call('HMGET', record, 'state', 'streak', 'sort', 'pause', 'lanes', 'said')
local state, streak, failing, pause_ms = b[1], tonumber(b[2] or '0'), b[3] or 'reads', tonumber(b[4] or '0')

local function set(...) redis.call('HSET', record, ...) end

local function reply(changed)
  local n = redis.call('HMGET', record, 'state', 'since', 'next', 'problem', 'sort', 'streak')
  return { n[1] or n[6] and 'streak' or 'closed', n[2] or '0', n[3] or '0', n[4] or '', n[5] or 'reads', changed and 1 or 0 }
end

local function close()
  redis.call('DEL', record)
  return reply(state)
end

-- Stands until a call or an operator ends it.
local function stop(new_state, next_at)
  if state ~= 'open' and state ~= 'half' then set('since', text(now)) end
  set('state', new_state, 'next', text(next_at), 'problem', problem)
  redis.call('PERSIST', record)
  return reply(state ~= new_state)
end

local function open()
  redis.call('HDEL', record, 'streak', 'lanes')
  local wait_ms = state == 'half' and pause_ms or settings.probe_first_ms
  set('pause', text(state == 'half' and math.min(settings.probe_longest_ms, 2 * wait_ms) or wait_ms))
  return stop('open', now + wait_ms)
end

local words = {}

function words.pause()
  redis.call('DEL', record)
  state = nil
  return stop('paused', 0)
end

function words.resume()
  if ends_hold == '1' then redis.call('HSET', prefix .. 'epoch', 'resumed', '1') end
  return close()
end

function words.ok()
  if state == 'open' then
    if probe ~= '1' then return reply(false) end
    set('state', 'half')
    return reply(true)
  end
  if failing ~= 'reads' and failing ~= sort then return reply(false) end
  return close()
end

local function note_sort()
  if not b[3] or not state and WIDTH[sort] > WIDTH[failing] then set('sort', sort) end
end

function words.refused()
  if state == 'open' then return reply(false) end
  note_sort()
  return open()
end

function words.failed()
  if state then return words.refused() end
  local lanes = b[5] or ''
  if not string.find(lanes, lane, 1, true) then lanes = lanes .. ' ' .. lane end
  set('streak', text(streak + 1), 'lanes', lanes)
  note_sort()
  redis.call('PEXPIRE', record, text(STREAK_MS))
  if streak + 1 < settings.breaker_calls or #words_of(lanes) < settings.breaker_lanes then return reply(false) end
  return open()
end

local full = EQUAL * settings.bulk_rejections

local function stop_bulk()
  set('streak', text(full))
  return stop('open', now + settings.bulk_pause_ms)
end

-- Goes on counting rejections alike, of which `said` tells.
local function count_alike(alike, said)
  if alike >= full then return stop_bulk() end
  if alike <= 0 then return close() end
  set('streak', text(alike), 'said', said)
  redis.call('PEXPIRE', record, text(STREAK_MS))
  return reply(false)
end

function words.rejected()
  if state then return stop_bulk() end
  if lane == b[6] then return count_alike(streak + EQUAL, lane) end
  if streak <= 1 then return count_alike(EQUAL, lane) end
  return count_alike(streak - 1, b[6])
end

function words.written()
  if not state then return count_alike(streak - 1, b[6] or '') end
  if streak - full / EQUAL <= 0 then return close() end
  set('streak', text(streak - full / EQUAL), 'next', text(now))
  return reply(false)
end

if full == 0 and name == 'breaker:bulk' then return close() end
if state == 'paused' and word ~= 'pause' and word ~= 'resume' then return reply(false) end
return words[word]()
