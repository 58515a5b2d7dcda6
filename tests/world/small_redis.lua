-- Just enough of Redis for Onelane's scripts, in the language of the scripts: a call from Lua into Python costs more
-- than most commands. The conformance test of the protocol holds the scripts to a real server; a test here holds this
-- double to it.
--
-- `store.values` key → string or table, `store.kinds` key → type, `store.ends` key → ms of its expiry.

local store, now_us, servers = nil, 0, ''
local commands = {}

local function now_ms() return math.floor(now_us / 1000) end

local function number(text) return tonumber(text) or error('ERR value is not a number: ' .. tostring(text), 0) end

local function text_of(value) return type(value) == 'number' and string.format('%.17g', value) or value end

local function drop(key)
  store.values[key], store.kinds[key], store.ends[key] = nil, nil, nil
end

-- What is under a key; nil if nothing is, or not any more.
local function peek(key, kind)
  local ends = store.ends[key]
  if ends and ends <= now_us / 1000 then drop(key) end
  local found = store.values[key]
  if found and kind and store.kinds[key] ~= kind then
    error('WRONGTYPE ' .. key .. ' holds a ' .. store.kinds[key], 0)
  end
  return found
end

local function make(key, kind)
  local found = peek(key, kind)
  if not found then
    found = {}
    store.values[key], store.kinds[key] = found, kind
  end
  return found
end

local function drop_if_empty(key)
  if next(store.values[key]) == nil then drop(key) end
end

local function size(map)
  local count = 0
  for _ in pairs(map) do count = count + 1 end
  return count
end

local function words(...)
  local given = { ... }
  for i, word in ipairs(given) do given[i] = string.upper(word) end
  return given
end

local function flag(given, name)
  for i, word in ipairs(given) do
    if word == name then return i end
  end
end

-- ── any key ──

function commands.TIME()
  return { string.format('%d', math.floor(now_us / 1000000)), string.format('%d', now_us % 1000000) }
end

function commands.INFO() return servers end

function commands.PING() return { ok = 'PONG' } end

function commands.TYPE(key) return { ok = peek(key) and store.kinds[key] or 'none' } end

function commands.EXISTS(...)
  local count = 0
  for _, key in ipairs({ ... }) do count = count + (peek(key) and 1 or 0) end
  return count
end

function commands.DEL(...)
  local count = 0
  for _, key in ipairs({ ... }) do
    if peek(key) then
      count = count + 1
      drop(key)
    end
  end
  return count
end
commands.UNLINK = commands.DEL

local function expire_at(key, ends, option)
  if not peek(key) then return 0 end
  local old = store.ends[key]
  option = option and string.upper(option)
  if option == 'NX' and old or option == 'XX' and not old then return 0 end
  if option == 'GT' and (not old or ends <= old) or option == 'LT' and old and ends >= old then return 0 end
  store.ends[key] = ends
  return 1
end

function commands.PEXPIRE(key, life, option) return expire_at(key, now_ms() + number(life), option) end
function commands.EXPIRE(key, life, option) return expire_at(key, now_ms() + 1000 * number(life), option) end
function commands.PEXPIREAT(key, ends, option) return expire_at(key, number(ends), option) end

function commands.PERSIST(key)
  if not peek(key) or not store.ends[key] then return 0 end
  store.ends[key] = nil
  return 1
end

function commands.PTTL(key)
  if not peek(key) then return -2 end
  return store.ends[key] and store.ends[key] - now_ms() or -1
end

-- ── strings ──

function commands.GET(key) return peek(key, 'string') or false end

function commands.SET(key, value, ...)
  local given = words(...)
  local known = peek(key)
  if flag(given, 'NX') and known or flag(given, 'XX') and not known then return false end
  local ends = flag(given, 'KEEPTTL') and store.ends[key] or nil
  local at = flag(given, 'PX')
  if at then ends = now_ms() + number(given[at + 1]) end
  at = flag(given, 'EX')
  if at then ends = now_ms() + 1000 * number(given[at + 1]) end
  store.values[key], store.kinds[key], store.ends[key] = value, 'string', ends
  return { ok = 'OK' }
end

function commands.INCRBY(key, step)
  local value = number(peek(key, 'string') or '0') + number(step)
  store.values[key], store.kinds[key] = text_of(value), 'string'
  return value
end
function commands.INCR(key) return commands.INCRBY(key, '1') end

-- ── hashes ──

function commands.HGET(key, field)
  local found = peek(key, 'hash')
  return found and found[field] or false
end

function commands.HMGET(key, ...)
  local found, out = peek(key, 'hash') or {}, {}
  for i, field in ipairs({ ... }) do out[i] = found[field] or false end
  return out
end

-- In an order that is the same in every Lua.
local function fields_of(found)
  local out = {}
  for field in pairs(found) do out[#out + 1] = field end
  table.sort(out)
  return out
end

function commands.HKEYS(key) return fields_of(peek(key, 'hash') or {}) end

function commands.HGETALL(key)
  local found, out = peek(key, 'hash') or {}, {}
  for _, field in ipairs(fields_of(found)) do
    out[#out + 1] = field
    out[#out + 1] = found[field]
  end
  return out
end

function commands.HSET(key, ...)
  local found, new, given = make(key, 'hash'), 0, { ... }
  if #given == 0 or #given % 2 == 1 then error('ERR wrong number of arguments for HSET', 0) end
  for i = 1, #given, 2 do
    if found[given[i]] == nil then new = new + 1 end
    found[given[i]] = given[i + 1]
  end
  return new
end

function commands.HSETNX(key, field, value)
  local found = make(key, 'hash')
  if found[field] then return 0 end
  found[field] = value
  return 1
end

function commands.HDEL(key, ...)
  local found, gone = peek(key, 'hash'), 0
  if not found then return 0 end
  for _, field in ipairs({ ... }) do
    if found[field] then gone = gone + 1 end
    found[field] = nil
  end
  drop_if_empty(key)
  return gone
end

function commands.HINCRBY(key, field, step)
  local found = make(key, 'hash')
  local value = number(found[field] or '0') + number(step)
  found[field] = text_of(value)
  return value
end

function commands.HEXISTS(key, field) return commands.HGET(key, field) and 1 or 0 end
function commands.HLEN(key) return size(peek(key, 'hash') or {}) end

-- ── lists ──

function commands.RPUSH(key, ...)
  local found = make(key, 'list')
  for _, value in ipairs({ ... }) do found[#found + 1] = value end
  return #found
end

function commands.LPUSH(key, ...)
  local found = make(key, 'list')
  for _, value in ipairs({ ... }) do table.insert(found, 1, value) end
  return #found
end

local function pop(key, at, count)
  local found, out = peek(key, 'list'), {}
  if not found then return false end
  for _ = 1, math.min(count and number(count) or 1, #found) do out[#out + 1] = table.remove(found, at) end
  drop_if_empty(key)
  if count then return out end
  return out[1]
end

function commands.LPOP(key, count) return pop(key, 1, count) end
function commands.RPOP(key, count) return pop(key, nil, count) end
function commands.LLEN(key) return #(peek(key, 'list') or {}) end

function commands.LINDEX(key, index)
  local found = peek(key, 'list') or {}
  local at = number(index)
  return found[at < 0 and #found + at + 1 or at + 1] or false
end

local function between(found, first, last)
  local from, to, out = number(first), number(last), {}
  if from < 0 then from = math.max(0, #found + from) end
  if to < 0 then to = #found + to end
  for i = from + 1, math.min(to + 1, #found) do out[#out + 1] = found[i] end
  return out
end

function commands.LRANGE(key, first, last) return between(peek(key, 'list') or {}, first, last) end

function commands.LTRIM(key, first, last)
  local found = peek(key, 'list')
  if found then
    store.values[key] = between(found, first, last)
    drop_if_empty(key)
  end
  return { ok = 'OK' }
end

function commands.LREM(key, count, value)
  local found, left, gone = peek(key, 'list'), math.abs(number(count)), 0
  if not found then return 0 end
  local i = number(count) < 0 and #found or 1
  local step = number(count) < 0 and -1 or 1
  while i >= 1 and i <= #found and (left == 0 or gone < left) do
    if found[i] == value then
      table.remove(found, i)
      gone = gone + 1
      if step == -1 then i = i - 1 end
    else
      i = i + step
    end
  end
  drop_if_empty(key)
  return gone
end

function commands.LPOS(key, value)
  for i, one in ipairs(peek(key, 'list') or {}) do
    if one == value then return i - 1 end
  end
  return false
end

-- ── sets ──

function commands.SADD(key, ...)
  local found, new = make(key, 'set'), 0
  for _, member in ipairs({ ... }) do
    if not found[member] then new = new + 1 end
    found[member] = true
  end
  return new
end

function commands.SREM(key, ...)
  local found, gone = peek(key, 'set'), 0
  if not found then return 0 end
  for _, member in ipairs({ ... }) do
    if found[member] then gone = gone + 1 end
    found[member] = nil
  end
  drop_if_empty(key)
  return gone
end

function commands.SMEMBERS(key)
  local out = {}
  for member in pairs(peek(key, 'set') or {}) do out[#out + 1] = member end
  table.sort(out)
  return out
end

function commands.SISMEMBER(key, member) return (peek(key, 'set') or {})[member] and 1 or 0 end
function commands.SCARD(key) return size(peek(key, 'set') or {}) end

-- ── sorted sets: member → score ──

function commands.ZADD(key, ...)
  local given, first, options = { ... }, 1, {}
  while first <= #given and not tonumber(given[first]) do
    options[string.upper(given[first])] = true
    first = first + 1
  end
  local found, new, changed = make(key, 'zset'), 0, 0
  for i = first, #given, 2 do
    local score, member = number(given[i]), given[i + 1]
    local old = found[member]
    local barred = options.NX and old or options.XX and not old
      or options.GT and old and score <= old or options.LT and old and score >= old
    if not barred then
      found[member] = score
      if not old then new = new + 1 elseif old ~= score then changed = changed + 1 end
    end
  end
  drop_if_empty(key)
  return options.CH and new + changed or new
end

function commands.ZINCRBY(key, step, member)
  local found = make(key, 'zset')
  found[member] = (found[member] or 0) + number(step)
  return text_of(found[member])
end

function commands.ZREM(key, ...)
  local found, gone = peek(key, 'zset'), 0
  if not found then return 0 end
  for _, member in ipairs({ ... }) do
    if found[member] then gone = gone + 1 end
    found[member] = nil
  end
  drop_if_empty(key)
  return gone
end

function commands.ZSCORE(key, member)
  local score = (peek(key, 'zset') or {})[member]
  return score and text_of(score) or false
end

function commands.ZCARD(key) return size(peek(key, 'zset') or {}) end

-- Members with scores in the range, in order.
local function ranked(found, low, high)
  local out = {}
  for member, score in pairs(found) do
    if low(score) and high(score) then out[#out + 1] = { member, score } end
  end
  table.sort(out, function(a, b)
    if a[2] ~= b[2] then return a[2] < b[2] end
    return a[1] < b[1]
  end)
  return out
end

local function any() return true end

local function told(pairs_, with_scores)
  local out = {}
  for _, pair in ipairs(pairs_) do
    out[#out + 1] = pair[1]
    if with_scores then out[#out + 1] = text_of(pair[2]) end
  end
  return out
end

local ENDLESS = { ['-INF'] = -math.huge, ['+INF'] = math.huge, INF = math.huge }

local function bound(word, is_low)
  local open = string.sub(word, 1, 1) == '('
  local plain = open and string.sub(word, 2) or word
  local at = ENDLESS[string.upper(plain)] or number(plain)
  if is_low then return function(score) return open and score > at or not open and score >= at end end
  return function(score) return open and score < at or not open and score <= at end
end

local function by_score(key, low, high, given)
  local found = ranked(peek(key, 'zset') or {}, bound(low, true), bound(high, false))
  local at = flag(given, 'LIMIT')
  if at then
    local skip, count = number(given[at + 1]), number(given[at + 2])
    found = between(found, text_of(skip), count < 0 and '-1' or text_of(skip + count - 1))
  end
  return told(found, flag(given, 'WITHSCORES'))
end

function commands.ZRANGEBYSCORE(key, low, high, ...) return by_score(key, low, high, words(...)) end

function commands.ZRANGE(key, first, last, ...)
  local given = words(...)
  if flag(given, 'REV') then error('ERR this double has no REV', 0) end
  if flag(given, 'BYSCORE') then return by_score(key, first, last, given) end
  return told(between(ranked(peek(key, 'zset') or {}, any, any), first, last), flag(given, 'WITHSCORES'))
end

function commands.ZCOUNT(key, low, high) return #by_score(key, low, high, {}) end

function commands.ZPOPMIN(key, count)
  local first = told(between(ranked(peek(key, 'zset') or {}, any, any), '0', text_of(number(count or '1') - 1)), true)
  for i = 1, #first, 2 do commands.ZREM(key, first[i]) end
  return first
end

function commands.ZREMRANGEBYSCORE(key, low, high)
  local gone = by_score(key, low, high, {})
  if #gone > 0 then commands.ZREM(key, unpack(gone)) end
  return #gone
end

function commands.ZRANK(key, member)
  for i, pair in ipairs(ranked(peek(key, 'zset') or {}, any, any)) do
    if pair[1] == member then return i - 1 end
  end
  return false
end

-- ── what scripts see ──

local redis = {}
local WRITES = {}
for name in pairs(commands) do WRITES[name] = true end
for name in string.gmatch('TIME INFO PING TYPE EXISTS PTTL GET HGET HMGET HGETALL HKEYS HEXISTS HLEN LLEN LINDEX LRANGE LPOS '
  .. 'SMEMBERS SISMEMBER SCARD ZSCORE ZCARD ZRANGEBYSCORE ZRANGE ZCOUNT ZRANK', '%u+') do
  WRITES[name] = nil
end
local written = {}  -- key → members that were put into it or taken out of it, since `changed_lanes` was asked last
local writes = 0

-- Where lanes stand: lane, queue, ready, due; the breakers, and who waits for an external id.
local TELLING = { l = true, q = true, r = true, d = true, b = true, w = true }

local function note_write(name, key, ...)
  local word = string.find(key, '}:', 1, true)
  if not word or not TELLING[string.sub(key, word + 2, word + 2)] then return end
  writes = writes + 1
  local members = written[key]
  if not members then
    members = {}
    written[key] = members
  end
  if name == 'ZADD' or name == 'ZREM' then
    for i = 1, select('#', ...) do
      local member = select(i, ...)
      if type(member) == 'string' and #member == 32 then members[member] = true end
    end
  end
end

local function as_text(value)
  if type(value) == 'number' then return text_of(value) end
  error('ERR Lua redis lib command arguments must be strings or integers: got a ' .. type(value), 0)
end

function redis.call(name, ...)
  local command = commands[name]
  if not command then
    name = string.upper(name)
    command = commands[name] or error('ERR unknown command ' .. name, 0)
  end
  if WRITES[name] then note_write(name, ...) end
  local count = select('#', ...)
  local a, b, c = ...
  if count == 1 and type(a) == 'string' then return command(a) end
  if count == 2 and type(a) == 'string' and type(b) == 'string' then return command(a, b) end
  if count == 3 and type(a) == 'string' and type(b) == 'string' and type(c) == 'string' then return command(a, b, c) end
  local given = { ... }
  for i = 1, count do
    if type(given[i]) ~= 'string' then given[i] = as_text(given[i]) end
  end
  return command(unpack(given))
end

function redis.pcall(...)
  local ok, answer = pcall(redis.call, ...)
  return ok and answer or not ok and { err = tostring(answer) } or answer
end

-- For the laws only: the lanes that commands have changed since this was asked last.
function redis.changed_lanes(prefix)
  local keys, lanes = written, {}
  written = {}
  for key, members in pairs(keys) do
    local word, name = string.match(key, '^(%l+):(%x+)$', #prefix + 1)
    if word == 'lane' or word == 'queue' then lanes[name] = true end
    for member in pairs(members) do lanes[member] = true end
  end
  return lanes
end

-- For the laws only: the rest of all keys that begin so.
function redis.names(beginning)
  local out = {}
  for key in pairs(store.values) do
    if string.sub(key, 1, #beginning) == beginning and peek(key) then out[#out + 1] = string.sub(key, #beginning + 1) end
  end
  return out
end

function redis.error_reply(text) return { err = text } end
function redis.status_reply(text) return { ok = text } end

-- Like Redis: numbers lose their fraction, an array ends at its first nil, false is a nil, true is 1.
local function reply(value)
  if value == true then return 1 end
  if type(value) == 'number' then return value < 0 and math.ceil(value) or math.floor(value) end
  if type(value) ~= 'table' then return value or nil end
  if value.err then error(value.err, 0) end
  if value.ok then return value.ok end
  local out = {}
  for i, one in ipairs(value) do
    local told_ = reply(one)
    if told_ == nil then out[i] = false else out[i] = told_ end
  end
  return out
end

local function copy(value)
  if type(value) ~= 'table' then return value end
  local out = {}
  for key, one in pairs(value) do out[key] = copy(one) end
  return out
end

local M = {}

-- How often something was written that tells where lanes stand.
function M.writes() return writes end

-- An array crosses the border to Python as several results behind a `true`.
local function spread(value)
  if type(value) ~= 'table' then return value end
  return true, unpack(value)
end

function M.run(script, chosen, time_us, info, ...)
  store, now_us, servers = chosen, time_us, info
  return spread(script(...))
end

function M.fresh() return { values = {}, kinds = {}, ends = {} } end
M.copy = copy

function M.compile(source, name, cjson)
  local body, problem = loadstring(source, '@' .. name)
  if not body then error(problem, 0) end
  local names = setmetatable({ redis = redis, cjson = cjson }, {
    __index = _G,
    __newindex = function(_, key) error('a script may not make the global ' .. key, 2) end,
  })
  setfenv(body, names)
  return function(key, ...)
    rawset(rawset(names, 'KEYS', { key }), 'ARGV', { ... })
    return reply(body())
  end
end

function M.execute(name, ...) return reply(redis.call(name, ...)) end

function M.keys()
  local out = {}
  for key in pairs(store.values) do
    if peek(key) then out[#out + 1] = key end
  end
  table.sort(out)
  return out
end

return M
