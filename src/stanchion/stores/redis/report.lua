-- Puts reports in the place of earlier ones; forgets those older than so long.
-- KEYS: reports by field, their times by field.  ARGV: how long (s), then field and report in turn.
local time = redis.call('TIME')
local now = tonumber(time[1]) + tonumber(time[2]) / 1e6
local old = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', string.format('%.17g', now - tonumber(ARGV[1])))
for _, field in ipairs(old) do
  redis.call('HDEL', KEYS[1], field)
  redis.call('ZREM', KEYS[2], field)
end
for i = 2, #ARGV, 2 do
  redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
  redis.call('ZADD', KEYS[2], string.format('%.17g', now), ARGV[i])
end
return 'OK'
