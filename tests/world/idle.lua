-- When is the next lane due? -1: never; 0: there is work now, or a lease or the circuit breaker is being watched.
local prefix = KEYS[1]
for _, class in ipairs({ 'interactive', 'bulk', 'suspect' }) do
  if redis.call('ZCARD', prefix .. 'ready:' .. class) > 0 then return 0 end
end
if redis.call('EXISTS', prefix .. 'breaker', prefix .. 'breaker:bulk') > 0 then return 0 end
local due = redis.call('ZRANGE', prefix .. 'due', 0, -1, 'WITHSCORES')
for i = 1, #due, 2 do
  if redis.call('HEXISTS', prefix .. 'lane:' .. due[i], 'token') == 1 then return 0 end
end
return due[2] and tonumber(due[2]) or -1
