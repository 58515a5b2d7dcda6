-- gate_ask: may a change of address, which waits in another lane, have this lane now?
--
-- KEYS  those of the lane of the new address (see _common); the answer key is not used
-- ARGV  1 lane   2 gate id   3 when the change was accepted (ms)   4 fence of the lane that asks
--
-- Result {open, facts usable, belief, memory} | {busy, ms when to ask again, or 0} | {missing}
--
-- Law: open means that all before the gate has ended, nobody has the lane, and no write of it may still commit; it
-- stays so until the gate goes (or an older change of address comes first). Nothing is held by asking.

local lane, gate = ARGV[1], ARGV[2]
local known = redis.call('HMGET', intents .. gate, 'at', 'state')
if not known[1] or known[2] == 'done' or tonumber(known[1]) < tonumber(ARGV[3]) then return { 'missing' } end

local l = redis.call('HMGET', lane_key, 'token', 'until', 'commit', 'dirty', 'journal')
if l[1] and tonumber(l[2]) > now then return { 'busy', l[2] } end
if l[3] and tonumber(l[3]) > now then return { 'busy', l[3] } end
if head_in_order() ~= gate then return { 'busy', redis.call('ZSCORE', due, lane) or '0' } end

redis.call('HSET', intents .. gate, 'fence', ARGV[4])
return { 'open', l[4] == '1' and '0' or '1', redis.call('GET', KEYS[9]) or '', redis.call('GET', KEYS[10]) or '' }
