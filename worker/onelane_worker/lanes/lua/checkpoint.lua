-- checkpoint: a write is recorded before it is sent; or (clear) it was answered, or provably not sent.
--
-- Input    2 lane   3 token   4 fence   5 step   6 open write JSON, or clear   7 journal   8 registry   9 its contacts
--          10 those of them that live elsewhere   11 contacts that the write is to change and that live elsewhere
--          12 a further external id that has to be locked, or ''           (7, 8: keep | clear | JSON)
-- Answers  {ok, now, ms when the write can no longer commit or 0, any lane ready} | {ext_busy} | {ext_lost} | {fenced} |
--          {stale}
--
-- Law      Owner only. Every lock of the grant must still name this lane, else nothing is stored. The record, the
--          journal, the lease, and how long the locks stand come at once.

local done = answered()
if done then return done end

local lane, open_write, further = ARGV[2], ARGV[6], ARGV[12]
local hash = key('lane', lane)
local exts = words_of(redis.call('HGET', hash, 'exts'))
local commit = text(now + settings.commit_ms)

-- The last writer's facts are compared with what others did (`others`), everybody else's with what it did (`wrote`).
local function note_write(contact)
  local record = key('contact', contact)
  local c = redis.call('HMGET', record, 'writer', 'wrote')
  if c[1] and c[1] ~= lane then redis.call('HSET', record, 'others', c[2]) end
  local wrote = math.max(tonumber(c[2] or '0'), tonumber(commit))
  redis.call('HSET', record, 'writer', lane, 'wrote', text(wrote))
  note_known(lane, contact)
end

if open_write == 'clear' then
  for _, ext in ipairs(exts) do
    if redis.call('HGET', key('ext', ext), 'lane') == lane then redis.call('HDEL', key('ext', ext), 'until') end
  end
  redis.call('HDEL', hash, 'open', 'openby', 'commit')
  put_field(hash, 'journal', ARGV[7])
  lease(lane)
  return answer('ok', text(now), '0')
end

local is_new = further ~= '' and not string.find(table.concat(exts, ' '), further, 1, true)
if is_new and held_until(further, lane) then return answer('ext_busy') end
for _, ext in ipairs(exts) do
  if redis.call('HGET', key('ext', ext), 'lane') ~= lane then return answer('ext_lost') end
end
if is_new then
  exts[#exts + 1] = further
  lock(further, lane)
  redis.call('HSET', hash, 'exts', table.concat(exts, ' '))
end
for _, ext in ipairs(exts) do
  redis.call('HSET', key('ext', ext), 'until', commit)
  live(key('ext', ext), KEPT_EXT_MS)
end
for _, contact in ipairs(words_of(ARGV[11])) do note_write(contact) end
redis.call('HSET', hash, 'open', open_write, 'openby', ARGV[4] .. ':' .. ARGV[5], 'commit', commit)
put_field(hash, 'journal', ARGV[7])
put_registry(lane, ARGV[8], ARGV[9], ARGV[10])
lease(lane)
return answer('ok', text(now), commit)
