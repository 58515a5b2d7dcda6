-- checkpoint: a write is recorded before it is sent; without an open write: it was answered, or provably not sent.
-- Answers  Checkpointed
-- Law      Every lock of the grant must still name this lane, else nothing is stored.

local open_write, journal, registry, about, elsewhere = unpack(ARGV, 6, 10)
-- Contacts that the write changes and that live at another address; an external id that has to be locked, too.
local written_elsewhere, further = ARGV[11], ARGV[12]
local done = answered()
if done then return done end

local lane, hash = ARGV[2], key('lane', ARGV[2])
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

if open_write == '' then
  for _, ext in ipairs(exts) do
    if redis.call('HGET', key('ext', ext), 'lane') == lane then redis.call('HDEL', key('ext', ext), 'until') end
  end
  redis.call('HDEL', hash, 'open', 'openby', 'commit')
  put_field(hash, 'journal', journal)
  lease(lane)
  return answer('ok')
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
for _, contact in ipairs(words_of(written_elsewhere)) do note_write(contact) end
redis.call('HSET', hash, 'open', open_write, 'openby', ARGV[4] .. ':' .. ARGV[5], 'commit', commit)
put_field(hash, 'journal', journal)
put_registry(lane, registry, about, elsewhere)
lease(lane)
return answer('ok', commit)
