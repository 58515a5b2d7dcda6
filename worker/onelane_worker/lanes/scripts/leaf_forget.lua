-- leaf_forget: the person of an external id is erased; what is remembered of it goes.
--
-- KEYS  1 hash of the external id
-- ARGV  none
--
-- Result {ok}
--
-- Law: a lock on it stays with its holder, who is not asked and may remember anew what it applies.

redis.call('HDEL', KEYS[1], 'pointer', 'pointer_until', 'versions')
return { 'ok' }
