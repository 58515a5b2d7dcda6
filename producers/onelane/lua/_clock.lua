-- _clock: the time of the server, and which server it is. Tests replace this file.

-- Microseconds since 1970.
local function clock()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

-- Another text after a restart, after a failover, and when a primary comes back that was a replica meanwhile:
-- whenever the server may have lost a moment. (master_replid itself also changes when a first replica comes.)
local function server()
  local info = redis.call('INFO', 'server') .. redis.call('INFO', 'replication')
  return string.match(info, 'run_id:(%x+)') .. ':' .. (string.match(info, 'master_replid2:(%x+)') or '')
end

