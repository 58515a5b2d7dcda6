-- renew: the holder is alive; its lease is counted from now.
--
-- KEYS  those of a lane (see _common)
-- ARGV  1 lane   2 token   3 fence   4 lease (ms)
--
-- Result {ok} | {fenced}
--
-- Law: owner only. The lane stands in `due` at the end of its lease.

if not owns(ARGV[2], ARGV[3]) then return { 'fenced' } end
lease(ARGV[1], tonumber(ARGV[4]))
return { 'ok' }
